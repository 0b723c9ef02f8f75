"""The cracks of a run-length mask, drawn without decoding it: compiled, for millions of runs a second.

A column of a mask is known by its toggles, the rows at which it changes between background and object: an
even number, for a column begins and ends outside. Resizing to the nearest pixel moves toggles, and two that
meet cancel out. Between two neighbouring columns the cracks are where an odd number of their joint toggles
has been passed. So the work grows with the runs and the outline, not with the area.

H, W size of the mask; h, w of the result.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from maskwright.compiled import compiled
from maskwright.types import ByteArray

Indices = npt.NDArray[np.int64]

_RIGHT, _DOWN = 1, 2


@compiled
def draw_runs(runs: Indices, height: int, columns: Indices, landing: Indices, cracks_wh: ByteArray) -> None:
    """Mark the cracks of one mask in the canvas of all.

    Args:
        runs: lengths, column by column, background first; they fill the mask.
        height: H.
        columns: (w,) the mask's column that each of the result's is taken from, ascending.
        landing: (H + 1,) the first of the result's rows that is taken from this row of the mask or below it.
        cracks_wh: (w, h) uint8, changed in place: 1 where the pixel to the right differs, 2 the pixel below.
    """
    width, bottom = cracks_wh.shape
    before, now = np.empty(bottom + 2, np.int64), np.empty(bottom + 2, np.int64)
    count_before, count = 0, 0
    run, end = 0, runs[0]
    first = np.searchsorted(columns, runs[0] // height)
    for x in range(first, width):
        if x == first or columns[x] != columns[x - 1]:
            before, now = now, before
            count_before = count
            run, end, count = _read_column(runs, run, end, columns[x] * height, height, landing, now)
            if x > 0:
                _mark_between(before, count_before, now, count, cracks_wh[x - 1])
            if count == 0 and run == len(runs) - 1 and run % 2 == 0:
                break  # only background is left
        for toggle in now[:count]:
            if 0 < toggle < bottom:
                cracks_wh[x, toggle - 1] |= _DOWN


@compiled
def _read_column(
    runs: Indices, run: int, end: int, start: int, height: int, landing: Indices, toggles: Indices
) -> tuple[int, int, int]:
    """Go on to the column that begins at pixel `start`, and note its toggles in rows of the result.

    Returns:
        The run in which the column ends, that run's end, and the number of toggles.
    """
    while end <= start and run < len(runs) - 1:
        run += 1
        end += runs[run]
    count = 0
    if run % 2:
        count = _add(toggles, count, 0)
    while end < start + height:
        count = _add(toggles, count, landing[end - start])
        run += 1
        end += runs[run]
    if count % 2:
        count = _add(toggles, count, landing[height])
    return run, end, count


@compiled
def _add(toggles: Indices, count: int, row: int) -> int:
    """Note one more toggle, which takes back an equal one; so there are never more than rows and one."""
    if count > 0 and toggles[count - 1] == row:
        return count - 1
    toggles[count] = row
    return count + 1


@compiled
def _mark_between(left: Indices, lefts: int, right: Indices, rights: int, line: ByteArray) -> None:
    """Mark the rows in which two columns differ."""
    i, j = 0, 0
    start, odd = 0, False
    while i < lefts or j < rights:
        if j >= rights or (i < lefts and left[i] <= right[j]):
            row, i = left[i], i + 1
        else:
            row, j = right[j], j + 1
        if odd:
            for y in range(start, row):
                line[y] |= _RIGHT
        start, odd = row, not odd
