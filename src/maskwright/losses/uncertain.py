"""Mask losses for labels that are not equally good everywhere (SUM, NeurIPS 2024, section 3.2.2).

A certainty c in [0, 1] comes with every pixel of a label: c = 1 - u, where u is how much two predictions of
the mask disagree (eq. 3). The focal loss weighs each pixel by it (eq. 1), the Dice loss leaves out the pixels
in doubt (eq. 2). With certainty 1 everywhere, or None (human labels), they are the plain losses.

The published mixture is 20 focal : 1 Dice, and `losses.masks.iou_head` for the score: without weights, for
the IoU with the whole label, as published; with `certainty > theta` as weights, with its trusted pixels.
Padding belongs to no mean: cut it off first. Half precision, soft and bool targets: as in `losses.masks`.

Axes: N masks (any number of leading axes), H W size.
"""

from __future__ import annotations

from torch import Tensor

from maskwright.losses.masks import dice, focal_map


def uncertain_focal(
    logits_NHW: Tensor,
    targets_NHW: Tensor,
    certainty_NHW: Tensor | None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Focal loss weighted by certainty: (1 / m) Σ c FL over the m pixels of each mask (SUM, eq. 1).

    The divisor is m and not Σ c, so that a mask in doubt counts less than a sure one.

    Args:
        logits_NHW: (…, H, W) float.
        targets_NHW: (…, H, W) in [0, 1].
        certainty_NHW: (…, H, W) in [0, 1], or None for 1.
        alpha: see `losses.masks.focal`.
        gamma: see `losses.masks.focal`.

    Returns:
        (…,) float.
    """
    loss_NHW = focal_map(logits_NHW, targets_NHW, alpha=alpha, gamma=gamma)
    if certainty_NHW is not None:
        assert certainty_NHW.shape == loss_NHW.shape, (certainty_NHW.shape, loss_NHW.shape)
        loss_NHW = loss_NHW * certainty_NHW.to(loss_NHW.dtype)
    return loss_NHW.flatten(-2).mean(dim=-1)


def uncertain_dice(
    logits_NHW: Tensor,
    targets_NHW: Tensor,
    certainty_NHW: Tensor | None,
    theta: float = 0.6,  # appendix B.1; the released code has 0.5
    *,
    smooth: float = 1.0,
) -> Tensor:
    """Dice loss over the pixels with certainty above theta (SUM, eq. 2).

    Args:
        logits_NHW: (…, H, W) float.
        targets_NHW: (…, H, W) in [0, 1].
        certainty_NHW: (…, H, W) in [0, 1], or None for 1.
        theta: certainty that a pixel must exceed, in [0, 1).
        smooth: see `losses.masks.dice`.

    Returns:
        (…,) float; 0, with a zero gradient, for a mask that is in doubt everywhere.
    """
    assert 0 <= theta < 1, theta
    trusted_NHW = None if certainty_NHW is None else certainty_NHW > theta
    return dice(logits_NHW, targets_NHW, trusted_NHW, smooth=smooth)
