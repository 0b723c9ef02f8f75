"""The watershed of a map of 256 levels from markers: each pixel goes to the basin that reaches it first.

The order is that of scikit-image's `watershed` with its default settings (4 neighbours, no line between
basins, no compactness): of the pixels at the front of all basins, the lowest goes on, of equals the one that
has waited longest, markers before all others. scikit-image leaves the order among markers of one level to its
heap; here they go from left to right and from top to bottom. The label maps are otherwise the same.

With 256 levels no heap is needed: one queue a level, first in, first out (Meyer 1991; Vincent & Soille 1991).
Each pixel enters at most one queue, once, so the queues share one array, each in its part of it, and a pixel
costs a handful of memory accesses, most of them near the last. Only pixels of markers with an unmarked
neighbour enter, and the flood ends with the last unmarked pixel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from maskwright.compiled import compiled
from maskwright.errors import InputError
from maskwright.types import ByteArray, check_shape

Labels = npt.NDArray[np.int32]

LEVELS = 256
STRIP = 64


def watershed(levels: ByteArray, markers: Labels) -> Labels:
    """Flood a map from markers until no pixel is left.

    Args:
        levels: (H, W) uint8, the height of each pixel: low levels are flooded first.
        markers: (H, W) int32: the basins' numbers, from 1; 0 where a pixel belongs to none yet.

    Returns:
        (H, W) int32, each pixel its basin's number; all 0 when there is no marker.

    Raises:
        InputError: for maps of different sizes, or a marker below 0.
    """
    check_shape("levels", levels, ("H", "W"))
    check_shape("markers", markers, levels.shape)
    assert levels.dtype == np.uint8, levels.dtype
    assert markers.dtype == np.int32, markers.dtype
    if markers.size and markers.min() < 0:
        raise InputError(f"markers are numbers from 1, and 0 where there is none; one is {markers.min()}.")
    return _watershed(np.ascontiguousarray(levels), np.ascontiguousarray(markers))


@compiled
def _watershed(levels: ByteArray, markers: Labels) -> Labels:
    height, width = levels.shape
    # A frame of one pixel saves asking for the image's end. The state of a pixel is its label, or its level
    # minus 256 while it has none; the frame's 0 is neither a label nor negative, so nothing spreads there.
    stride = width + 2
    state = np.empty((height + 2) * stride, np.int32)
    waiting = _fill(state, levels, markers)
    left = waiting.sum()
    front = _front(state, height, width)
    for p in front:
        waiting[levels[p // stride - 1, p % stride - 1]] += 1
    queue = np.empty(waiting.sum(), np.int32)
    first = np.zeros(LEVELS + 1, np.int64)
    first[1:] = np.cumsum(waiting)
    last = first[:-1].copy()
    for p in front:
        level = levels[p // stride - 1, p % stride - 1]
        queue[last[level]] = p
        last[level] += 1
    _flood(state, queue, first, last, stride, left)
    labels = np.empty((height, width), np.int32)
    for y in range(height):
        row = state[(y + 1) * stride + 1 : (y + 1) * stride + 1 + width]
        for x in range(width):
            labels[y, x] = max(row[x], 0)
    return labels


@compiled
def _fill(state: Labels, levels: ByteArray, markers: Labels) -> npt.NDArray[np.int64]:
    """Write the state of all pixels; give the number of unmarked ones at each level."""
    height, width = levels.shape
    stride = width + 2
    counts = np.zeros(LEVELS, np.int64)
    state[:stride] = 0
    state[-stride:] = 0
    for y in range(height):
        row = state[(y + 1) * stride : (y + 2) * stride]
        row[0] = 0
        row[-1] = 0
        for x in range(width):
            marker = markers[y, x]
            if marker > 0:
                row[x + 1] = marker
            else:
                row[x + 1] = np.int32(levels[y, x]) - LEVELS
                counts[levels[y, x]] += 1
    return counts


@compiled
def _front(state: Labels, height: int, width: int) -> Labels:
    """The marked pixels that have an unmarked neighbour, row by row."""
    stride = width + 2
    found = np.empty(height * width, np.int32)
    count = 0
    for y in range(1, height + 1):
        for start in range(y * stride + 1, (y + 1) * stride - 1, STRIP):
            end = min(start + STRIP, (y + 1) * stride - 1)
            if not _any_unmarked(state, start, end, stride):
                continue
            for p in range(start, end):
                # The sign of the four together is negative if one of them is.
                around = state[p - stride] | state[p - 1] | state[p + 1] | state[p + stride]
                if state[p] > 0 and around < 0:
                    found[count] = p
                    count += 1
    return found[:count]


@compiled
def _any_unmarked(state: Labels, start: int, end: int, stride: int) -> bool:
    """Whether a strip of pixels, or the neighbours of one, may hold an unmarked one; 16 are read at once."""
    signs = state[start - 1] | state[end]
    above, here, below = (
        state[start - stride : end - stride],
        state[start:end],
        state[start + stride : end + stride],
    )
    for x in range(len(here)):
        signs |= above[x] | here[x] | below[x]
    return bool(signs < 0)


@compiled
def _flood(
    state: Labels,
    queue: Labels,
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
    stride: int,
    left: int,
) -> None:
    """Let the basins grow until no unmarked pixel is `left`; `queue[first[l]:last[l]]` wait at level l."""
    level = 0
    while left > 0:
        while level < LEVELS and first[level] == last[level]:
            level += 1
        if level == LEVELS:  # there was no marker at all
            return
        p = queue[first[level]]
        first[level] += 1
        label = state[p]
        for q in (p - stride, p - 1, p + 1, p + stride):
            if state[q] < 0:
                its_level = state[q] + LEVELS
                state[q] = label
                queue[last[its_level]] = q
                last[its_level] += 1
                left -= 1
                level = min(level, its_level)
