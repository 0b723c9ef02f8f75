"""Slow, obvious versions of `maskwright.metrics.tokens`: plain loops over pixels and windows."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
from skimage.measure import label
from skimage.morphology import skeletonize

from maskwright.types import BoolArray

Labels = npt.NDArray[np.integer]
Offsets = list[tuple[int, int]]


def ellipse(diameter: int) -> Offsets:
    """Offsets of OpenCV's elliptical kernel from its anchor, the pixel at diameter // 2."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    return [(int(y) - diameter // 2, int(x) - diameter // 2) for y, x in np.argwhere(kernel)]


def around(shape: tuple[int, ...], y: int, x: int, offsets: Offsets) -> Iterator[tuple[int, int]]:
    for v, u in offsets:
        if 0 <= y + v < shape[0] and 0 <= x + u < shape[1]:
            yield y + v, x + u


def dilated(mask: BoolArray, offsets: Offsets) -> BoolArray:
    result = np.zeros_like(mask)
    for y, x in np.ndindex(mask.shape):
        result[y, x] = any(mask[place] for place in around(mask.shape, y, x, offsets))
    return result


def eroded(mask: BoolArray, offsets: Offsets) -> BoolArray:
    result = np.zeros_like(mask)
    for y, x in np.ndindex(mask.shape):
        result[y, x] = all(mask[place] for place in around(mask.shape, y, x, offsets))
    return result


def rim(shape: tuple[int, ...], width: int) -> BoolArray:
    result = np.zeros(shape, bool)
    for y, x in np.ndindex(shape):
        result[y, x] = min(y, x, shape[0] - 1 - y, shape[1] - 1 - x) < width
    return result


def token_recall(truth: BoolArray, predicted: BoolArray, tau: int) -> tuple[float, int]:
    truth, predicted = truth & ~rim(truth.shape, tau), predicted & ~rim(truth.shape, tau)
    near = dilated(predicted, ellipse(2 * tau))
    tokens = len(np.unique(label(~predicted, connectivity=2, background=0)))
    tokens += bool((~predicted).all())  # without a boundary there is no background that unique sees
    return ((truth & near).sum() / truth.sum() if truth.any() else 1.0), tokens


def effective_recall(truth: BoolArray, predicted: BoolArray, tolerance: int) -> tuple[float, int] | None:
    truth = truth & ~rim(truth.shape, tolerance)
    if not truth.any():
        return None
    parts = label(~skeletonize(predicted | rim(truth.shape, tolerance)), connectivity=1, background=0)
    contour = np.zeros_like(truth)
    for number in range(1, parts.max() + 1):
        grown = dilated(parts == number, ellipse(3))
        contour |= grown & ~eroded(grown, ellipse(3))
    near = dilated(contour, ellipse(tolerance))
    return (truth & near).sum() / truth.sum(), int(parts.max())


def contour(labels: Labels, reach: int) -> BoolArray:
    result = np.zeros(labels.shape, bool)
    for y, x in np.ndindex(labels.shape):
        window = labels[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        result[y, x] = window.max() != window.min() and labels[y, x] != 0
    return result


def token_scores(truth: BoolArray, labels: Labels) -> tuple[float, float, float, float, int]:
    inner = ~rim(truth.shape, 5)
    thin, thick, known = contour(labels, 2) & inner, contour(labels, 5) & inner, truth & inner
    precision = (known & thin).sum() / (thin.sum() + 1e-6)
    recall = (known & thick).sum() / (known.sum() + 1e-6)
    crossed, tokens = 0, [number for number in np.unique(labels) if number]
    window = [(v, u) for v in range(-25, 26) for u in range(-25, 26)]
    for number in tokens:
        crossed += bool((truth & eroded(labels == number, window)).any())
    f1 = 2 * precision * recall / (precision + recall + 1e-6)
    return precision, recall, f1, 1 - crossed / max(1, len(tokens)), len(tokens)
