"""Loops over run lengths, compiled: masks to runs to text, and back.

A mask changes between background and object at its toggles, pixels in the order of columns whose predecessor
differs (before the first pixel lies background); runs are the differences between them. An image lies row by
row in memory, so its toggles are found by comparing each row with the one above, and sorted by column
afterwards; a mask is drawn the other way round: toggles are set, and each row is changed by
those above.

Source of the text's format: cocoapi's `maskApi.c`. H, W size of the mask.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from maskwright.compiled import compiled
from maskwright.types import BoolArray, ByteArray

Numbers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

BLOCK = 512  # pixels looked at together, in vector instructions
STRANGE, CUT_OFF, TOO_LARGE = -1, -2, -3  # what may be wrong with a text
MAX_CHARACTERS = 7  # of a number: 35 bits, more than any run of a permitted mask needs


def toggles(mask: BoolArray) -> Numbers:
    """The toggles of an (H, W) mask, in order."""
    height, width = mask.shape
    by_column = mask.flags.f_contiguous and not mask.flags.c_contiguous
    flat, step = (mask.ravel("F"), 1) if by_column else (mask.ravel(), width)
    changed = np.zeros(-(-flat.size // BLOCK) * BLOCK, np.bool_)
    changed[0] = flat[0]
    # The first row is compared with the last one, a column before.
    np.not_equal(flat[1:step], flat[-step:-1], out=changed[1:step])
    np.not_equal(flat[step:], flat[:-step], out=changed[step : flat.size])
    places = _places(changed, changed.view(np.uint64).reshape(-1, BLOCK // 8))
    return places if by_column else _by_column(places, height, width)


@compiled
def _places(marked: BoolArray, words: Words) -> Numbers:
    """Where there are marks; `words` are the same bytes, `BLOCK` in a row."""
    found = np.empty(1024, np.int64)
    count = 0
    for block in range(len(words)):
        # Nearly all blocks are empty, and asking one for that takes a few vector instructions.
        present = np.uint64(0)
        for k in range(words.shape[1]):
            present |= words[block, k]
        if not present:
            continue
        if count + BLOCK > len(found):
            longer = np.empty(4 * len(found), np.int64)
            longer[:count] = found[:count]
            found = longer
        for k in range(words.shape[1]):
            if words[block, k]:
                start = BLOCK * block + 8 * k
                for p in range(start, start + 8):
                    found[count] = p
                    count += marked[p]
    return found[:count]


@compiled
def _by_column(places: Numbers, height: int, width: int) -> Numbers:
    """Places counted row by row, rising, as places counted column by column, rising."""
    columns = np.empty(len(places), np.int64)
    first = np.zeros(width + 1, np.int64)
    start = 0
    for k in range(len(places)):
        while places[k] >= start + width:
            start += width
        columns[k] = places[k] - start
        first[columns[k] + 1] += 1
    for column in range(width):
        first[column + 1] += first[column]
    ordered = np.empty(len(places), np.int64)
    row, start = 0, 0
    for k in range(len(places)):
        while places[k] >= start + width:
            row, start = row + 1, start + width
        column = columns[k]
        ordered[first[column]] = column * height + row
        first[column] += 1
    return ordered


@compiled
def write_toggles(places: Numbers, pixels: int) -> ByteArray:
    """The text of a mask of so many pixels; the place behind the last may be among its toggles."""
    if len(places) and places[-1] == pixels:
        places = places[:-1]
    text = np.empty(MAX_CHARACTERS * (len(places) + 1), np.uint8)
    end, position, before, before_that = 0, 0, 0, 0
    for k in range(len(places) + 1):
        stop = places[k] if k < len(places) else pixels
        number = stop - position
        # From the fourth on, numbers are differences to the one two before.
        end = write_number(text, end, number - (before_that if k > 2 else 0))
        position, before_that, before = stop, before, number
    return text[:end]


@compiled
def write_runs(runs: Numbers) -> ByteArray:
    """The text of these runs."""
    text = np.empty(MAX_CHARACTERS * len(runs), np.uint8)
    end = 0
    for k in range(len(runs)):
        end = write_number(text, end, runs[k] - (runs[k - 2] if k > 2 else 0))
    return text[:end]


@compiled
def write_number(text: ByteArray, end: int, value: int) -> int:
    """Append a number, five bits a character, lowest first; give the new end."""
    while True:
        bits = value & 31
        value >>= 5
        more = value != -1 if bits & 16 else value != 0
        text[end] = bits + (32 if more else 0) + 48
        end += 1
        if not more:
            return end


@compiled
def read_runs(text: ByteArray) -> tuple[Numbers, int]:
    """The runs in a text, and 0 or what is wrong with it."""
    runs = np.empty(len(text), np.int64)
    count, value, shift, longest, strange = 0, 0, 0, 0, 0
    before, before_that = 0, 0
    for character in text:
        code = int(character) - 48
        strange |= code >> 6  # 0 for codes from 0 to 63
        value |= (code & 31) << (shift & 63)
        shift += 5
        if code & 32 == 0:
            value -= (code & 16) << ((shift - 4) & 63)
            if count > 2:
                value += before_that
            runs[count] = value
            before_that, before = before, value
            count, longest, value, shift = count + 1, max(longest, shift), 0, 0
    if strange:
        return runs[:0], STRANGE
    if shift or not count:
        return runs[:0], CUT_OFF
    if longest > 5 * MAX_CHARACTERS:
        return runs[:0], TOO_LARGE
    return runs[:count], 0


@compiled
def draw(runs: Numbers, mask: ByteArray) -> None:
    """Draw the object of runs that fill it exactly in an (H, W) mask of zeros."""
    height, width = mask.shape
    left, right, top, bottom = width, 0, height, 0
    start = 0
    for k in range(1, len(runs), 2):
        start += runs[k - 1]
        stop = start + runs[k]
        if start < stop:
            first, last = start // height, stop // height
            y, end = start - first * height, stop - last * height
            mask[y, first] ^= 1
            # Columns begin as background.
            past = last + (end > 0)
            for x in range(first + 1, past):
                mask[0, x] ^= 1
            if end > 0:
                mask[end, last] ^= 1
            left, right = min(left, first), past
            top = min(top, y if past == first + 1 else 0)
            bottom = max(bottom, end + 1 if first == last else height)
        start = stop
    for y in range(top + 1, bottom):
        above, here = mask[y - 1, left:right], mask[y, left:right]
        for x in range(len(here)):
            here[x] ^= above[x]
