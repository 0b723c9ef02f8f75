"""Where segments begin: the parts of a boundary map that are no boundary, or its valleys.

A boundary map is (H, W) float32 in [0, 1], the probability that each pixel lies on a segment's outline. The
watershed reads it as 256 levels, round(255 p).
"""

from __future__ import annotations

import cv2
import numpy as np

from maskwright.compiled import compiled
from maskwright.errors import InputError
from maskwright.methods.everything.watershed import Labels
from maskwright.types import BoolArray, ByteArray, FloatArray, check_shape


def prepared(probability: FloatArray, rim: int = 0) -> FloatArray:
    """A boundary map whose outermost `rim` pixels are taken from what lies next to them, further in.

    Models trained on labels with a painted frame, as DirectSAM's are, outline the image itself. Taken as it
    is, the frame would cut slivers off along the image's sides. Of a map that is nothing but frame, the
    middle row or column stays.

    Raises:
        InputError: unless the map is (H, W) with a pixel and lies in [0, 1], and the rim is not negative.
    """
    check_shape("the boundary map", probability, ("H", "W"))
    if not probability.size or probability.dtype != np.float32:
        raise InputError(
            f"a boundary map is float32 with one pixel at least, not {probability.dtype} "
            f"of shape {probability.shape}."
        )
    low, high = float(probability.min()), float(probability.max())
    if not 0 <= low <= high <= 1:  # a NaN compares as False
        raise InputError(
            f"a boundary map holds probabilities from 0 to 1; this one goes from {low} to {high}."
        )
    if rim < 0:
        raise InputError(f"the rim is a number of pixels from 0, not {rim}.")
    if not rim:
        return np.ascontiguousarray(probability)
    height, width = probability.shape
    down, across = min(rim, (height - 1) // 2), min(rim, (width - 1) // 2)
    inside = probability[down : height - down, across : width - across]
    return np.pad(inside, ((down, down), (across, across)), mode="edge")


def to_levels(probability: FloatArray) -> ByteArray:
    """The (H, W) uint8 levels round(255 p) of a boundary map."""
    levels: ByteArray = cv2.convertScaleAbs(probability, alpha=255.0)
    return levels


def seeds(probability: FloatArray, threshold: float) -> Labels:
    """Number the 4-connected parts of the pixels that are not above a threshold (EPOC, Chen et al. 2025).

    Args:
        probability: (H, W) float32 in [0, 1].
        threshold: in [0, 1]: the higher, the fewer boundaries are left, and the fewer segments.

    Returns:
        (H, W) int32: 1…N, and 0 where the map is above the threshold.

    Raises:
        InputError: for a threshold outside [0, 1], or a map that is none.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"the threshold is a probability from 0 to 1, not {threshold}.")
    return connected(prepared(probability) <= np.float32(threshold))


def minima(levels: ByteArray) -> Labels:
    """Number the valleys of a map: 4-connected plateaus without a lower neighbour.

    Args:
        levels: (H, W) uint8.

    Returns:
        (H, W) int32: 1…N, and 0 outside the valleys.
    """
    assert levels.dtype == np.uint8, levels.dtype
    # Valleys do not touch: of two that did, one were lower, or both were one.
    return connected(_valleys(np.ascontiguousarray(levels)))


def connected(mask: BoolArray) -> Labels:
    """Number the 4-connected parts of an (H, W) mask: 1…N, 0 outside."""
    labels: Labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)[1]
    return labels


@compiled
def _valleys(levels: ByteArray) -> BoolArray:
    height, width = levels.shape
    valley = np.ones((height, width), np.bool_)
    stack = np.empty(height * width, np.int64)
    for y in range(height):
        for x in range(width):
            # What flows down from here: the pixel itself, and all of its level that are connected to it.
            if not valley[y, x] or not _has_lower(levels, y, x):
                continue
            valley[y, x] = False
            stack[0], size = y * width + x, 1
            while size:
                size -= 1
                b, a = divmod(stack[size], width)
                for down, right in ((-1, 0), (0, -1), (0, 1), (1, 0)):
                    j, i = b + down, a + right
                    if 0 <= j < height and 0 <= i < width and valley[j, i] and levels[j, i] == levels[b, a]:
                        valley[j, i] = False
                        stack[size] = j * width + i
                        size += 1
    return valley


@compiled
def _has_lower(levels: ByteArray, y: int, x: int) -> bool:
    height, width = levels.shape
    level = levels[y, x]
    if (y > 0 and levels[y - 1, x] < level) or (x > 0 and levels[y, x - 1] < level):
        return True
    return bool((x + 1 < width and levels[y, x + 1] < level) or (y + 1 < height and levels[y + 1, x] < level))
