"""Conformal rules and margins as their papers put them: every threshold tried, every pair of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Values = Sequence[float]


def risk(loss: Callable[[int], float], groups: Sequence[int]) -> tuple[float, int]:
    """Mean over images of the mean loss of their masks, and the number of images."""
    names = sorted(set(groups))
    means = []
    for name in names:
        members = [i for i, group in enumerate(groups) if group == name]
        means.append(sum(loss(i) for i in members) / len(members))
    return sum(means) / len(names), len(names)


def controlled(mean: float, n: int, alpha: float) -> bool:
    return n / (n + 1) * mean + 1 / (n + 1) <= alpha + 1e-9


def keep_threshold(quality: Values, loss: Values, groups: Sequence[int], alpha: float) -> float | None:
    for threshold in sorted(set(quality)):
        mean, n = risk(lambda i: loss[i] if quality[i] >= threshold else 0.0, groups)  # noqa: B023
        if controlled(mean, n, alpha):
            return threshold
    return None


def conformal_quantile(scores: Values, groups: Sequence[int], alpha: float) -> float:
    return next(
        limit
        for limit in sorted(scores)
        if controlled(*risk(lambda i: float(scores[i] > limit), groups), alpha)  # noqa: B023
    )


def split_quantile(scores: Values, alpha: float) -> float:
    """The textbook's, for one mask an image."""
    rank = math.ceil((len(scores) + 1) * (1 - alpha) - 1e-9)
    return sorted(scores)[rank - 1]


def distance(mask: Mask, y: int, x: int) -> float:
    """From a pixel to the nearest of the mask, in units of the root of the mask's area."""
    return min(math.hypot(y - v, x - u) for v, u in np.argwhere(mask)) / math.sqrt(mask.sum())


def needed_margin(mask: Mask, truth: Mask) -> float:
    return max((distance(mask, y, x) for y, x in np.argwhere(truth)), default=0.0)


def missed(mask: Mask, truth: Mask, margin: float) -> float:
    pixels = np.argwhere(truth)
    return sum(distance(mask, y, x) > margin for y, x in pixels) / len(pixels)


def with_margin(mask: Mask, margin: float) -> Mask:
    return np.array(
        [[distance(mask, y, x) <= margin for x in range(mask.shape[1])] for y in range(mask.shape[0])]
    )


def binomial_tail(failures: int, n: int, chance: float) -> float:
    return sum(math.comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(failures + 1))


def betting_p_value(losses: Values, alpha: float) -> float:
    """A stake on small losses, chosen by those before; how far it has grown speaks against the mean."""
    wealth = most = 1.0
    seen: list[float] = []
    squares = 0.25
    for loss in losses:
        mean, variance = (0.5 + sum(seen)) / (len(seen) + 1), squares / (len(seen) + 1)
        stake = (alpha - mean) / (variance + (alpha - mean) ** 2)
        wealth *= 1 - min(max(stake, 0), 0.75 / (1 - alpha)) * (loss - alpha)
        most = max(most, wealth)
        seen.append(loss)
        squares += (loss - (0.5 + sum(seen)) / (len(seen) + 1)) ** 2
    return 1 / most
