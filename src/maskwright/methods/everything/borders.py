"""The borders between the regions of a label map: which regions touch, along how many pixels, how strongly.

Two regions share a border where a pixel of one is above, below, left or right of a pixel of the other. The
boundary there is as strong as the stronger of the two pixels: a line one pixel wide belongs to one side only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskwright.compiled import compiled
from maskwright.methods.everything.watershed import Labels
from maskwright.types import ByteArray

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Borders:
    """The E borders of a label map, in the order in which they are met from its top left.

    Args:
        pairs: (E, 2) int32, the labels of the two regions, the smaller first.
        lengths: (E,) int64, the number of pairs of pixels along each.
        sums: (E,) int64, the levels (0…255) of those pairs, summed.
    """

    pairs: Labels
    lengths: Counts
    sums: Counts

    @property
    def strengths(self) -> Values:
        """(E,) mean boundary probability along each border (Arbeláez et al. 2011, section 4)."""
        return self.sums / (255.0 * self.lengths)


def find_borders(labels: Labels, levels: ByteArray) -> Borders:
    """Measure all borders in one pass.

    Args:
        labels: (H, W) int32, from 0.
        levels: (H, W) uint8, round(255 p) of the boundary map.
    """
    assert labels.shape == levels.shape
    assert levels.dtype == np.uint8, levels.dtype
    labels, levels = np.ascontiguousarray(labels), np.ascontiguousarray(levels)
    most = _count_steps(labels)
    keys = new_table(most)
    pairs = np.empty((most, 2), np.int32)
    lengths, sums = np.empty(most, np.int64), np.empty(most, np.int64)
    count = _find(labels, levels, keys, np.empty_like(keys), pairs, lengths, sums)
    return Borders(pairs[:count].copy(), lengths[:count].copy(), sums[:count].copy())


def new_table(most: int) -> Counts:
    """An empty hash table for that many keys at most, no more than half full: 2^n slots of -1."""
    return np.full(1 << max((2 * most - 1).bit_length(), 1), -1, np.int64)


@compiled
def slot_of(keys: Counts, key: int) -> int:
    """The place of a key in a table of 2^n slots, or of the free slot (-1) where it belongs."""
    mask = len(keys) - 1
    # Multiplying by an odd number near 2^64 / golden ratio scatters neighbouring keys (Knuth).
    slot: int = ((key * -7046029254386353131) >> 32) & mask
    while keys[slot] != -1 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@compiled
def key_of(one: int, other: int) -> int:
    """One number for a pair, whichever comes first."""
    return (int(min(one, other)) << 32) | int(max(one, other))


@compiled
def _count_steps(labels: Labels) -> int:
    """The number of pairs of neighbouring pixels with different labels."""
    height, width = labels.shape
    steps = 0
    for y in range(height):
        for x in range(width):
            steps += x + 1 < width and labels[y, x] != labels[y, x + 1]
            steps += y + 1 < height and labels[y, x] != labels[y + 1, x]
    return steps


@compiled
def _find(
    labels: Labels,
    levels: ByteArray,
    keys: Counts,
    numbers: Counts,
    pairs: Labels,
    lengths: Counts,
    sums: Counts,
) -> int:
    """Fill in the borders, and give their number; `keys` is an empty table, and `numbers` what it finds."""
    height, width = labels.shape
    count, last_key, last = 0, -1, -1
    for y in range(height):
        for x in range(width):
            for down in range(2):
                j, i = y + down, x + 1 - down
                if j == height or i == width or labels[y, x] == labels[j, i]:
                    continue
                key = key_of(labels[y, x], labels[j, i])
                if key != last_key:  # along a border, one pair follows another
                    slot = slot_of(keys, key)
                    if keys[slot] == -1:
                        keys[slot], numbers[slot] = key, count
                        pairs[count, 0] = min(labels[y, x], labels[j, i])
                        pairs[count, 1] = max(labels[y, x], labels[j, i])
                        lengths[count] = sums[count] = 0
                        count += 1
                    last_key, last = key, numbers[slot]
                lengths[last] += 1
                sums[last] += max(levels[y, x], levels[j, i])
    return count
