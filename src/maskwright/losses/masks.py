"""Losses between mask logits and masks, one value per mask; the caller averages or picks among masks.

Pure functions. Half-precision logits are computed in float32. Targets may be bool or soft (probabilities),
weights are per pixel and at least 0: a pixel of weight 0 has no influence, and a mask of which every pixel
has weight 0 costs nothing and sends a zero gradient (the constant of Dice's fraction included).

Axes: N masks (any number of leading axes), H W size, h w low-resolution size, P sampled points, 2 (x, y).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

POINTS = 112 * 112
OVERSAMPLE = 3
IMPORTANT = 0.75


class SampledLoss(NamedTuple):
    """The two terms of `sampled_bce_dice`, each of shape (N,)."""

    bce_N: Tensor
    dice_N: Tensor


def bce(logits_NHW: Tensor, targets_NHW: Tensor, weights_NHW: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, the (weighted) mean over the pixels of each mask.

    Args:
        logits_NHW: (…, H, W) float.
        targets_NHW: (…, H, W) in [0, 1].
        weights_NHW: (…, H, W) >= 0, or None for 1.

    Returns:
        (…,) float.
    """
    return _mean(bce_map(logits_NHW, targets_NHW), weights_NHW)


def focal(
    logits_NHW: Tensor,
    targets_NHW: Tensor,
    weights_NHW: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Sigmoid focal loss (Lin et al. 2017, eq. 5), the (weighted) mean over the pixels of each mask.

    Args:
        logits_NHW: (…, H, W) float.
        targets_NHW: (…, H, W) in [0, 1].
        weights_NHW: (…, H, W) >= 0, or None for 1.
        alpha: weight of object pixels; background pixels have 1 - alpha.
        gamma: how strongly well-classified pixels are discounted.

    Returns:
        (…,) float.
    """
    return _mean(focal_map(logits_NHW, targets_NHW, alpha=alpha, gamma=gamma), weights_NHW)


def dice(
    logits_NHW: Tensor, targets_NHW: Tensor, weights_NHW: Tensor | None = None, *, smooth: float = 1.0
) -> Tensor:
    """Dice loss 1 - (2 Σ w p t + s) / (Σ w (p + t) + s) of each mask, p the sigmoid of the logits.

    Args:
        logits_NHW: (…, H, W) float.
        targets_NHW: (…, H, W) in [0, 1].
        weights_NHW: (…, H, W) >= 0, or None for 1.
        smooth: s, which makes an empty prediction of an empty mask right (loss 0).

    Returns:
        (…,) float.
    """
    logits, targets = _aligned(logits_NHW, targets_NHW)
    return _dice(logits.flatten(-2), targets.flatten(-2), _flat(weights_NHW, logits), smooth)


def sampled_bce_dice(
    logits_Nhw: Tensor,
    targets_NHW: Tensor,
    weights_NHW: Tensor | None = None,
    *,
    points: int = POINTS,
    generators: Sequence[torch.Generator] = (),
) -> SampledLoss:
    """BCE and Dice at points drawn mostly where the prediction is undecided (HQ-SAM; PointRend, sec. 3.1).

    The mask may be finer than the logits: both are read at the same relative places, bilinearly.

    Args:
        logits_Nhw: (N, h, w) float.
        targets_NHW: (N, H, W) in [0, 1].
        weights_NHW: (N, H, W) >= 0, or None for 1.
        points: P, points per mask; see `sample_points`.
        generators: sources of the random points.

    Returns:
        Two tensors (N,): BCE, and Dice with smooth 1. HQ-SAM's loss is the mean of their sum.
    """
    assert logits_Nhw.ndim == targets_NHW.ndim == 3
    assert len(logits_Nhw) == len(targets_NHW)
    logits = _wide(logits_Nhw)
    with torch.no_grad():
        coords_NP2 = sample_points(logits, points, generators)
        targets_NP = _read(targets_NHW, coords_NP2, logits.dtype)
        weights_NP = None if weights_NHW is None else _read(weights_NHW, coords_NP2, logits.dtype)
    logits_NP = read_points(logits, coords_NP2)
    pixelwise = F.binary_cross_entropy_with_logits(logits_NP, targets_NP, reduction="none")
    return SampledLoss(_flat_mean(pixelwise, weights_NP), _dice(logits_NP, targets_NP, weights_NP, 1.0))


def iou_head(
    predicted_N: Tensor, logits_NHW: Tensor, targets_NHW: Tensor, weights_NHW: Tensor | None = None
) -> Tensor:
    """Squared error of a predicted IoU against the IoU that the logits really reach (SAM, sec. A).

    No gradient flows into the logits. A mask of which every pixel has weight 0 costs nothing.

    Args:
        predicted_N: (…,) the model's estimate.
        logits_NHW: (…, H, W) float.
        targets_NHW: (…, H, W) in [0, 1].
        weights_NHW: (…, H, W) >= 0, or None for 1.

    Returns:
        (…,) float.
    """
    actual_N = actual_iou(logits_NHW, targets_NHW, weights_NHW)
    error_N = (_wide(predicted_N) - actual_N).square()
    if weights_NHW is None:
        return error_N
    return error_N * (weights_NHW.flatten(-2) > 0).any(dim=-1)


@torch.no_grad()
def actual_iou(logits_NHW: Tensor, targets_NHW: Tensor, weights_NHW: Tensor | None = None) -> Tensor:
    """IoU of each mask: logits above 0 against targets above 0.5; 1 where both are empty.

    Args:
        logits_NHW: (…, H, W) float.
        targets_NHW: (…, H, W) in [0, 1].
        weights_NHW: (…, H, W) >= 0, or None; pixels of weight 0 are left out, others count by their weight.

    Returns:
        (…,) float, without gradient.
    """
    logits, targets = _aligned(logits_NHW, targets_NHW)
    ours, theirs = (logits > 0).flatten(-2), (targets > 0.5).flatten(-2)
    weights = _flat(weights_NHW, logits)
    weights = logits.new_ones(()) if weights is None else weights
    overlap = ((ours & theirs) * weights).sum(dim=-1)
    union = ((ours | theirs) * weights).sum(dim=-1)
    return torch.where(union > 0, overlap / union.clamp_min(torch.finfo(union.dtype).tiny), 1.0)


def bce_map(logits_NHW: Tensor, targets_NHW: Tensor) -> Tensor:
    """Binary cross-entropy of every pixel, (…, H, W)."""
    return F.binary_cross_entropy_with_logits(*_aligned(logits_NHW, targets_NHW), reduction="none")


def focal_map(logits_NHW: Tensor, targets_NHW: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss of every pixel, (…, H, W)."""
    logits, targets = _aligned(logits_NHW, targets_NHW)
    probability = logits.sigmoid()
    wrongness = probability * (1 - targets) + (1 - probability) * targets
    balance = alpha * targets + (1 - alpha) * (1 - targets)
    return balance * wrongness**gamma * bce_map(logits, targets)


@torch.no_grad()
def sample_points(
    logits_Nhw: Tensor, points: int = POINTS, generators: Sequence[torch.Generator] = ()
) -> Tensor:
    """Draw points where the logits are closest to 0, and some anywhere (HQ-SAM's sampling, after PointRend).

    `OVERSAMPLE` times as many candidates are drawn uniformly; the `IMPORTANT` share of the result are those
    with the smallest |logit|, the rest is fresh and uniform.

    Args:
        logits_Nhw: (N, h, w) float.
        points: P.
        generators: sources of randomness, each for the same number of masks in turn, so that a photo's points
            are the same in whichever batch it is; may live on another device than the logits. None given:
            torch's own.

    Returns:
        (N, P, 2) relative (x, y) in [0, 1].
    """
    masks, device = len(logits_Nhw), logits_Nhw.device

    def uniform(count: int) -> Tensor:
        if not generators:
            return torch.rand(masks, count, 2, device=device)
        share = masks // len(generators)
        drawn = [torch.rand(share, count, 2, generator=one, device=one.device) for one in generators]
        return torch.cat(drawn).to(device)

    assert not generators or masks % len(generators) == 0, (masks, len(generators))

    important = int(IMPORTANT * points)
    candidates_NQ2 = uniform(OVERSAMPLE * points)
    doubt_NQ = -read_points(_wide(logits_Nhw), candidates_NQ2).abs()
    chosen_NP = doubt_NQ.topk(important, dim=1, sorted=False).indices
    chosen_NP2 = candidates_NQ2.gather(1, chosen_NP[..., None].expand(-1, -1, 2))
    return torch.cat([chosen_NP2, uniform(points - important)], dim=1)


def read_points(maps_NHW: Tensor, coords_NP2: Tensor) -> Tensor:
    """Read maps at relative points, bilinearly between pixel centres (`align_corners=False`).

    The outermost half pixel has the value of the pixel itself. (The published code blends it with zeros,
    which asks for half a mask along the image's border.)

    Args:
        maps_NHW: (N, H, W); of whole numbers or bool, only what lies around the points becomes a float.
        coords_NP2: (N, P, 2) relative (x, y) in [0, 1].

    Returns:
        (N, P) of the maps' type, or else the points'.
    """
    if not maps_NHW.is_floating_point():
        return _read_corners(maps_NHW, coords_NP2)
    if not len(maps_NHW):
        return maps_NHW.new_zeros(0, coords_NP2.shape[1])
    grid_N1P2 = (2 * coords_NP2 - 1)[:, None].to(maps_NHW.dtype)
    return F.grid_sample(
        maps_NHW[:, None], grid_N1P2, mode="bilinear", padding_mode="border", align_corners=False
    )[:, 0, 0]


def _read(maps_NHW: Tensor, coords_NP2: Tensor, dtype: torch.dtype) -> Tensor:
    if maps_NHW.is_floating_point():
        return read_points(maps_NHW.to(dtype), coords_NP2)
    return read_points(maps_NHW, coords_NP2).to(dtype)


def _read_corners(maps_NHW: Tensor, coords_NP2: Tensor) -> Tensor:
    """As `read_points`, from the four pixels around each point: most need no conversion then."""
    height, width = maps_NHW.shape[1:]
    x_NP = (coords_NP2[..., 0] * width - 0.5).clamp(0, width - 1)
    y_NP = (coords_NP2[..., 1] * height - 0.5).clamp(0, height - 1)
    left_NP, top_NP = x_NP.long(), y_NP.long()
    across_NP, down_NP = x_NP - left_NP, y_NP - top_NP
    right_NP = (left_NP + 1).clamp(max=width - 1)
    pixels_NX = maps_NHW.flatten(1)

    def row(y_NP: Tensor) -> Tensor:
        first, second = (pixels_NX.gather(1, y_NP * width + side_NP) for side_NP in (left_NP, right_NP))
        return torch.lerp(first.to(x_NP.dtype), second.to(x_NP.dtype), across_NP)

    return torch.lerp(row(top_NP), row((top_NP + 1).clamp(max=height - 1)), down_NP)


def _wide(values: Tensor) -> Tensor:
    """Half precision becomes float32: sums over a mask overflow or lose their last pixels in it."""
    return values if values.dtype in {torch.float32, torch.float64} else values.float()


def _aligned(logits_NHW: Tensor, targets_NHW: Tensor) -> tuple[Tensor, Tensor]:
    assert logits_NHW.shape == targets_NHW.shape, (logits_NHW.shape, targets_NHW.shape)
    logits = _wide(logits_NHW)
    return logits, targets_NHW.to(logits.dtype)


def _flat(weights_NHW: Tensor | None, like: Tensor) -> Tensor | None:
    if weights_NHW is None:
        return None
    assert weights_NHW.shape == like.shape, (weights_NHW.shape, like.shape)
    return weights_NHW.to(like.dtype).flatten(-2)


def _mean(values_NHW: Tensor, weights_NHW: Tensor | None) -> Tensor:
    return _flat_mean(values_NHW.flatten(-2), _flat(weights_NHW, values_NHW))


def _flat_mean(values_NP: Tensor, weights_NP: Tensor | None) -> Tensor:
    """Mean over the last axis, weighted; 0 where all weights are 0."""
    if weights_NP is None:
        return values_NP.mean(dim=-1)
    total_N = weights_NP.sum(dim=-1)
    # Not a tiny number in place of 0: its gradient overflows where the loss is scaled, and inf * 0 is NaN.
    return (values_NP * weights_NP).sum(dim=-1) / torch.where(total_N > 0, total_N, 1.0)


def _dice(logits_NP: Tensor, targets_NP: Tensor, weights_NP: Tensor | None, smooth: float) -> Tensor:
    probability = logits_NP.sigmoid()
    overlap, total = probability * targets_NP, probability + targets_NP
    if weights_NP is not None:
        overlap, total = overlap * weights_NP, total * weights_NP
    return 1 - (2 * overlap.sum(dim=-1) + smooth) / (total.sum(dim=-1) + smooth)
