"""How far a measured mean can be believed: percentile bootstrap over images."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from maskwright.errors import InputError

RESAMPLES = 10_000
_CHUNK = 2**22
"""Random counts held at a time (32 MB)."""


def bootstrap_interval(
    values: npt.ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean (Efron & Tibshirani 1993, ch. 13).

    Masks of one image share its difficulty, so they are not independent: with `groups` (an image's name for
    each value) whole images are drawn with replacement, each bringing all its masks, and every resample's
    mean is taken over the masks it got. Drawing single masks would give intervals that are too narrow.

    To compare two models on the same masks, pass the differences of their scores.

    Args:
        values: (n,) scores, finite.
        groups: (n,) what each value belongs to; None takes each value as its own group.
        confidence: share of resampled means inside the interval.
        resamples: number of resamples.
        seed: the same seed gives the same interval.

    Returns:
        The interval's lower and upper end; both are the mean where there is only one group.

    Raises:
        InputError: without values, for values that are not finite or not (n,), or groups of another length.
    """
    scores = np.asarray(values, np.float64)
    if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise InputError(f"a bootstrap needs (n,) finite values, n at least 1, not shape {scores.shape}.")
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, not {confidence}.")
    sums, counts = _totals(scores, groups)
    means = _resampled_means(sums, counts, resamples, np.random.default_rng(seed))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def _totals(
    scores: npt.NDArray[np.float64], groups: Sequence[Hashable] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sum and number of the values of each group, in the order in which the groups appear."""
    if groups is None:
        return scores, np.ones_like(scores)
    if len(groups) != len(scores):
        raise InputError(f"{len(groups)} groups were given for {len(scores)} values.")
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(group, len(numbers)) for group in groups]
    sums = np.bincount(index, weights=scores).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def _resampled_means(
    sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Mean of each resample: how often each group is drawn is a multinomial, so one product does all."""
    groups = len(sums)
    chances = np.full(groups, 1 / groups)
    means = []
    for start in range(0, resamples, step := max(1, _CHUNK // groups)):
        drawn = rng.multinomial(groups, chances, size=min(step, resamples - start)).astype(np.float64)
        means.append(drawn @ sums / (drawn @ counts))
    return np.concatenate(means)
