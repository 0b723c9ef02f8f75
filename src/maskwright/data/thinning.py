"""Thinning to lines one pixel wide, exactly as Matlab's `bwmorph(…, 'thin', Inf)` does it.

Lam, Lee and Suen, "Thinning Methodologies", PAMI 14(9), 1992, after Guo and Hall, CACM 32(3), 1989. Two
sub-iterations take turns until neither removes anything. With x1…x8 the neighbours of a pixel, x1 the right
one and then counter-clockwise, a pixel goes when all of these hold:

- G1: exactly one k in 1…4 has x(2k-1) = 0 and (x(2k) or x(2k+1)) = 1, x9 being x1;
- G2: 2 ≤ min(n1, n2) ≤ 3, n1 counting the k with x(2k-1) or x(2k), n2 those with x(2k) or x(2k+1);
- G3: (x2 or x3 or not x8) and x1 is false; in the second sub-iteration (x6 or x7 or not x4) and x5.

All pixels of a sub-iteration are decided on what the one before left, so 64 of them are decided at once, as
the bits of one word.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

from maskwright.compiled import compiled
from maskwright.types import BoolArray, check_shape

Words = npt.NDArray[np.uint64]


def thin(mask: BoolArray) -> BoolArray:
    """Thin a mask until nothing changes; what is connected stays connected.

    Args:
        mask: (H, W) bool; beyond the image there is nothing.

    Returns:
        (H, W) bool.

    Raises:
        InputError: unless the mask is (H, W).
    """
    check_shape("mask", mask, ("H", "W"))
    assert mask.dtype == np.bool_, mask.dtype
    height, width = mask.shape
    # A free row above and below and a free bit at the right end spare the kernel questions of borders.
    packed = np.zeros((height + 2, (width // 64 + 1) * 8), np.uint8)
    packed[1:-1, : (width + 7) // 8] = np.packbits(mask, axis=1, bitorder="little")
    words: Words = packed.view(np.uint64)
    if sys.byteorder == "big":
        words.byteswap(inplace=True)
    _thin(words)
    if sys.byteorder == "big":
        words.byteswap(inplace=True)
    thinned = np.unpackbits(words.view(np.uint8)[1:-1], axis=1, count=width, bitorder="little")
    return thinned.view(np.bool_)


@compiled
def _thin(words: Words) -> None:
    """Thin in place; bit b of word w in a row is pixel 64 w + b."""
    rows, count = words.shape
    above, here = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    # A row can change only if it or one next to it did since this sub-iteration last looked at it.
    latest, earlier = np.ones(rows, np.bool_), np.ones(rows, np.bool_)
    second = False
    while latest.any() or earlier.any():
        changed = np.zeros(rows, np.bool_)
        above[:] = 0
        for row in range(1, rows - 1):
            here[:] = words[row]
            near = slice(row - 1, row + 2)
            if latest[near].any() or earlier[near].any():
                for place in range(count):
                    if here[place]:
                        gone = _removable(above, here, words[row + 1], place, second)
                        if gone:
                            words[row, place] ^= gone
                            changed[row] = True
            above, here = here, above
        latest, earlier = changed, latest
        second = not second


@compiled
def _removable(above: Words, here: Words, below: Words, place: int, second: bool) -> np.uint64:
    """The pixels of one word that a sub-iteration removes."""
    x1, x5 = _right(here, place), _left(here, place)
    x2, x3, x4 = _right(above, place), above[place], _left(above, place)
    x8, x7, x6 = _right(below, place), below[place], _left(below, place)
    b1, b2, b3, b4 = ~x1 & (x2 | x3), ~x3 & (x4 | x5), ~x5 & (x6 | x7), ~x7 & (x8 | x1)
    one_step = (b1 ^ b2 ^ b3 ^ b4) & ~((b1 & b2) | (b3 & b4))
    some1, all1 = _counts(x1 | x2, x3 | x4, x5 | x6, x7 | x8)
    some2, all2 = _counts(x2 | x3, x4 | x5, x6 | x7, x8 | x1)
    kept = (x6 | x7 | ~x4) & x5 if second else (x2 | x3 | ~x8) & x1
    gone: np.uint64 = here[place] & one_step & some1 & some2 & ~(all1 & all2) & ~kept
    return gone


@compiled
def _counts(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Where at least two, and where all four, of the bits are set."""
    return (a & b) | (c & d) | ((a | b) & (c | d)), a & b & c & d


@compiled
def _right(row: Words, place: int) -> np.uint64:
    """The right neighbours of a word's pixels."""
    following = row[place + 1] if place + 1 < len(row) else np.uint64(0)
    shifted: np.uint64 = (row[place] >> np.uint64(1)) | (following << np.uint64(63))
    return shifted


@compiled
def _left(row: Words, place: int) -> np.uint64:
    """The left neighbours of a word's pixels."""
    previous = row[place - 1] if place > 0 else np.uint64(0)
    shifted: np.uint64 = (row[place] << np.uint64(1)) | (previous >> np.uint64(63))
    return shifted
