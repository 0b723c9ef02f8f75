"""Calibrators as their papers put them: pool adjacent violators by hand, search temperatures on a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

Values = Sequence[float]


def centred_isotonic(predicted: Values, target: Values) -> list[tuple[float, float]]:
    """Knots (mean prediction, mean target) of the pooled blocks."""
    blocks: list[tuple[float, float, int]] = []
    for level in sorted(set(predicted)):
        members = [t for p, t in zip(predicted, target, strict=True) if p == level]
        blocks.append((level * len(members), sum(members), len(members)))
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][2] >= blocks[-1][1] / blocks[-1][2]:
            last, before = blocks.pop(), blocks.pop()
            blocks.append((before[0] + last[0], before[1] + last[1], before[2] + last[2]))
    return [(p / n, t / n) for p, t, n in blocks]


def interpolate(value: float, knots: Sequence[tuple[float, float]]) -> float:
    """On the broken line through the knots, flat beyond its ends."""
    below = [knot for knot in knots if knot[0] <= value]
    above = [knot for knot in knots if knot[0] >= value]
    if not below or not above:
        return knots[0][1] if not below else knots[-1][1]
    (x0, y0), (x1, y1) = below[-1], above[0]
    return y0 if x0 == x1 else y0 + (value - x0) / (x1 - x0) * (y1 - y0)


def scaled(value: float, slope: float, bias: float) -> float:
    logit = math.log(value / (1 - value))
    return 1 / (1 + math.exp(-slope * logit - bias))


def cross_entropy(predicted: Values, target: Values, slope: float, bias: float) -> float:
    """With the imagined mask that pulls towards slope 1 and bias 0."""
    total = ((slope - 1) ** 2 + bias**2) / 2
    for p, t in zip(predicted, target, strict=True):
        q = scaled(p, slope, bias)
        total -= t * math.log(q) + (1 - t) * math.log(1 - q)
    return total
