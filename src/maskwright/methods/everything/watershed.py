"""The watershed of a map of 256 levels from markers: each pixel goes to the basin that reaches it first.

The order is that of scikit-image's `watershed` with its default settings (4 neighbours, no line between
basins, no compactness): the water rises level by level; at each, the pixels at the front go on in the order
in which they were reached, markers before all others, and what lies lower than the water is reached at its
level. scikit-image leaves the order among markers of one level to its heap; here they go from left to right
and from top to bottom. The label maps are otherwise the same.

With 256 levels no heap is needed: one queue a level, first in, first out (Meyer 1991; Vincent & Soille 1991).
Each pixel enters one queue at most, once, so the queues share one array, each in its part of it, and a pixel
costs a handful of memory accesses, most of them near the last. Only pixels of markers with an unmarked
neighbour enter, and the flood ends with the last unmarked pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.compiled import compiled
from maskwright.errors import InputError
from maskwright.types import ByteArray, check_shape

Labels = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint32]

LEVELS = 256


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


def _watershed(levels: ByteArray, markers: Labels) -> Labels:
    # A frame of one pixel saves asking for the image's end. The state of a pixel is its label, or its level
    # minus 256 while it has none; the frame's 0 is neither a label nor negative, so nothing spreads there.
    state = np.empty((levels.shape[0] + 2, levels.shape[1] + 2), np.int32)
    state[[0, -1]] = 0
    state[:, [0, -1]] = 0
    unmarked = np.zeros(LEVELS, np.int64)
    _fill(state, levels, markers, unmarked)
    front = _front(markers)
    waiting = unmarked + np.bincount(levels.ravel()[front], minlength=LEVELS)
    # Where each level's part of the queue begins, and how far it is filled; the last part is the present's.
    first = np.concatenate([[0], np.cumsum(waiting)]).astype(np.uint32)
    last = first.copy()
    left = int(unmarked.sum())
    queue = np.empty(2 * left + len(front), np.uint32)
    _enqueue(queue, last, front, levels)
    _flood(state.ravel(), queue, first, last, np.uint32(state.shape[1]), left)
    labels = np.empty(levels.shape, np.int32)
    _read(state, labels)
    return labels


def _front(markers: Labels) -> npt.NDArray[np.intp]:
    """The marked pixels with an unmarked neighbour, row by row."""
    inside = markers > 0
    if not inside.size:
        return np.flatnonzero(inside)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    # Outside the image, nothing is unmarked.
    kept = cv2.erode(inside.view(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=(1,))
    return np.flatnonzero(inside.view(np.uint8) != kept)


@compiled
def _fill(state: Labels, levels: ByteArray, markers: Labels, unmarked: Counts) -> None:
    """Write the state of all pixels, and count the unmarked ones at each level."""
    for y in range(levels.shape[0]):
        for x in range(levels.shape[1]):
            if markers[y, x] > 0:
                state[y + 1, x + 1] = markers[y, x]
            else:
                state[y + 1, x + 1] = np.int32(levels[y, x]) - LEVELS
                unmarked[levels[y, x]] += 1


@compiled
def _read(state: Labels, labels: Labels) -> None:
    """Read the labels out of the states."""
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            labels[y, x] = max(state[y + 1, x + 1], 0)


@compiled
def _enqueue(queue: Pixels, last: Pixels, front: npt.NDArray[np.intp], levels: ByteArray) -> None:
    """Let pixels wait, each at its level, in their order."""
    width = levels.shape[1]
    for p in front:
        y, x = p // width, p % width
        queue[last[levels[y, x]]] = (y + 1) * (width + 2) + x + 1
        last[levels[y, x]] += 1


@compiled
def _flood(state: Labels, queue: Pixels, first: Pixels, last: Pixels, stride: np.uint32, left: int) -> None:
    """Let the basins grow until no unmarked pixel is `left`; `queue[first[l]:last[l]]` wait at level l.

    Indices are unsigned: of signed ones, each access would first ask whether it counts from the end.
    """
    one = np.uint32(1)
    for level in range(LEVELS):
        # First those that have waited here; then those that they bring, at this level or below it.
        for part in (level, LEVELS):
            head = first[part]
            while head != last[part] and left > 0:
                p = queue[head]
                head += one
                label = state[p]
                for q in (p - stride, p - one, p + one, p + stride):
                    if state[q] < 0:
                        its_level = state[q] + LEVELS
                        place = np.uint32(its_level if its_level > level else LEVELS)
                        state[q] = label
                        queue[last[place]] = q
                        last[place] += one
                        left -= 1
            first[part] = head
