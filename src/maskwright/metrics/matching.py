"""One-to-one matching of boundary pixels, as the BSDS benchmark counts them.

Martin, Fowlkes and Malik, "Learning to Detect Natural Image Boundaries", PAMI 2004, appendix B.

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
from typing import NamedTuple

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


class _Problem(NamedTuple):
    """A matching problem of N pixels of each side (0 predicted, 1 true), and its solution.

    Args:
        present: (2, N) bool, which pixels there are.
        mates: (2, N), each pixel's partner on the other side, or `_NONE`.
        prices: (2, N), the dual solution; see `_update`.
        caps: (2,), what leaving a pixel without a mate costs.
        steps: (K,), what to add to a pixel's number to get those within the radius.
        costs: (K,), what a pair so far apart costs.
        labels: (N,), room for a search: shortest distances, all `_FAR` between searches.
        parents: (N,), room for a search: whence a pixel was reached.
    """

    present: BoolArray
    mates: Integers
    prices: Integers
    caps: Integers
    steps: Integers
    costs: Integers
    labels: Integers
    parents: Integers


class Matching:
    """An optimal matching of true boundary pixels with predicted ones that come and go.

    Args:
        target: (H, W) bool, the true boundary.
        radius: the largest distance of a pair, in pixels.

    Raises:
        InputError: unless the target is (H, W) and the radius finite and above 0.
    """

    def __init__(self, target: BoolArray, radius: float) -> None:
        check_shape("target", target, ("H", "W"))
        assert target.dtype == np.bool_, target.dtype
        if not 0 < radius < math.inf:
            raise InputError(f"the largest distance of a pair must be above 0 pixels, not {radius}.")
        self.size = (target.shape[0], target.shape[1])
        # Pixels are numbered in an image with a margin, so that no neighbour is ever outside.
        self._margin = int(radius)
        self._width = self.size[1] + self._margin
        count = (self.size[0] + 2 * self._margin) * self._width + 2 * self._margin
        present = np.zeros((2, count), np.bool_)
        present[_TRUE, self.numbers(np.flatnonzero(target))] = True
        # What leaving a pixel unpaired costs: all of it is on the predicted side.
        caps = np.array([math.ceil(OUTLIER * _SCALE * radius), 0], np.int64)
        self._problem = _Problem(
            present,
            np.full((2, count), _NONE, np.int64),
            np.zeros((2, count), np.int64),
            caps,
            *_neighbours(radius, self._width),
            np.full(count, _FAR, np.int64),
            np.empty(count, np.int64),
        )

    def numbers(self, flat: Integers) -> Integers:
        """Numbers of pixels that are given by their place in the flattened image."""
        row, column = np.divmod(flat, self.size[1])
        numbers: Integers = (row + self._margin) * self._width + column + self._margin
        return numbers

    def update(self, removed: Integers, added: Integers) -> None:
        """Take predicted pixels out and others in.

        Args:
            removed: numbers of pixels that are in.
            added: numbers of pixels that are not.
        """
        _update(self._problem, removed, added)

    def matched(self, numbers: Integers) -> BoolArray:
        """Which of the predicted pixels with these numbers are paired."""
        found: BoolArray = self._problem.mates[_PREDICTED, numbers] != _NONE
        return found

    def matched_targets(self) -> BoolArray:
        """(H, W), the true pixels that are paired."""
        numbers = self.numbers(np.arange(math.prod(self.size)))
        found: BoolArray = (self._problem.mates[_TRUE, numbers] != _NONE).reshape(self.size)
        return found


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
        InputError: for images of different sizes, or a radius that is not above 0.
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
def _update(problem: _Problem, removed: Integers, added: Integers) -> None:
    """Take pixels out and in, keeping the matching optimal.

    Optimal it is because there are prices with: a pair that is possible costs at least the sum of its two
    prices, and one that is made exactly that; no price exceeds its pixel's cap; without a mate it equals it.
    """
    for pixel in added:
        problem.present[_PREDICTED, pixel] = True
        # Feasible, for prices of true pixels are never above 0.
        problem.prices[_PREDICTED, pixel] = 0
        _bring_in(problem, _PREDICTED, pixel)
    for pixel in removed:
        problem.present[_PREDICTED, pixel] = False
        mate = problem.mates[_PREDICTED, pixel]
        if mate != _NONE:
            problem.mates[_PREDICTED, pixel] = _NONE
            problem.mates[_TRUE, mate] = _NONE
            _bring_in(problem, _TRUE, mate)


@compiled
def _bring_in(problem: _Problem, side: int, start: int) -> None:
    """Find a mate for a pixel without one, or for whom it is best to stay or be left without."""
    other = 1 - side
    mates, prices = problem.mates, problem.prices
    settled = [start]
    settled.clear()
    best, end, free = _shortest(problem, side, start, settled)
    for pixel in settled:
        shift = best - problem.labels[pixel]
        problem.labels[pixel] = _FAR
        prices[side, pixel] += shift
        if mates[side, pixel] != _NONE:
            prices[other, mates[side, pixel]] -= shift
    # Along the path everybody takes the mate of the next.
    while True:
        given_up = mates[side, end]
        mates[side, end] = free
        if free != _NONE:
            mates[other, free] = end
        if end == start:
            break
        end, free = problem.parents[end], given_up


@compiled
def _shortest(problem: _Problem, side: int, start: int, settled: list[int]) -> tuple[int, int, int]:
    """The cheapest alternating path from a pixel: Dijkstra's search over the pixels of its side.

    It ends at a pixel of the other side that has no mate, or at one of this side that gives up its own for
    what being without costs.

    Returns:
        The path's cost, its last pixel of this side, and that one's new mate or `_NONE`. `settled` gets the
        pixels that are nearer than that; only their labels are left.
    """
    present, mates, prices, caps, steps, costs, labels, parents = problem
    other = 1 - side
    labels[start] = 0
    queue = [(0, start)]
    best, end, free = _FAR, start, _NONE
    while queue:
        label, pixel = heappop(queue)
        if label > labels[pixel]:
            continue
        if label >= best:
            labels[pixel] = _FAR
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
            mate = mates[other, near]
            if reached < best and mate == _NONE:
                best, end, free = reached, pixel, near
            elif reached < best and reached < labels[mate]:
                labels[mate], parents[mate] = reached, pixel
                heappush(queue, (reached, mate))
    return best, end, free
