"""Learn then test (Angelopoulos et al., Ann. Appl. Stat. 2025): which thresholds have a risk that is small.

The mean loss of what is kept need not fall when less is kept, so conformal risk control does not apply to
it. Instead "the risk exceeds α" is tested for one threshold after the other; where a test rejects that, the
threshold is certified. Axes: n masks, G images.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from maskwright.metrics.ranking import Floats
from maskwright.types import BoolArray

STEPS = 100
"""Thresholds 0.99, 0.98, …, 0."""
EVERY = 5
"""Each fifth of them, 0.95, 0.90, …, 0, is a start."""
MOST = 0.75
"""Part of what one has that is at stake at most."""


def certified_threshold(
    quality: Floats, loss: Floats, images: npt.NDArray[np.int64], alpha: float, delta: float
) -> float | None:
    """The lowest threshold whose selective risk is at most alpha, up to a chance delta of a mistake.

    The thresholds are tested from the highest down, an order that is fixed beforehand: one that depends on
    the data would void the tests. Every start brings its part of delta. What a test that rejects was allowed
    goes on to the next; what one that does not was allowed is lost (the fallback procedure, Wiens, Pharm.
    Stat. 2003). So a top without masks, where nothing can be rejected, costs little, and with probability
    1 - delta all rejections are right at once, however the tests depend on each other.

    Args:
        quality: (n,) masks of at least the threshold are kept; those below 0 never are.
        loss: (n,) in [0, 1].
        images: (n,) number of each mask's image, from 0.
        alpha: the risk.
        delta: the chance.

    Returns:
        The threshold, or None where none is certified.
    """
    binary = len(images) == images.max() + 1 and bool(((loss == 0) | (loss == 1)).all())
    allowed, certified = 0.0, None
    for step in range(STEPS - 1, -1, -1):
        if step % EVERY == 0:
            allowed += delta * EVERY / STEPS
        losses = _losses(quality >= step / STEPS, loss, images, alpha)
        if p_value(losses, alpha, binary) <= allowed:
            certified = step / STEPS
        else:
            allowed = 0.0
    return certified


def images_needed(alpha: float, delta: float) -> int:
    """Images without any loss by which the first threshold would be certified."""
    return math.ceil(math.log(delta * EVERY / STEPS) / math.log1p(-alpha))


def p_value(losses: Floats, alpha: float, binary: bool) -> float:
    """Chance of such small losses, drawn independently of one distribution, if their mean exceeds alpha.

    Args:
        losses: (n,) in [0, 1].
        alpha: above 0, below 1.
        binary: there can be no other losses than 0 and 1: the p-value is exact, the binomial tail of Clopper
            and Pearson. Otherwise it is 1 over the most that was won by betting on small losses in a game
            that is fair or worse if the mean is alpha or more (Waudby-Smith & Ramdas, JRSS B 2024), which
            profits from losses that vary little, as 1 - IoU does.

    Returns:
        In [0, 1]; 1 without losses.
    """
    n = len(losses)
    if not n:
        return 1.0
    if binary:
        return float(bdtr(round(losses.sum()), n, alpha))
    # In an order of its own, for that of files may go by their difficulty.
    losses = np.random.default_rng(0).permutation(losses)
    # Means and variances before each loss is seen; at first those of one imagined loss.
    seen = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(losses)) / (seen + 1)
    variances = (0.25 + np.cumsum((losses - means) ** 2)) / (seen + 1)
    mean, variance = np.append(0.5, means[:-1]), np.append(0.25, variances[:-1])
    bets = np.clip((alpha - mean) / (variance + (alpha - mean) ** 2), 0, MOST / (1 - alpha))
    won = np.cumsum(np.log1p(-bets * (losses - alpha))).max()
    return float(np.exp(-max(0.0, won)))


def _losses(kept: BoolArray, loss: Floats, images: npt.NDArray[np.int64], alpha: float) -> Floats:
    """For each image of which a mask is kept: α + the mean over its masks of (loss - α) · 1{kept}, in [0, 1].

    Images are independent, masks of one are not. This exceeds α on average exactly where the selective risk
    does, a mask being drawn from a drawn image. With one mask an image it is that mask's loss.
    """
    masks, keeps = np.bincount(images), np.bincount(images, weights=kept)
    lost = np.bincount(images, weights=kept * loss)
    values = (alpha * (masks - keeps) + lost) / masks
    return np.asarray(values[keeps > 0], np.float64)
