"""Many run-length masks at once: their areas, how far each two overlap, their union; none is drawn.

All are worked on as toggles (see `rle_kernel`): those of K masks lie one after the other, mask k's from
`bounds[k]` up to `bounds[k + 1]`, an even number: where its stretches of object begin and end in turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from maskwright.compiled import compiled
from maskwright.errors import MaskError
from maskwright.io.rle import RLE
from maskwright.io.rle_kernel import Numbers, read_runs, write_toggles
from maskwright.types import ByteArray


def areas(masks: Sequence[RLE]) -> Numbers:
    """(K,) object pixels of each mask."""
    return _read_areas(*_texts(masks))


def ious(ones: Sequence[RLE], others: Sequence[RLE]) -> npt.NDArray[np.float64]:
    """Intersection over union of each mask with each other one.

    Args:
        ones: N masks.
        others: M masks.

    Returns:
        (N, M) in [0, 1]; 1 where both are empty, as in `metrics.regions.iou`.

    Raises:
        MaskError: for masks of different sizes.
    """
    _check_sizes([*ones, *others])
    mine, theirs = _toggles(ones), _toggles(others)
    both = _overlaps(*mine, *theirs)
    either = _areas(*mine)[:, None] + _areas(*theirs) - both
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def merge(masks: Sequence[RLE]) -> RLE:
    """The union of one mask or more.

    Raises:
        MaskError: for masks of different sizes.
    """
    assert masks, "there is no mask to be merged"
    _check_sizes(masks)
    height, width = masks[0].size
    text = write_toggles(_union(*_toggles(masks)), height * width)
    return RLE.trusted((height, width), text.tobytes().decode("ascii"))


def _toggles(masks: Sequence[RLE]) -> tuple[Numbers, Numbers]:
    return _read(*_texts(masks))


def _texts(masks: Sequence[RLE]) -> tuple[ByteArray, Numbers]:
    """The texts of K masks one after the other, and K + 1 places: where each begins, and the end."""
    texts = [mask.counts for mask in masks]
    text = np.frombuffer(bytearray("".join(texts), "ascii"), np.uint8)
    return text, np.cumsum([0, *map(len, texts)])


def _check_sizes(masks: Sequence[RLE]) -> None:
    sizes = {mask.size for mask in masks}
    if len(sizes) > 1:
        raise MaskError(f"masks of one image have one size (height, width), not {sorted(sizes)}.")


@compiled
def _read(text: ByteArray, ends: Numbers) -> tuple[Numbers, Numbers]:
    """The toggles of K masks whose correct texts end at `ends[1:]`, and their bounds."""
    places = np.empty(len(text), np.int64)
    bounds = np.zeros(len(ends), np.int64)
    count = 0
    for k in range(len(ends) - 1):
        runs = read_runs(text[ends[k] : ends[k + 1]])[0]
        place, first = 0, count
        # Background at the end has no toggle behind it.
        for run in range(len(runs) // 2 * 2):
            place += runs[run]
            if count > first and places[count - 1] == place:
                count -= 1  # a run of no pixels: two toggles cancel out
            else:
                places[count] = place
                count += 1
        bounds[k + 1] = count
    return places[:count], bounds


@compiled
def _read_areas(text: ByteArray, ends: Numbers) -> Numbers:
    """(K,) the pixels of masks whose correct texts end at `ends[1:]`; as `read_runs`, but no run is kept."""
    areas = np.zeros(len(ends) - 1, np.int64)
    for k in range(len(areas)):
        count, value, shift, area = 0, 0, 0, 0
        before, before_that = 0, 0
        for place in range(ends[k], ends[k + 1]):
            code = int(text[place]) - 48
            value |= (code & 31) << shift
            shift += 5
            if code & 32 == 0:
                value -= (code & 16) << (shift - 4)
                if count > 2:
                    value += before_that
                area += value if count & 1 else 0
                before_that, before = before, value
                count, value, shift = count + 1, 0, 0
        areas[k] = area
    return areas


@compiled
def _areas(places: Numbers, bounds: Numbers) -> Numbers:
    areas = np.zeros(len(bounds) - 1, np.int64)
    for k in range(len(areas)):
        for toggle in range(bounds[k], bounds[k + 1], 2):
            areas[k] += places[toggle + 1] - places[toggle]
    return areas


@compiled
def _overlaps(places: Numbers, bounds: Numbers, others: Numbers, other_bounds: Numbers) -> Numbers:
    """(N, M) pixels that are in both."""
    both = np.zeros((len(bounds) - 1, len(other_bounds) - 1), np.int64)
    for i in range(both.shape[0]):
        one = places[bounds[i] : bounds[i + 1]]
        for j in range(both.shape[1]):
            other = others[other_bounds[j] : other_bounds[j + 1]]
            if len(one) and len(other) and one[0] < other[-1] and other[0] < one[-1]:
                both[i, j] = _overlap(one, other)
    return both


@compiled
def _overlap(one: Numbers, other: Numbers) -> int:
    """Pixels that are in both of two masks that are not empty."""
    # What lies before the other's first stretch is passed over.
    i = np.searchsorted(one, other[0], "right") // 2 * 2
    j = np.searchsorted(other, one[0], "right") // 2 * 2
    total = 0
    while i < len(one) and j < len(other):
        total += max(0, min(one[i + 1], other[j + 1]) - max(one[i], other[j]))
        if one[i + 1] < other[j + 1]:
            i += 2
        else:
            j += 2
    return total


@compiled
def _union(places: Numbers, bounds: Numbers) -> Numbers:
    """The toggles of the union of all masks."""
    united = places[: bounds[1]]
    for k in range(1, len(bounds) - 1):
        if bounds[k] < bounds[k + 1]:
            united = _union_of_two(united, places[bounds[k] : bounds[k + 1]])
    return united


@compiled
def _union_of_two(one: Numbers, other: Numbers) -> Numbers:
    """The toggles of the union of a mask and one that is not empty."""
    united = np.empty(len(one) + len(other), np.int64)
    # What lies before the other's first stretch, or behind its last, stays as it is.
    i = np.searchsorted(one, other[0], "left") // 2 * 2
    rest = (np.searchsorted(one, other[-1], "right") + 1) // 2 * 2
    united[:i] = one[:i]
    count, j = i, 0
    while i < rest or j < len(other):
        if j >= len(other) or (i < rest and one[i] <= other[j]):
            start, stop, i = one[i], one[i + 1], i + 2
        else:
            start, stop, j = other[j], other[j + 1], j + 2
        if count > 0 and start <= united[count - 1]:
            united[count - 1] = max(united[count - 1], stop)
        else:
            united[count], united[count + 1] = start, stop
            count += 2
    united[count : count + len(one) - rest] = one[rest:]
    return united[: count + len(one) - rest]
