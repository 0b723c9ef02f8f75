"""Masks with a margin, and the margin a mask would have needed to cover its object.

A margin is a share of the object's size, the square root of the area of the mask as predicted: it means the
same at every resolution, and a small object gets a thin one. Distances are Euclidean, between the centres of
pixels. Axes: H W, and J margins of the grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.types import BoolArray, FloatArray, check_shape

GRID: npt.NDArray[np.float64] = np.concatenate([[0.0], np.geomspace(0.005, 10, 120)])
"""Margins, in steps of 6.6 %, for which the missed share is stored (484 bytes a mask)."""


@dataclass(frozen=True, eq=False)
class CoverNeed:
    """What one mask lacks; all that the calibration of a margin stores of it.

    Args:
        margin: the least with which the mask covers the whole object; infinite for an empty mask.
        missed_J: (J,) share of the object's pixels that the mask misses with each margin of `GRID`.
    """

    margin: float
    missed_J: FloatArray


def cover_need(mask: BoolArray, truth: BoolArray) -> CoverNeed:
    """Measure what a mask lacks, by the distance of each pixel of the object from it.

    Args:
        mask: (H, W) as predicted.
        truth: (H, W) the object; an empty one needs no margin.

    Raises:
        InputError: unless both are (H, W).
    """
    check_shape("mask", mask, ("H", "W"))
    check_shape("truth", truth, mask.shape)
    if not truth.any():
        return CoverNeed(0.0, np.zeros(len(GRID), np.float32))
    if not mask.any():
        return CoverNeed(math.inf, np.ones(len(GRID), np.float32))
    box = _box(mask | truth, 0)
    needed = np.sort(_distances(mask[box])[truth[box]])
    found = np.searchsorted(needed, GRID, side="right")
    return CoverNeed(float(needed[-1]), (1 - found / len(needed)).astype(np.float32))


def with_margin(mask: BoolArray, margin: float) -> BoolArray:
    """The mask and all pixels within the margin of it; an empty mask stays empty.

    Args:
        mask: (H, W).
        margin: share of the object's size, 0 or more.

    Raises:
        InputError: unless the mask is (H, W).
    """
    check_shape("mask", mask, ("H", "W"))
    assert margin >= 0
    covered = mask.copy()
    if mask.any():
        box = _box(mask, math.ceil(margin * object_size(mask)) + 1)
        covered[box] = _distances(mask[box]) <= margin
    return covered


def object_size(mask: BoolArray) -> float:
    """The side in pixels of a square with the mask's area: what a margin is a share of."""
    return math.sqrt(int(mask.sum()))


def _distances(mask: BoolArray) -> npt.NDArray[np.float64]:
    """(H, W) distance of each pixel from the mask, as a share of its size."""
    outside = (~mask).view(np.uint8)
    pixels = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distances: npt.NDArray[np.float64] = np.asarray(pixels, np.float64) / object_size(mask)
    return distances


def _box(mask: BoolArray, border: int) -> tuple[slice, slice]:
    """The part of the image that a mask occupies, and as many pixels around it as there are."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(0, rows[0] - border), rows[-1] + 1 + border),
        slice(max(0, columns[0] - border), columns[-1] + 1 + border),
    )
