"""One-to-one matching of boundary pixels, as the BSDS benchmark counts them (Martin et al., PAMI 2004, appendix B).

Predicted and true pixels not farther apart than a radius may be paired, each with one other at most. The
pairing is the one of least cost: a pair costs its distance, an unpaired predicted pixel a hundred times the
radius, so that almost always as many as possible are paired. Costs are hundredths of a pixel, as in the
benchmark. Its solver adds random edges and gives counts that vary by some 0.1 % from run to run; this one is
exact.

How: successive shortest augmenting paths with prices (the Hungarian method on a sparse graph), which takes
pixels in and out of a solved problem. Boundaries at neighbouring thresholds differ in few pixels, so a solved
one is a far better start than an empty one.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from maskwright.compiled import compiled
from maskwright.errors import InputError
from maskwright.types import BoolArray, check_shape

Integers = npt.NDArray[np.int64]

OUTLIER = 100
_SCALE = 100
_NONE = -1
_FAR = np.iinfo(np.int64).max
_PREDICTED, _TRUE = 0, 1


class Matching:
    """An optimal matching of true boundary pixels with predicted ones that come and go.

    Args:
        target: (H, W) bool, the true boundary.
        radius: the largest distance of a pair, in pixels.

    Raises:
        InputError: unless the target is (H, W) and the radius finite and at least 0.
    """

    def __init__(self, target: BoolArray, radius: float) -> None:
        check_shape("target", target, ("H", "W"))
        assert target.dtype == np.bool_, target.dtype
        if not 0 <= radius < math.inf:
            raise InputError(f"the largest distance of a pair must be at least 0 pixels, not {radius}.")
        self.size = (target.shape[0], target.shape[1])
        # Pixels are numbered in an image with a margin, so that no neighbour is ever outside.
        self._margin = int(radius)
        self._width = self.size[1] + self._margin
        count = (self.size[0] + 2 * self._margin) * self._width + 2 * self._margin
        self._steps, self._costs = _neighbours(radius, self._width)
        # What leaving a pixel unpaired costs: all of it is on the predicted side.
        self._caps = np.array([round(OUTLIER * _SCALE * radius), 0], np.int64)
        self._present = np.zeros((2, count), np.bool_)
        self._present[_TRUE, self.numbers(np.flatnonzero(target))] = True
        self._mates = np.full((2, count), _NONE, np.int64)
        self._prices = np.zeros((2, count), np.int64)
        self._labels = np.full(count, _FAR, np.int64)
        self._parents = np.empty(count, np.int64)

    def numbers(self, flat: Integers) -> Integers:
        """Numbers of pixels that are given by their place in the flattened image."""
        row, column = np.divmod(flat, self.size[1])
        return (row + self._margin) * self._width + column + self._margin

    def update(self, removed: Integers, added: Integers) -> None:
        """Take predicted pixels out and others in.

        Args:
            removed: numbers of pixels that are in.
            added: numbers of pixels that are not.
        """
        _update(
            removed,
            added,
            self._present,
            self._mates,
            self._prices,
            self._caps,
            self._steps,
            self._costs,
            self._labels,
            self._parents,
        )

    def matched(self, numbers: Integers) -> BoolArray:
        """Which of the predicted pixels with these numbers are paired."""
        return self._mates[_PREDICTED, numbers] != _NONE

    def matched_targets(self) -> BoolArray:
        """(H, W), the true pixels that are paired."""
        flat = self._mates[_TRUE, self.numbers(np.arange(math.prod(self.size)))] != _NONE
        return flat.reshape(self.size)


def match(predicted: BoolArray, target: BoolArray, radius: float) -> tuple[BoolArray, BoolArray]:
    """Match predicted boundary pixels with true ones.

    Args:
        predicted: (H, W) bool.
        target: (H, W) bool.
        radius: the largest distance of a pair, in pixels; the benchmark's is 0.0075 of the diagonal.

    Returns:
        (H, W) bool twice: the predicted and the true pixels that are paired, equally many. Which of several
        equally good predicted pixels are is not fixed.

    Raises:
        InputError: for images of different sizes, or a radius below 0.
    """
    check_shape("predicted", predicted, target.shape)
    matching = Matching(target, radius)
    numbers = matching.numbers(np.flatnonzero(predicted))
    matching.update(numbers[:0], numbers)
    found = np.zeros_like(predicted)
    found[predicted] = matching.matched(numbers)
    return found, matching.matched_targets()


def _neighbours(radius: float, width: int) -> tuple[Integers, Integers]:
    """What to add to a pixel's number to get those within the radius, nearest first, and what pairs cost."""
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distances = np.hypot(y, x)
    order = np.argsort(distances, axis=None, kind="stable")
    order = order[distances.ravel()[order] <= radius]
    steps = (y * width + x).ravel()[order].astype(np.int64)
    return steps, np.rint(_SCALE * distances.ravel()[order]).astype(np.int64)


@compiled
def _update(
    removed: Integers,
    added: Integers,
    present: BoolArray,
    mates: Integers,
    prices: Integers,
    caps: Integers,
    steps: Integers,
    costs: Integers,
    labels: Integers,
    parents: Integers,
) -> None:
    """Take pixels out and in, keeping the matching optimal.

    Optimal it is because there are prices with: a pair that is possible costs at least the sum of its two
    prices, and one that is made exactly that; no price exceeds its pixel's cap; without a mate it equals it.
    """
    for pixel in added:
        present[_PREDICTED, pixel] = True
        # Feasible, for prices of true pixels are never above 0.
        prices[_PREDICTED, pixel] = 0
        _augment(_PREDICTED, pixel, present, mates, prices, caps, steps, costs, labels, parents)
    for pixel in removed:
        present[_PREDICTED, pixel] = False
        mate = mates[_PREDICTED, pixel]
        if mate != _NONE:
            mates[_PREDICTED, pixel] = _NONE
            mates[_TRUE, mate] = _NONE
            _augment(_TRUE, mate, present, mates, prices, caps, steps, costs, labels, parents)


@compiled
def _augment(
    side: int,
    start: int,
    present: BoolArray,
    mates: Integers,
    prices: Integers,
    caps: Integers,
    steps: Integers,
    costs: Integers,
    labels: Integers,
    parents: Integers,
) -> None:
    """Bring in one pixel without a mate: the cheapest alternating path from it becomes the other way round.

    The path ends at a pixel of the other side that has no mate, or at one of this side that gives up its own
    for what being without costs. Dijkstra's search goes over the pixels of `side`; `labels` is all `_FAR`
    before and after.
    """
    other = 1 - side
    labels[start] = 0
    touched = [start]
    queue = [(np.int64(0), start)]
    settled = [start]
    settled.clear()
    best, end, free = _FAR, start, _NONE
    while queue:
        label, pixel = heappop(queue)
        if label >= best:
            break
        if label > labels[pixel]:
            continue
        settled.append(pixel)
        rest = label + caps[side] - prices[side, pixel]
        if rest < best:
            best, end, free = rest, pixel, _NONE
        base = label - prices[side, pixel]
        for k in range(len(steps)):
            near = pixel + steps[k]
            if not present[other, near]:
                continue
            reached = base + costs[k] - prices[other, near]
            if reached >= best:
                continue
            mate = mates[other, near]
            if mate == _NONE:
                best, end, free = reached, pixel, near
            elif reached < labels[mate]:
                if labels[mate] == _FAR:
                    touched.append(mate)
                labels[mate] = reached
                parents[mate] = pixel
                heappush(queue, (reached, mate))
    for pixel in settled:
        shift = best - labels[pixel]
        prices[side, pixel] += shift
        if mates[side, pixel] != _NONE:
            prices[other, mates[side, pixel]] -= shift
    for pixel in touched:
        labels[pixel] = _FAR
    while True:
        given_up = mates[side, end]
        mates[side, end] = free
        if free != _NONE:
            mates[other, free] = end
        if end == start:
            break
        end, free = parents[end], given_up
