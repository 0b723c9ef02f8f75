"""Slow, obvious versions of `maskwright.metrics.video`: pixels as points, and distances between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Points = list[tuple[int, int]]


def contour(mask: Mask) -> Points:
    """Pixels whose right, lower or lower right neighbour in the image is on the other side of the outline."""
    height, width = mask.shape
    found = []
    for y in range(height):
        for x in range(width):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            inside = [(b, a) for b, a in neighbours if b < height and a < width]
            if any(mask[place] != mask[y, x] for place in inside):
                found.append((y, x))
    return found


def contour_f(predicted: Mask, target: Mask, tolerance: float) -> float:
    radius = math.ceil(tolerance * math.hypot(*mask_size(predicted)))
    ours, theirs = contour(predicted), contour(target)
    if not ours and not theirs:
        return 1.0
    if not ours or not theirs:
        return 0.0
    precision, recall = _matched(ours, theirs, radius), _matched(theirs, ours, radius)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def mask_size(mask: Mask) -> tuple[int, int]:
    return mask.shape[0], mask.shape[1]


def _matched(points: Points, others: Points, radius: int) -> float:
    """Share of the points with another one within the radius."""
    near = [p for p in points if any((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 <= radius**2 for q in others)]
    return len(near) / len(points)


def over_frames(scores: Sequence[float]) -> tuple[float, float, float]:
    """Mean, recall and decay; frames are counted from 1, as in the published scripts."""
    count = len(scores)
    mean = sum(scores) / count
    recall = sum(score > 0.5 for score in scores) / count
    second, fourth = (math.floor(1 + quarter * (count - 1) / 4 + 0.5 + 1e-10) for quarter in (1, 3))
    first, last = scores[:second], scores[fourth - 1 :]
    return mean, recall, sum(first) / len(first) - sum(last) / len(last)
