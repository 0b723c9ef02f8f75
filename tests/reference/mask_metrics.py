"""Slow, obvious versions of `maskwright.metrics`: sets of pixels, and one small erosion after another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def object_pixels(mask: Mask) -> set[tuple[int, int]]:
    return {(y, x) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]}


def iou(predicted: Mask, target: Mask) -> float:
    p, t = object_pixels(predicted), object_pixels(target)
    return len(p & t) / len(p | t) if p | t else 1.0


def dice(predicted: Mask, target: Mask) -> float:
    p, t = object_pixels(predicted), object_pixels(target)
    return 2 * len(p & t) / (len(p) + len(t)) if p or t else 1.0


def precision(predicted: Mask, target: Mask) -> float:
    p, t = object_pixels(predicted), object_pixels(target)
    return len(p & t) / len(p) if p else 1.0


def recall(predicted: Mask, target: Mask) -> float:
    p, t = object_pixels(predicted), object_pixels(target)
    return len(p & t) / len(t) if t else 1.0


def erode(mask: Mask) -> Mask:
    """A pixel stays when it and its eight neighbours are set; the outside of the array is set."""
    padded = np.pad(mask, 1, constant_values=True)
    height, width = mask.shape
    result = np.ones_like(mask)
    for dy in range(3):
        for dx in range(3):
            result &= padded[dy : dy + height, dx : dx + width]
    return result


def boundary(mask: Mask, width: int) -> Mask:
    """As HQ-SAM's tool does: pad a pixel of background, erode by 3 x 3 `width` times, take the difference."""
    eroded = np.pad(mask, 1)
    for _ in range(width):
        eroded = erode(eroded)
    return mask & ~eroded[1:-1, 1:-1]


def boundary_iou(predicted: Mask, target: Mask, ratio: float = 0.02) -> float:
    height, width = predicted.shape
    band = max(1, round(ratio * math.sqrt(height**2 + width**2)))
    return iou(boundary(predicted, band), boundary(target, band))


def bootstrap_means(
    values: Sequence[float], groups: Sequence[int], resamples: int, rng: np.random.Generator
) -> list[float]:
    """Mean of the values of as many randomly drawn groups as there are, once per resample."""
    names = sorted(set(groups))
    means = []
    for _ in range(resamples):
        drawn = rng.choice(names, size=len(names))
        kept = [value for name in drawn for value, group in zip(values, groups, strict=True) if group == name]
        means.append(sum(kept) / len(kept))
    return means
