"""The refiner's loss (README, section "Loss").

Axes: A pairs, S input side, h w low resolution.
"""

from __future__ import annotations

import torch

from maskwright.losses.masks import actual_iou, dice, focal, iou_head
from maskwright.methods.base import Losses
from maskwright.methods.refine.config import RefinerSettings
from maskwright.methods.refine.items import Pairs, enlarged
from maskwright.models.base import Decoded
from maskwright.models.selection import select


def refiner_losses(decoded: Decoded, pairs: Pairs, settings: RefinerSettings) -> Losses:
    """Focal and Dice of the single mask at the input's resolution, and the error of its predicted IoU.

    Args:
        decoded: the refiner's answer, (A, 1, …).
        pairs: with the truth.
        settings: the weights.

    Returns:
        means over the pairs; "kept", "input_iou" and "refined_iou" are for the log.
    """
    logits_A11hw, score_A11, _ = select(decoded, multimask=False, hq="sum")
    logits_ASS = enlarged(logits_A11hw[:, 0, 0].float(), pairs.targets_ASS.shape[-1])
    targets_ASS, weights_ASS = pairs.targets_ASS.float(), pairs.weights_ASS
    losses = {
        "focal": focal(logits_ASS, targets_ASS, weights_ASS, alpha=settings.focal_alpha).mean(),
        "dice": dice(logits_ASS, targets_ASS, weights_ASS).mean(),
        "iou_head": iou_head(score_A11[:, 0, 0], logits_ASS, targets_ASS, weights_ASS).mean(),
    }
    loss = (
        settings.focal_weight * losses["focal"] + settings.dice_weight * losses["dice"] + losses["iou_head"]
    )
    with torch.no_grad():
        refined_iou = actual_iou(logits_ASS, targets_ASS, weights_ASS).mean()
    shown = {"kept": pairs.kept, "input_iou": pairs.input_iou_A.mean(), "refined_iou": refined_iou}
    return {"loss": loss, **losses, **shown}
