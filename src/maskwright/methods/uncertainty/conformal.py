"""Promises that hold with a known probability for any model and any data, by calibration on known objects.

All that is asked for is that the images of the calibration and the new one are exchangeable: drawn alike, in
whatever order. Masks of one image are not exchangeable with those of others, so `groups` names each mask's
image (or video); an image then counts once, with the mean over its masks, and the promise is about that mean.

Conformal risk control (Angelopoulos et al., ICLR 2024, theorem 1): for a loss in [0, B] that never rises with
λ, the smallest λ with n / (n + 1) · R_n(λ) + B / (n + 1) ≤ α has E[loss] ≤ α for a new image, n being the
number of images. B is 1 throughout. For a loss of 0 and 1 this is split conformal prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import betabinom

from maskwright.errors import InputError
from maskwright.methods.uncertainty.guarantees import (
    Cover,
    CoverMargin,
    Groups,
    KeepThreshold,
    LowerBound,
    Origin,
    Risk,
)
from maskwright.methods.uncertainty.learn_then_test import certified_threshold, images_needed
from maskwright.methods.uncertainty.margins import GRID, CoverNeed
from maskwright.metrics.ranking import Floats, paired
from maskwright.metrics.statistics import group_numbers, group_weights

ROUNDING = 1e-9
"""By which a sum of losses may exceed what is allowed."""


def keep_threshold(
    quality: npt.ArrayLike,
    loss: npt.ArrayLike,
    alpha: float,
    groups: Groups = None,
    *,
    risk: Risk = "marginal",
    delta: float = 0.1,
    loss_name: str = "loss",
    origin: Origin | None = None,
) -> KeepThreshold:
    """Which masks may be kept so that the risk stays at most alpha.

    risk "marginal" bounds E[loss · 1{kept}]: what kept masks cost, shared among all masks. It falls with
    the threshold, so conformal risk control gives it. It says little about kept masks where few are kept:
    that takes risk "selective", E[loss | kept], which need not fall with the threshold and is certified by
    learn then test, for a share 1 - delta of calibrations.

    Args:
        quality: (n,) the higher, the sooner a mask is kept; for a selective risk in [0, 1].
        loss: (n,) in [0, 1], such as 1 - IoU, or whether the IoU is below 0.5.
        alpha: the risk.
        groups: (n,) each mask's image; None takes each mask as an image of its own.
        risk: see above.
        delta: for a selective risk.
        loss_name: what is lost, for the record.
        origin: for the record.

    Raises:
        InputError: too few images for alpha, with the number that is needed; values that do not fit.
    """
    scores, losses = paired(quality=quality, loss=loss)
    _check_share("alpha", alpha)
    if losses.min() < 0 or losses.max() > 1:
        raise InputError(f"losses must lie in [0, 1], not [{losses.min():.3g}, {losses.max():.3g}].")
    numbers = group_numbers(groups, len(scores))
    images = int(numbers.max()) + 1
    if risk == "selective":
        _check_share("delta", delta)
        _check_enough(images, images_needed(alpha, delta), f"alpha {alpha} and delta {delta}")
        threshold = certified_threshold(scores, losses, numbers, alpha, delta)
    else:
        _check_enough(images, _least(alpha), f"alpha {alpha}")
        order, kept = _affordable(scores, losses * group_weights(groups, len(scores)), _budget(alpha, images))
        # Anything between this mask's quality and the next lower one would do as well.
        threshold = float(scores[order[kept - 1]]) if kept else None
    return KeepThreshold(
        alpha=alpha,
        images=images,
        masks=len(scores),
        origin=origin or Origin(),
        risk=risk,
        loss=loss_name,
        delta=delta if risk == "selective" else None,
        threshold=threshold,
    )


def lower_bound(
    quality: npt.ArrayLike,
    iou: npt.ArrayLike,
    alpha: float,
    groups: Groups = None,
    *,
    origin: Origin | None = None,
) -> LowerBound:
    """What to take from a quality so that the IoU is at least that high with probability 1 - alpha.

    Split conformal prediction with the score quality - IoU (Lei et al., JASA 2018, one-sided): its
    ⌈(n + 1)(1 - α)⌉-th smallest value.

    Args:
        quality: (n,) predicted IoU.
        iou: (n,) true IoU.
        alpha: the chance of a lower IoU.
        groups: (n,) each mask's image; None takes each mask as an image of its own.
        origin: for the record.

    Raises:
        InputError: too few images for alpha, with the number that is needed; values that do not fit.
    """
    scores, truth = paired(quality=quality, iou=iou)
    offset, images = _quantile(scores - truth, alpha, groups)
    return LowerBound(alpha=alpha, images=images, masks=len(scores), origin=origin or Origin(), offset=offset)


def cover_margin(
    needs: Sequence[CoverNeed],
    alpha: float,
    groups: Groups = None,
    *,
    cover: Cover = "object",
    origin: Origin | None = None,
) -> CoverMargin:
    """The margin by which masks must be widened to cover their objects.

    cover "object": the whole of it, with probability 1 - alpha (split conformal, the score being the
    needed margin). cover "pixels": on average a share 1 - alpha of its pixels (conformal risk control of the
    share that is missed), which takes far less.

    Args:
        needs: n, what each mask of the calibration lacks.
        alpha: the risk.
        groups: (n,) each mask's image; None takes each mask as an image of its own.
        cover: see above.
        origin: for the record.

    Raises:
        InputError: too few images for alpha, with the number that is needed; or no margin is enough, because
            too many masks are empty or elsewhere.
    """
    if cover == "object":
        margin, images = _quantile(np.array([need.margin for need in needs], np.float64), alpha, groups)
    else:
        margin, images = _pixel_margin(needs, alpha, groups)
    if not math.isfinite(margin):
        raise InputError(
            f"no margin covers enough for alpha {alpha}: too many masks are empty or far from their object. "
            "Leave out the worst with a threshold on their quality, or allow a larger alpha."
        )
    return CoverMargin(
        alpha=alpha, images=images, masks=len(needs), origin=origin or Origin(), cover=cover, margin=margin
    )


def expected_coverage(images: int, tests: int, alpha: float, confidence: float = 0.95) -> tuple[float, float]:
    """Where the coverage of a conformal promise lies on held-out images, if all is as it should be.

    One calibration on n images covers not 1 - α of all others but a share that is Beta distributed, and m
    tests measure that with noise: together a beta-binomial (Angelopoulos & Bates 2023, appendix C). Below
    this range something is wrong: the held-out images are not like those of the calibration.

    Args:
        images: n, of the calibration, one mask each.
        tests: m, held-out images, one mask each.
        alpha: the risk of a `lower_bound` or of a `cover_margin` for whole objects.
        confidence: of the range.

    Returns:
        Lowest and highest share of covered tests.
    """
    uncovered = math.floor(alpha * (images + 1) + ROUNDING)
    low, high = betabinom.interval(confidence, tests, images + 1 - uncovered, uncovered)
    return float(low) / tests, float(high) / tests


def _quantile(values: Floats, alpha: float, groups: Groups) -> tuple[float, int]:
    """The smallest value that may be exceeded by the rest, and the number of images."""
    _check_share("alpha", alpha)
    weights = group_weights(groups, len(values))
    images = round(float(weights.sum()))
    _check_enough(images, _least(alpha), f"alpha {alpha}")
    order, exceeding = _affordable(values, weights, _budget(alpha, images))
    return float(values[order[min(exceeding, len(values) - 1)]]), images


def _pixel_margin(needs: Sequence[CoverNeed], alpha: float, groups: Groups) -> tuple[float, int]:
    """The first margin of the grid that misses little enough, infinite if none does; and the images."""
    _check_share("alpha", alpha)
    weights = group_weights(groups, len(needs))
    images = round(float(weights.sum()))
    _check_enough(images, _least(alpha), f"alpha {alpha}")
    missed_J = np.zeros(len(GRID))
    for weight, need in zip(weights, needs, strict=True):
        missed_J += weight * need.missed_J
    enough = np.flatnonzero(missed_J <= _budget(alpha, images))
    return (float(GRID[enough[0]]) if len(enough) else math.inf), images


def _budget(alpha: float, images: int) -> float:
    """What the losses of all images may sum to: n R_n + B ≤ α (n + 1), with B = 1."""
    return alpha * (images + 1) - 1 + ROUNDING


def _affordable(scores: Floats, costs: Floats, budget: float) -> tuple[npt.NDArray[np.int64], int]:
    """The order by falling score, and how many of the first cost no more than the budget; equals together."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(order) - 1)
    affordable = ends[np.cumsum(costs[order])[ends] <= budget]
    return order, int(affordable[-1]) + 1 if len(affordable) else 0


def _least(alpha: float) -> int:
    """Images below which even no loss at all promises nothing: 1 / (n + 1) ≤ α."""
    return max(1, math.ceil(1 / alpha - 1 - ROUNDING))


def _check_enough(images: int, needed: int, promise: str) -> None:
    if images < needed:
        raise InputError(
            f"{promise} cannot be promised from {images} images: at least {needed} are needed, and more than "
            "that for a promise that is of use."
        )


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise InputError(f"{name} must lie between 0 and 1, not {value}.")
