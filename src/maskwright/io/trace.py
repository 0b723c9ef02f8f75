"""Tracing a mask along its pixel borders.

All corners of the outline are found at once; in each grid row they pair up to the horizontal edges, in each
grid column to the vertical ones. Following the two pairings in turn walks the rings.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.types import BoolArray

Ring = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def trace(mask: BoolArray) -> list[tuple[Ring, list[Ring]]]:
    """Exterior and holes of each 4-connected component of a (H, W) mask, as (P, 2) corners (x, y).

    Exteriors have a positive signed area, holes a negative one; no ring touches itself.
    """
    if not mask.any():
        return []
    x, y, vertical = _corners(mask)
    _, components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    exteriors: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for ring in _rings(mask, x, y, vertical):
        column, row = ring[np.lexsort((ring[:, 0], ring[:, 1]))[0]].astype(int)
        if _signed_area(ring) > 0:
            component = int(components[row, column])
            assert component not in exteriors
            exteriors[component] = ring
        else:
            # Above a hole's topmost corner lies the component around it.
            holes.setdefault(int(components[row - 1, column]), []).append(ring)
    return [(exteriors[component], holes.get(component, [])) for component in sorted(exteriors)]


def _corners(mask: BoolArray) -> tuple[Indices, Indices, Indices]:
    """Corners (x, y) in row order, and for each the corner at the other end of its vertical edge.

    Where two object pixels meet only diagonally there are two corners at one point; in row order the first
    ends the edge to the left, the second begins the one to the right. Which of them has the edge upwards
    decides that the two pixels stay apart.
    """
    padded = np.pad(mask, 1)
    above_left, above_right = padded[:-1, :-1], padded[:-1, 1:]
    below_left, below_right = padded[1:, :-1], padded[1:, 1:]
    falling = above_left & below_right & ~above_right & ~below_left
    rising = above_right & below_left & ~above_left & ~below_right
    odd = above_left ^ above_right ^ below_left ^ below_right
    counts = odd.astype(np.int8) + 2 * (falling | rising)
    y, x = np.nonzero(counts)
    repeats = counts[y, x]
    second = np.zeros(int(repeats.sum()), np.bool_)
    second[np.flatnonzero(np.repeat(repeats, repeats) == 2)[1::2]] = True
    y, x = np.repeat(y, repeats), np.repeat(x, repeats)
    upper_last = second ^ rising[y, x]
    order = np.lexsort((upper_last, y, x))
    vertical = np.empty_like(order)
    vertical[order[0::2]], vertical[order[1::2]] = order[1::2], order[0::2]
    return x, y, vertical


def _rings(mask: BoolArray, x: Indices, y: Indices, vertical: Indices) -> list[Ring]:
    """Walk all rings, with the object always on the same side."""
    partner = vertical.tolist()
    unseen = bytearray(b"\1" * len(partner))
    rings: list[Ring] = []
    # Each ring is met first at its topmost, leftmost corner, and left to the right from there.
    for start in range(0, len(partner), 2):
        if not unseen[start]:
            continue
        walk, corner = [], start
        while unseen[corner]:
            other = corner ^ 1
            unseen[corner] = unseen[other] = 0
            walk += [corner, other]
            corner = partner[other]
        points = np.stack([x[walk], y[walk]], axis=1).astype(np.float64)
        is_hole = not mask[y[start], x[start]]
        rings += _split(points[::-1] if is_hole else points)
    return rings


def _split(points: Ring) -> list[Ring]:
    """Cut a ring that touches itself at corners into rings that do not."""
    keys = [tuple(point) for point in points.tolist()]
    if len(set(keys)) == len(keys):
        return [points]
    rings: list[Ring] = []
    stack: list[tuple[float, ...]] = []
    place: dict[tuple[float, ...], int] = {}
    for key in keys:
        if key in place:
            loop = stack[place[key] :]
            for passed in loop:
                del place[passed]
            del stack[len(stack) - len(loop) :]
            rings.append(np.array(loop))
        place[key] = len(stack)
        stack.append(key)
    return [*rings, np.array(stack)]


def _signed_area(ring: Ring) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
