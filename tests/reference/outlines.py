"""Slow, obvious versions of `maskwright.data.outlines`, pixel by pixel, and the rule as it was published."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.types import BoolArray

Numbers = npt.NDArray[np.integer]
Offsets = list[tuple[int, int]]


def disc(thickness: int) -> Offsets:
    """OpenCV's filled circle in a t x t kernel, its middle and radius t // 2."""
    half = thickness // 2
    kernel = cv2.circle(np.zeros((thickness, thickness), np.uint8), (half, half), half, (1,), -1)
    return [(int(y) - half, int(x) - half) for y, x in np.argwhere(kernel)]


def square(thickness: int) -> Offsets:
    half = thickness // 2
    return [(y - half, x - half) for y in range(thickness) for x in range(thickness)]


def resized(labels: Numbers, out: tuple[int, int], rule: int) -> Numbers:
    result: Numbers = cv2.resize(labels.astype(np.float64), out[::-1], interpolation=rule).astype(np.int64)
    return result


def painted_frame(size: tuple[int, int], thickness: int) -> BoolArray:
    result = np.zeros(size, bool)
    for y, x in np.ndindex(size):
        result[y, x] = min(y, x, size[0] - 1 - y, size[1] - 1 - x) < thickness
    return result


def published(labels: Numbers, thickness: int, out: tuple[int, int], kernel: Offsets) -> BoolArray:
    """Of every value, 0 too: its dilation less its erosion; pixels beyond the image do not count."""
    labels = resized(labels, out, cv2.INTER_NEAREST)
    result = painted_frame(out, thickness)
    for value in np.unique(labels):
        region = labels == value
        for y, x in np.ndindex(out):
            around = [region[y + v, x + u] for v, u in kernel if 0 <= y + v < out[0] and 0 <= x + u < out[1]]
            result[y, x] |= any(around) and not all(around)
    return result


def published_sum(masks: Sequence[BoolArray], size: tuple[int, int]) -> Numbers:
    """The published label map of overlapping masks: 8-bit sums of mask number times mask."""
    total = np.zeros(size, np.uint8)
    for number, mask in enumerate(masks, start=1):
        total += mask.astype(np.uint8) * np.uint8(number)
    return total


def overlaps(masks: Sequence[BoolArray], size: tuple[int, int]) -> Numbers:
    """A number for each set of masks that overlap somewhere: what the published sums stand for."""
    total = np.zeros(size, np.int64)
    for number, mask in enumerate(masks):
        total += mask.astype(np.int64) << number
    return total


def exact(labels: Numbers, thickness: int, out: tuple[int, int]) -> BoolArray:
    """Of each crack the left or upper pixel, or both, with all pixels in reach."""
    labels = resized(labels, out, cv2.INTER_NEAREST_EXACT)
    core = []
    for y, x in np.ndindex(out):
        for v, u in ((y, x + 1), (y + 1, x)):
            if v < out[0] and u < out[1] and labels[y, x] != labels[v, u]:
                core += [(y, x)] if thickness % 2 else [(y, x), (v, u)]
    reach = (thickness - 1) // 2
    result = np.zeros(out, bool)
    for y, x in np.ndindex(out):
        result[y, x] = any((y - v) ** 2 + (x - u) ** 2 <= reach**2 for v, u in core)
    return result
