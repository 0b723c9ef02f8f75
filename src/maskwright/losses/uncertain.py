"""Mask losses for labels that are not equally good everywhere (SUM, NeurIPS 2024, section 3.2.2).

A certainty c in [0, 1] comes with every pixel of a label: c = 1 - u, where u is how much two predictions of
the mask disagree (eq. 3). The focal loss weighs each pixel by it (eq. 1), the Dice loss leaves out the pixels
in doubt (eq. 2). With certainty 1 everywhere, or None, they are the plain losses.

`valid` marks the pixels that exist: a photo's own, without what pads it to a square or a batch. The others
are no part of any sum or mean. Half precision, soft and bool targets: as in `losses.masks`.

Axes: N masks (any number of leading axes), H W size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from maskwright.losses.masks import dice, focal_map

THRESHOLD = 0.6  # appendix B.1; the released code has 0.5
FOCAL_WEIGHT, DICE_WEIGHT = 20.0, 1.0  # appendix B.1


def uncertain_focal(
    logits_NHW: Tensor,
    targets_NHW: Tensor,
    certainty_NHW: Tensor | None,
    valid_NHW: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Focal loss weighted by certainty: (1 / m) Σ c FL over the m valid pixels (SUM, eq. 1).

    The divisor is m and not Σ c, so that a mask in doubt counts less than a sure one.

    Args:
        logits_NHW: (…, H, W) float.
        targets_NHW: (…, H, W) in [0, 1].
        certainty_NHW: (…, H, W) in [0, 1], or None for 1.
        valid_NHW: (…, H, W) bool, or None for all.
        alpha: see `losses.masks.focal`.
        gamma: see `losses.masks.focal`.

    Returns:
        (…,) float; 0 for a mask without a valid pixel.
    """
    loss_NHW = focal_map(logits_NHW, targets_NHW, alpha=alpha, gamma=gamma)
    if certainty_NHW is not None:
        assert certainty_NHW.shape == loss_NHW.shape, (certainty_NHW.shape, loss_NHW.shape)
        loss_NHW = loss_NHW * certainty_NHW.to(loss_NHW.dtype)
    if valid_NHW is None:
        return loss_NHW.flatten(-2).mean(dim=-1)
    assert valid_NHW.shape == loss_NHW.shape, (valid_NHW.shape, loss_NHW.shape)
    pixels_N = valid_NHW.flatten(-2).sum(dim=-1).clamp_min(1)
    return (loss_NHW * valid_NHW).flatten(-2).sum(dim=-1) / pixels_N


def uncertain_dice(
    logits_NHW: Tensor,
    targets_NHW: Tensor,
    certainty_NHW: Tensor | None,
    valid_NHW: Tensor | None = None,
    *,
    theta: float = THRESHOLD,
    smooth: float = 1.0,
) -> Tensor:
    """Dice loss over the pixels with certainty above theta (SUM, eq. 2).

    Args:
        logits_NHW: (…, H, W) float.
        targets_NHW: (…, H, W) in [0, 1].
        certainty_NHW: (…, H, W) in [0, 1], or None for 1.
        valid_NHW: (…, H, W) bool, or None for all.
        theta: certainty that a pixel must exceed, in [0, 1).
        smooth: see `losses.masks.dice`.

    Returns:
        (…,) float; 0, with a zero gradient, for a mask that is in doubt everywhere.
    """
    return dice(logits_NHW, targets_NHW, trusted(certainty_NHW, valid_NHW, theta=theta), smooth=smooth)


def uncertain_mask_loss(
    logits_NHW: Tensor,
    targets_NHW: Tensor,
    certainty_NHW: Tensor | None,
    valid_NHW: Tensor | None = None,
    *,
    theta: float = THRESHOLD,
) -> Tensor:
    """20 focal + 1 Dice of each mask, the published mixture; arguments as in `uncertain_dice`.

    The score's own loss is `losses.masks.iou_head`, with `trusted(None, valid)` as its weights for the IoU
    against the whole label, as published, or `trusted(certainty, valid)` for that on its trusted pixels.
    """
    focal_N = uncertain_focal(logits_NHW, targets_NHW, certainty_NHW, valid_NHW)
    dice_N = uncertain_dice(logits_NHW, targets_NHW, certainty_NHW, valid_NHW, theta=theta)
    return FOCAL_WEIGHT * focal_N + DICE_WEIGHT * dice_N


def trusted(
    certainty_NHW: Tensor | None, valid_NHW: Tensor | None = None, *, theta: float = THRESHOLD
) -> Tensor | None:
    """(…, H, W) bool: valid pixels with certainty above theta; None, for all pixels, where both are None.

    It serves the losses of `losses.masks` as weights.
    """
    assert 0 <= theta < 1, theta
    if certainty_NHW is None:
        return valid_NHW
    sure_NHW: Tensor = certainty_NHW > theta
    return sure_NHW if valid_NHW is None else torch.logical_and(sure_NHW, valid_NHW)
