"""The loss of one decoded batch (README, section "Loss").

Axes: A masks asked for (images x prompts), M mask tokens, h w low resolution, S input side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.losses.masks import actual_iou, sampled_bce_dice
from maskwright.methods.base import Losses
from maskwright.models.base import Decoded

Generators = Sequence[torch.Generator]


@dataclass(frozen=True, eq=False)
class Targets:
    """What the decoder should have given.

    Args:
        masks_ASS: (A, S, S) in [0, 1], at the input's resolution.
        weights_ASS: (A, S, S) trust in each pixel, 0 to 1, or None for 1.
        valid_A: (A,) bool; False rows (a photo without a usable object) count nothing.
    """

    masks_ASS: Tensor
    weights_ASS: Tensor | None
    valid_A: Tensor

    def at(self, side: int) -> tuple[Tensor, Tensor | None]:
        """Masks and weights (A, side, side), averaged over cells."""
        masks = F.adaptive_avg_pool2d(self.masks_ASS, side)
        weights = None if self.weights_ASS is None else F.adaptive_avg_pool2d(self.weights_ASS, side)
        return masks, weights


def decoder_losses(
    decoded: Decoded, targets: Targets, *, hq_only: bool, points: int, generators: Generators
) -> Losses:
    """Point-sampled BCE + Dice of the outputs that learn, summed over the masks asked for.

    Args:
        decoded: of B images and N prompts, A = B x N.
        targets: the truth.
        hq_only: the published HQ-SAM loss, on the HQ logits alone; else SAM's masks and scores learn too.
        points: per mask.
        generators: draw the points, one for each image.

    Returns:
        sums over the valid masks, with "loss" their total; divide by the number of masks asked for.
    """
    refined = refined_logits(decoded)
    losses: Losses = {}
    if refined is not None:
        losses["hq"] = _tokens_loss(refined, targets, points, generators)
    if not hq_only:
        losses["mask"] = _tokens_loss(decoded.masks, targets, points, generators)
        # The score is that of the mask a user gets: nano's refined one, SAM's own in the other families.
        per_token = refined is not None and refined.shape[2] == decoded.masks.shape[2]
        scored = refined if per_token and refined is not None else decoded.masks
        losses["iou_head"] = _score_loss(decoded.iou, scored, targets)
    assert losses, "a family without an HQ token cannot train its HQ token"
    losses["loss"] = torch.stack(list(losses.values())).sum()
    return losses


def refined_logits(decoded: Decoded) -> Tensor | None:
    """(B, N, 1 or M, h, w): SAM-HQ's HQ logits alone, as published; nano's, one per mask, are added to it."""
    if decoded.hq is None or decoded.hq.shape[2] == 1:
        return decoded.hq
    return decoded.masks + decoded.hq


def _tokens_loss(logits_BNMhw: Tensor, targets: Targets, points: int, generators: Generators) -> Tensor:
    """The single mask's loss, plus that of the best of the ambiguous ones (SAM, section 3)."""
    logits = logits_BNMhw.flatten(0, 1)
    single = _masks_loss(logits[:, :1], targets, points, generators)[:, 0]
    if logits.shape[1] == 1:
        return (single * targets.valid_A).sum()
    best = _masks_loss(logits[:, 1:], targets, points, generators).amin(dim=1)
    return ((single + best) * targets.valid_A).sum()


def _masks_loss(logits_AMhw: Tensor, targets: Targets, points: int, generators: Generators) -> Tensor:
    """(A, M) loss of every mask, token by token: the targets are large and need no copies."""
    terms = [
        sampled_bce_dice(
            logits_Ahw, targets.masks_ASS, targets.weights_ASS, points=points, generators=generators
        )
        for logits_Ahw in logits_AMhw.unbind(1)
    ]
    return torch.stack([term.bce_N + term.dice_N for term in terms], dim=1)


def _score_loss(iou_BNM: Tensor, logits_BNMhw: Tensor, targets: Targets) -> Tensor:
    """Squared error of the predicted IoU of every mask token (SAM, section A)."""
    logits, predicted = logits_BNMhw.flatten(0, 1), iou_BNM.flatten(0, 1).float()
    masks, weights = targets.at(logits.shape[-1])
    spread = [None if part is None else part[:, None].expand_as(logits) for part in (masks, weights)]
    assert spread[0] is not None
    error = (predicted - actual_iou(logits, spread[0], spread[1])).square().mean(dim=1)
    return (error * targets.valid_A).sum()
