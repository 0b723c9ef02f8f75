"""Ranking figures as their papers put them: every order of equals is tried, every pair is looked at."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

Values = Sequence[float]


def orders(score: Values) -> Iterator[list[int]]:
    """All orders by falling score; equals in every order."""
    levels = sorted(set(score), reverse=True)
    equals = [[i for i, value in enumerate(score) if value == level] for level in levels]
    for choice in itertools.product(*(itertools.permutations(members) for members in equals)):
        yield [i for members in choice for i in members]


def curve(order: Sequence[int], simple: Values, refined: Values) -> list[float]:
    """mIoU with the first k of the order replaced, k = 0 … n."""
    n = len(simple)
    return [sum(refined[i] if i in order[:k] else simple[i] for i in range(n)) / n for k in range(n + 1)]


def area(points: Values) -> float:
    """Trapezoidal rule on [0, 1]."""
    return sum((a + b) / 2 for a, b in itertools.pairwise(points)) / (len(points) - 1)


def mean_curve(uncertainty: Values, simple: Values, refined: Values) -> list[float]:
    curves = [curve(order, simple, refined) for order in orders(uncertainty)]
    return [sum(points) / len(curves) for points in zip(*curves, strict=True)]


def relative_auc(uncertainty: Values, simple: Values, refined: Values) -> tuple[float, float, float, float]:
    gain = [after - before for before, after in zip(simple, refined, strict=True)]
    found, best, worst = (
        area(mean_curve(score, simple, refined)) for score in (uncertainty, gain, [-value for value in gain])
    )
    return (found - worst) / (best - worst) if len(set(gain)) > 1 else math.nan, found, best, worst


def pearson(one: Values, other: Values) -> float:
    n = len(one)
    a, b = sum(one) / n, sum(other) / n
    covariance = sum((x - a) * (y - b) for x, y in zip(one, other, strict=True))
    spread = math.sqrt(sum((x - a) ** 2 for x in one) * sum((y - b) ** 2 for y in other))
    return covariance / spread


def ranks(values: Values) -> list[float]:
    return [sum(w < v for w in values) + (1 + sum(w == v for w in values)) / 2 for v in values]


def failure_auroc(quality: Values, iou: Values, threshold: float) -> float:
    pairs = [
        1.0 if low < high else 0.5 if low == high else 0.0
        for low, bad in zip(quality, iou, strict=True)
        if bad < threshold
        for high, good in zip(quality, iou, strict=True)
        if good >= threshold
    ]
    return sum(pairs) / len(pairs) if pairs else math.nan


def failure_fpr95(quality: Values, iou: Values, threshold: float) -> float:
    fails = [q for q, v in zip(quality, iou, strict=True) if v < threshold]
    goods = [q for q, v in zip(quality, iou, strict=True) if v >= threshold]
    for limit in sorted(set(fails)):
        if fails and goods and sum(q <= limit for q in fails) >= 0.95 * len(fails):
            return sum(q <= limit for q in goods) / len(goods)
    return math.nan


def risks(order: Sequence[int], loss: Values) -> list[float]:
    return [sum(loss[i] for i in order[:k]) / k for k in range(1, len(loss) + 1)]


def mean_risks(quality: Values, loss: Values) -> list[float]:
    curves = [risks(order, loss) for order in orders(quality)]
    return [sum(points) / len(curves) for points in zip(*curves, strict=True)]
