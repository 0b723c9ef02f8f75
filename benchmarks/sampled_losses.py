"""Losses at sampled points.

HQ-SAM's mask loss, cross-entropy and Dice at 112 × 112 points that are drawn mostly where the prediction is
undecided, and its gradient: ours, and the same by the formulas of PointRend (Kirillov et al., CVPR 2020,
section 3.1) in plain PyTorch, with every map read by `grid_sample`. Logits are 256 × 256, targets 1024 ×
1024, float as the published loop has them, or bool, of which ours converts what it reads. Both draw the
same points, and both take what lies beyond the outermost pixels' middles as these pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from inputs import objects
from sides import OURS, Comparison
from torch import Tensor

from maskwright.losses.masks import sampled_bce_dice

PEER = "plain PyTorch"
CLOSE = 1e-5


def comparisons(quick: bool) -> Iterator[Comparison]:
    """Batches as they come in training."""
    side, points = (64, 100) if quick else (1024, 112 * 112)
    for count in (4, 32):
        masks, source = objects((side, side), count)
        targets_NHW = torch.from_numpy(masks)
        logits_Nhw = torch.nn.functional.avg_pool2d(targets_NHW[:, None].float(), 4)[:, 0] * 8 - 4
        noise = torch.randn(logits_Nhw.shape, generator=torch.Generator().manual_seed(0))
        for kind, targets in (("float", targets_NHW.float()), ("bool", targets_NHW)):
            name = f"{count} masks of {source}, {kind} targets, {points} points"
            yield compare(name, logits_Nhw + noise, targets, points)


def compare(name: str, logits_Nhw: Tensor, targets_NHW: Tensor, points: int) -> Comparison:
    """Forward and backward."""

    def ours() -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        logits = logits_Nhw.clone().requires_grad_()
        cross, dice = sampled_bce_dice(logits, targets_NHW, points=points)
        loss = cross.mean() + dice.mean()
        return loss.detach(), torch.autograd.grad(loss, logits)[0]

    def theirs() -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        logits = logits_Nhw.clone().requires_grad_()
        loss = plain_loss(logits[:, None], targets_NHW[:, None].float(), points)
        return loss.detach(), torch.autograd.grad(loss, logits)[0]

    return Comparison(
        name=name,
        sides={OURS: ours, PEER: theirs},
        check=close,
        goals={PEER: 1.0},
        moved=logits_Nhw.nbytes * 3,
    )


def plain_loss(logits_N1hw: Tensor, targets_N1HW: Tensor, points: int) -> Tensor:
    """The mean of both terms' sum."""
    with torch.no_grad():
        coords_NP2 = uncertain_points(logits_N1hw, points)
        labels_NP = point_sample(targets_N1HW, coords_NP2).squeeze(1)
    logits_NP = point_sample(logits_N1hw, coords_NP2).squeeze(1)
    crossed = F.binary_cross_entropy_with_logits(logits_NP, labels_NP, reduction="none").mean(1)
    chances_NP = logits_NP.sigmoid()
    overlap = 2 * (chances_NP * labels_NP).sum(-1)
    dice = 1 - (overlap + 1) / (chances_NP.sum(-1) + labels_NP.sum(-1) + 1)
    return crossed.mean() + dice.mean()


def point_sample(maps_N1HW: Tensor, coords_NP2: Tensor) -> Tensor:
    """Read maps at places in [0, 1], (N, 1, P)."""
    grid_NP12 = 2.0 * coords_NP2.unsqueeze(2) - 1.0
    return F.grid_sample(maps_N1HW, grid_NP12, padding_mode="border", align_corners=False).squeeze(3)


def uncertain_points(logits_N1hw: Tensor, points: int) -> Tensor:
    """(N, P, 2): of three times as many places, three quarters where |logit| is least, the rest anywhere."""
    count, drawn = len(logits_N1hw), 3 * points
    coords_NQ2 = torch.rand(count, drawn, 2)
    doubt_NQ = -point_sample(logits_N1hw, coords_NQ2).abs().squeeze(1)
    important = int(0.75 * points)
    index_NP = torch.topk(doubt_NQ, k=important, dim=1)[1] + drawn * torch.arange(count)[:, None]
    chosen_NP2 = coords_NQ2.view(-1, 2)[index_NP.view(-1)].view(count, important, 2)
    return torch.cat([chosen_NP2, torch.rand(count, points - important, 2)], dim=1)


def close(outputs: dict[str, Any]) -> str:
    """Losses and gradients, these against the largest."""
    (loss, gradient), (other, others) = outputs[OURS], outputs[PEER]
    far = max(
        float((loss - other).abs() / other), float((gradient - others).abs().max() / others.abs().max())
    )
    assert far < CLOSE, far
    return f"loss and gradient differ by at most {far:.0e} of the largest"
