"""How far a measured mean can be believed: percentile bootstrap over images."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from maskwright.errors import InputError

Floats = npt.NDArray[np.float64]

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
    _refuse_unfit(scores, axes=1)
    means = resampled_means(scores[:, None], groups, resamples=resamples, seed=seed)
    (low,), (high,) = percentile_interval(means, confidence)
    return float(low), float(high)


def resampled_means(
    values: npt.ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int | Sequence[int] = 0,
) -> Floats:
    """Means of bootstrap resamples, for statistics made of several means; otherwise as `bootstrap_interval`.

    Args:
        values: (n, m) scores: m measurements of the same n things, resampled together.
        groups: (n,) what each row belongs to, or None.
        resamples: number of resamples.
        seed: of the draws. For a mean over data sets, give each set another one, or their draws go together.

    Returns:
        (resamples, m).

    Raises:
        InputError: without values, for values that are not finite or not (n, m), or groups of another length.
    """
    scores = np.asarray(values, np.float64)
    _refuse_unfit(scores, axes=2)
    sums, counts = _totals(scores, groups)
    rng = np.random.default_rng(seed)
    # How often each group is drawn is a multinomial, so one product does all resamples.
    number = len(sums)
    chances = np.full(number, 1 / number)
    means = []
    for start in range(0, resamples, step := max(1, _CHUNK // number)):
        drawn = rng.multinomial(number, chances, size=min(step, resamples - start)).astype(np.float64)
        means.append(drawn @ sums / (drawn @ counts)[:, None])
    return np.concatenate(means)


def percentile_interval(means: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Lower and upper ends, (m,) each, between which that share of the (resamples, m) means lies.

    Raises:
        InputError: unless 0 < confidence < 1.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, not {confidence}.")
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high


def _refuse_unfit(scores: Floats, axes: int) -> None:
    if scores.ndim != axes or not scores.size or not np.isfinite(scores).all():
        shape = "(n,)" if axes == 1 else "(n, m)"
        raise InputError(f"a bootstrap needs {shape} finite values, n at least 1, not shape {scores.shape}.")


def _totals(scores: Floats, groups: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sums (groups, m) and number (groups,) of each group's rows, in the order in which the groups appear."""
    if groups is None:
        return scores, np.ones(len(scores))
    if len(groups) != len(scores):
        raise InputError(f"{len(groups)} groups were given for {len(scores)} values.")
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(group, len(numbers)) for group in groups]
    sums = np.zeros((len(numbers), scores.shape[1]))
    np.add.at(sums, index, scores)
    return sums, np.bincount(index).astype(np.float64)
