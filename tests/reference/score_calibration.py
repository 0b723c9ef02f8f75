"""Calibration of predicted quality, mask by mask; slow and obvious."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Values = Sequence[float]
Gaps = list[tuple[int, float]]


def _gaps(predicted: Values, actual: Values, number: Callable[[float], int], bins: int) -> Gaps:
    """Masks of each bin that has some, and |mean prediction − mean truth|."""
    result = []
    for which in range(bins):
        members = [(p, t) for p, t in zip(predicted, actual, strict=True) if number(p) == which]
        if members:
            promised, had = (sum(column) / len(members) for column in zip(*members, strict=True))
            result.append((len(members), abs(promised - had)))
    return result


def width_gaps(predicted: Values, actual: Values, bins: int) -> Gaps:
    return _gaps(predicted, actual, lambda p: max(0, min(int(p * bins // 1), bins - 1)), bins)


def mass_gaps(predicted: Values, actual: Values, bins: int) -> Gaps:
    """The j-th bin ends at the smallest prediction that j / bins of the masks do not exceed."""
    n = len(predicted)

    def end(j: int) -> float:
        return next(p for p in sorted(predicted) if sum(q <= p for q in predicted) * bins >= j * n)

    ends = [end(j) for j in range(1, bins)]
    return _gaps(predicted, actual, lambda p: sum(p > limit for limit in ends), bins)


def expected_error(gaps: Gaps) -> float:
    return sum(n * gap for n, gap in gaps) / sum(n for n, _ in gaps)


def maximum_error(gaps: Gaps) -> float:
    return max(gap for _, gap in gaps)
