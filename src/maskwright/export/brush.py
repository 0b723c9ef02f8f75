"""Label Studio's brush encoding: exact masks as a bit stream, given out as a list of bytes.

A header (32 bits: number of values; 5 bits: bits a value, less one; four times 4 bits: the sizes of run
counters, less one), then runs: one bit that says "repeated value", two bits that choose the counter, the
count less one, the value. The values are the image's pixels row by row, four (RGBA) each.
Source: the `rle-pack` package of thi.ng/umbrella, whose format Label Studio uses.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from maskwright.types import BoolArray

_COUNTER_BITS = np.array([3, 4, 8, 16])
_LONGEST = 1 << 16
_VALUE_BITS = 8


def encode_brush(mask: BoolArray) -> list[int]:
    """Encode a (H, W) bool mask; every byte is a number from 0 to 255."""
    pixels = mask.reshape(-1)
    edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    starts = np.concatenate([[0], edges])
    lengths = 4 * np.diff(starts, append=len(pixels))
    parts = -(-lengths // _LONGEST)
    values = np.repeat(pixels[starts], parts) * 255
    counts = np.full(len(values), _LONGEST)
    counts[np.cumsum(parts) - 1] = lengths - (parts - 1) * _LONGEST
    counter = np.searchsorted(1 << _COUNTER_BITS, counts)
    bits = _COUNTER_BITS[counter]
    codes = (((4 | counter) << bits | (counts - 1)) << _VALUE_BITS) | values
    header = [(4 * len(pixels), 32), (_VALUE_BITS - 1, 5), *((int(size) - 1, 4) for size in _COUNTER_BITS)]
    all_codes = np.concatenate([np.array([code for code, _ in header], np.int64), codes])
    all_widths = np.concatenate([np.array([width for _, width in header]), 3 + bits + _VALUE_BITS])
    encoded: list[int] = _pack(all_codes, all_widths).tolist()
    return encoded


def _pack(codes: npt.NDArray[np.int64], widths: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Write numbers of given bit widths one after the other, the highest bit first."""
    ends = np.repeat(np.cumsum(widths), widths)
    shift = ends - 1 - np.arange(len(ends))
    return np.packbits(np.repeat(codes, widths) >> shift & 1)
