"""Slow, obvious versions of `maskwright.losses.masks`: one mask, one pixel at a time, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def pixels(logits: Array, targets: Array, weights: Array | None) -> Iterator[tuple[float, float, float]]:
    for index in np.ndindex(logits.shape):
        yield float(logits[index]), float(targets[index]), 1.0 if weights is None else float(weights[index])


def bce_pixel(x: float, t: float) -> float:
    return t * softplus(-x) + (1 - t) * softplus(x)


def focal_pixel(x: float, t: float, alpha: float, gamma: float) -> float:
    p = sigmoid(x)
    p_t = p * t + (1 - p) * (1 - t)
    return (alpha * t + (1 - alpha) * (1 - t)) * math.pow(1 - p_t, gamma) * bce_pixel(x, t)


def weighted_mean(pairs: list[tuple[float, float]]) -> float:
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else 0.0


def bce(logits: Array, targets: Array, weights: Array | None) -> float:
    return weighted_mean([(bce_pixel(x, t), w) for x, t, w in pixels(logits, targets, weights)])


def focal(
    logits: Array, targets: Array, weights: Array | None, alpha: float = 0.25, gamma: float = 2
) -> float:
    return weighted_mean(
        [(focal_pixel(x, t, alpha, gamma), w) for x, t, w in pixels(logits, targets, weights)]
    )


def dice(logits: Array, targets: Array, weights: Array | None) -> float:
    overlap = total = 0.0
    for x, t, w in pixels(logits, targets, weights):
        overlap += w * sigmoid(x) * t
        total += w * (sigmoid(x) + t)
    return 1 - (2 * overlap + 1) / (total + 1)


def actual_iou(logits: Array, targets: Array, weights: Array | None) -> float:
    overlap = union = 0.0
    for x, t, w in pixels(logits, targets, weights):
        overlap += w * (x > 0 and t > 0.5)
        union += w * (x > 0 or t > 0.5)
    return overlap / union if union else 1.0


def iou_head(predicted: float, logits: Array, targets: Array, weights: Array | None) -> float:
    if weights is not None and not (weights > 0).any():
        return 0.0
    return (predicted - actual_iou(logits, targets, weights)) ** 2


def read_point(values: Array, x: float, y: float) -> float:
    """Bilinear between the four nearest pixel centres; outside them all, the nearest pixel's value."""
    height, width = values.shape
    column = min(max(x * width - 0.5, 0), width - 1)
    row = min(max(y * height - 0.5, 0), height - 1)
    total = 0.0
    for i in range(height):
        for j in range(width):
            total += max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j)) * float(values[i, j])
    return total
