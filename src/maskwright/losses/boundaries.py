"""Losses between boundary logits and what annotators drew, one value per image; the caller averages.

A label is the share of annotators that drew a boundary at a pixel (0 or 1 where there is one annotator),
beside the pixels that are not to be learned from. Four kinds:

- "bce", as DirectSAM is trained (transformers' SegFormer with one label): a pixel is positive where anyone
  drew; the mean of the cross-entropy over all pixels, in which ignored ones count as zeros. No weights, so
  that a model learns low probabilities: boundaries are few.
- "balanced" (HED, Xie and Tu 2015, eq. 2): the same positives, weighted by the share of negatives, and
  negatives by the share of positives.
- "consensus" (RCF, Liu et al. 2017, eq. 1 and 2): positive where more than eta of the annotators agree,
  negative where nobody drew, and nothing in between; weighted like "balanced", negatives lambda times more.
- "soft": cross-entropy with the share itself.

All but the published one are means over the pixels that count, where the papers have sums: the same but for
the learning rate, whatever the resolution. An image of which nothing counts costs nothing and sends a zero
gradient. Half precision is computed in float32.

Axes: B images, 1 one map, h w logits, H W labels.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.losses import masks

BoundaryLoss = Literal["bce", "balanced", "consensus", "soft"]

ETA = 0.5  # RCF, section 3.2
LAMBDA = 1.1  # the same


def boundary_loss(
    logits_B1hw: Tensor,
    fraction_BHW: Tensor,
    ignore_BHW: Tensor,
    kind: BoundaryLoss = "bce",
    *,
    eta: float = ETA,
    lambda_: float = LAMBDA,
    dice: float = 0.0,
) -> Tensor:
    """How far boundary logits are from what annotators drew.

    Args:
        logits_B1hw: (B, 1, h, w) float; bilinearly enlarged to the labels' size, as published.
        fraction_BHW: (B, H, W) in [0, 1], the share of annotators that drew a boundary there.
        ignore_BHW: (B, H, W) bool, pixels that are left out.
        kind: see the module.
        eta: of "consensus", the share that must be exceeded.
        lambda_: of "consensus", the weight of negatives beside that of balance.
        dice: weight of a Dice loss over the same pixels and targets, which is added; 0 for none.

    Returns:
        (B,) float.
    """
    assert logits_B1hw.ndim == 4 and logits_B1hw.shape[1] == 1, logits_B1hw.shape  # noqa: PT018
    assert fraction_BHW.shape == ignore_BHW.shape, (fraction_BHW.shape, ignore_BHW.shape)
    logits_BHW = enlarge(logits_B1hw, (fraction_BHW.shape[-2], fraction_BHW.shape[-1]))
    counted_BHW = ~ignore_BHW
    if kind == "consensus":
        counted_BHW &= (fraction_BHW <= 0) | (fraction_BHW > eta)
    target_BHW, weights_BHW = _targets(fraction_BHW.to(logits_BHW.dtype), counted_BHW, kind, eta, lambda_)
    pixels_BHW = masks.bce_map(logits_BHW, target_BHW) * weights_BHW
    if kind == "bce":
        loss_B = pixels_BHW.mean(dim=(1, 2))
    else:
        loss_B = pixels_BHW.sum(dim=(1, 2)) / counted_BHW.sum(dim=(1, 2)).clamp_min(1)
    if dice:
        loss_B = loss_B + dice * masks.dice(logits_BHW, target_BHW, counted_BHW)
    return loss_B


def enlarge(logits_B1hw: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring logits to (B, H, W) bilinearly, as transformers does, in float32 or wider."""
    wide = logits_B1hw if logits_B1hw.dtype == torch.float64 else logits_B1hw.float()
    if wide.shape[-2:] == size:
        return wide[:, 0]
    return F.interpolate(wide, size, mode="bilinear", align_corners=False)[:, 0]


def _targets(
    fraction_BHW: Tensor, counted_BHW: Tensor, kind: BoundaryLoss, eta: float, lambda_: float
) -> tuple[Tensor, Tensor]:
    """What each pixel should be, and what it weighs; nothing where it does not count."""
    counted_BHW = counted_BHW.to(fraction_BHW.dtype)
    if kind == "soft":
        return fraction_BHW, counted_BHW
    target_BHW = (fraction_BHW > (eta if kind == "consensus" else 0)).to(fraction_BHW.dtype)
    if kind == "bce":
        return target_BHW, counted_BHW
    total_B11 = counted_BHW.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    positive_B11 = (target_BHW * counted_BHW).sum(dim=(1, 2), keepdim=True) / total_B11
    negative_B11 = (lambda_ if kind == "consensus" else 1.0) * positive_B11
    weights_BHW = target_BHW * (1 - positive_B11) + (1 - target_BHW) * negative_B11
    return target_BHW, weights_BHW * counted_BHW
