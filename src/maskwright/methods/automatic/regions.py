"""Small holes and islands of a mask."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.types import BoolArray


def clean(mask: BoolArray, smallest: int) -> BoolArray:
    """Fill the holes of a mask that are smaller than `smallest` pixels, then drop its islands that are.

    Regions are connected through edges and corners. Any small region without object counts as a hole, at the
    image's border too. Where all islands are small, the largest stays.

    Args:
        mask: (H, W).
        smallest: pixels.

    Returns:
        The cleaned mask; `mask` itself when there was nothing to remove.
    """
    labels, areas = _regions(~mask)
    small = areas < smallest
    if small.any():
        mask = mask | np.concatenate([[False], small])[labels]
    labels, areas = _regions(mask)
    small = areas < smallest
    if small.all() and len(small):
        small[areas.argmax()] = False
    if small.any():
        mask = mask & ~np.concatenate([[False], small])[labels]
    return mask


def _regions(mask: BoolArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Labels (H, W), 0 outside, and the area of each connected region from label 1 on."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels, statistics[1:, cv2.CC_STAT_AREA]
