"""How far a measured figure can be believed: percentile bootstrap over images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.errors import InputError

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[Any]]
Statistic = Callable[[Columns], float]

RESAMPLES = 10_000
STATISTIC_RESAMPLES = 1000
"""Fewer, because each one computes the statistic anew; they give a 95 % interval's ends to about 5 %."""
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


@dataclass(frozen=True)
class Estimate:
    """A figure with its bootstrap interval.

    Args:
        value: the figure on all rows.
        low, high: ends of the interval; NaN where fewer than half of the resamples have a figure.
        defined: share of the resamples that have one (a resample without a failed mask has no AUROC); the
            interval is that of these.
    """

    value: float
    low: float
    high: float
    defined: float

    def to_json(self) -> dict[str, float]:
        """The figures as a JSON value."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Resampled:
    """A figure on all rows, and on each resample; the difference of two is that on the same resamples.

    Args:
        value: the figure on all rows.
        figures: (resamples,) the figure of each, NaN where it has none.
    """

    value: float
    figures: Floats

    def __sub__(self, other: Resampled) -> Resampled:
        """The difference of two figures of the same groups, drawn with the same seed."""
        return Resampled(self.value - other.value, self.figures - other.figures)

    def estimate(self, confidence: float = 0.95) -> Estimate:
        """The figure with its percentile interval.

        Raises:
            InputError: for a confidence outside (0, 1).
        """
        known = self.figures[~np.isnan(self.figures)]
        defined = len(known) / len(self.figures)
        low, high = percentile_interval(known if defined >= 0.5 else np.full(1, np.nan), confidence)
        return Estimate(self.value, float(low), float(high), defined)


def resample(
    statistic: Statistic,
    columns: Columns,
    groups: Sequence[Hashable] | None = None,
    *,
    resamples: int = STATISTIC_RESAMPLES,
    seed: int | Sequence[int] = 0,
) -> Resampled:
    """A figure of several columns on resamples of whole groups; arguments as for `bootstrap_statistic`.

    Raises:
        InputError: for no rows, or columns or groups of different lengths.
    """
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or not min(lengths):
        raise InputError(f"a bootstrap needs columns of the same length, at least 1, not {sorted(lengths)}.")
    numbers = group_numbers(groups, min(lengths))
    rows, counts = np.argsort(numbers, kind="stable"), np.bincount(numbers)
    starts = np.cumsum(counts) - counts
    rng = np.random.default_rng(seed)
    figures = np.empty(resamples)
    for number in range(resamples):
        drawn = rng.integers(len(counts), size=len(counts))
        index = rows[_ranges(starts[drawn], counts[drawn])]
        figures[number] = statistic({name: column[index] for name, column in columns.items()})
    return Resampled(float(statistic(columns)), figures)


def bootstrap_statistic(
    statistic: Statistic,
    columns: Columns,
    groups: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = STATISTIC_RESAMPLES,
    seed: int | Sequence[int] = 0,
) -> Estimate:
    """Percentile bootstrap interval of any figure of several columns: a correlation, an area, an error.

    Whole groups are drawn, as by `bootstrap_interval`, and every resample is a table of its own on which the
    statistic is computed. The same seed and groups give the same resamples whatever the statistic.

    Args:
        statistic: takes the columns of a resample and gives a figure, NaN where it has none.
        columns: (n, …) arrays by name, the same n rows.
        groups: (n,) what each row belongs to; None takes each row as its own group.
        confidence: share of the resampled figures inside the interval.
        resamples: number of resamples.
        seed: of the draws.

    Raises:
        InputError: for no rows, columns or groups of different lengths, or a confidence outside (0, 1).
    """
    return resample(statistic, columns, groups, resamples=resamples, seed=seed).estimate(confidence)


def bootstrap_difference(
    one: Statistic,
    other: Statistic,
    columns: Columns,
    groups: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = STATISTIC_RESAMPLES,
    seed: int | Sequence[int] = 0,
) -> Estimate:
    """Interval of one statistic minus another, both taken on the same resamples; as `bootstrap_statistic`.

    Two figures of the same masks rise and fall together, so their difference is known far better than their
    two intervals suggest: they differ where this interval leaves out 0.
    """
    first, second = (
        resample(statistic, columns, groups, resamples=resamples, seed=seed) for statistic in (one, other)
    )
    return (first - second).estimate(confidence)


def group_numbers(groups: Sequence[Hashable] | None, n: int) -> npt.NDArray[np.int64]:
    """Number each row's group, in the order in which the groups appear; without groups, each row is one.

    Raises:
        InputError: unless there are n groups.
    """
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise InputError(f"{len(groups)} groups were given for {n} values.")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.int64)


def group_weights(groups: Sequence[Hashable] | None, n: int) -> Floats:
    """(n,) weights by which every group counts 1, whatever the number of its rows; as `group_numbers`."""
    numbers = group_numbers(groups, n)
    weights: Floats = 1 / np.bincount(numbers)[numbers]
    return weights


def percentile_interval(means: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Lower and upper ends, (m,) or () each, between which that share of the (resamples, m) means lies.

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


def _ranges(starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The numbers start, start + 1, …, start + count − 1 of each pair, one after the other."""
    ends = np.cumsum(counts)
    offsets: npt.NDArray[np.int64] = np.repeat(starts - (ends - counts), counts)
    return offsets + np.arange(ends[-1])


def _totals(scores: Floats, groups: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sums (groups, m) and number (groups,) of each group's rows, in the order in which the groups appear."""
    if groups is None:
        return scores, np.ones(len(scores))
    index = group_numbers(groups, len(scores))
    counts = np.bincount(index).astype(np.float64)
    sums = np.zeros((len(counts), scores.shape[1]))
    np.add.at(sums, index, scores)
    return sums, counts
