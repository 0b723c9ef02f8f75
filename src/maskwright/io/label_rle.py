"""COCO run-length encodings of all regions of a label map, in one pass over it: no dense mask is ever made.

Read column by column, a label map is a row of runs, each of one region; a region's runs, in order, and the
gaps between them are the counts of its mask. Source of the text's format: cocoapi's `maskApi.c`.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.compiled import compiled
from maskwright.io.rle import RLE, check_size
from maskwright.io.rle_kernel import write_number
from maskwright.types import ByteArray

Labels = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]


def encode_labels(labels: Labels, count: int) -> tuple[RLE, ...]:
    """Pack the masks of labels 1…`count` of an (H, W) int32 label map; other labels belong to none.

    Raises:
        MaskError: when the map is empty, or has more pixels than a mask may have.
    """
    assert labels.dtype == np.int32, labels.dtype
    size = labels.shape[0], labels.shape[1]
    check_size(size)
    columns = cv2.transpose(np.ascontiguousarray(labels)).ravel()
    starts, owners = _runs(columns, count)
    pixels = len(columns)
    # Five bits a character, one of them the sign.
    text, ends = _write(starts, owners, count, pixels, pixels.bit_length() // 5 + 1)
    packed = text.tobytes().decode("ascii")
    bounds = [0, *ends.tolist()]
    return tuple(RLE.trusted(size, packed[bounds[k] : bounds[k + 1]]) for k in range(count))


@compiled
def _runs(columns: Labels, count: int) -> tuple[Labels, Labels]:
    """Where a new run begins, and whose run it is: 0 for pixels of no mask."""
    total = 1
    for p in range(1, len(columns)):
        total += columns[p] != columns[p - 1]
    starts = np.empty(total, np.int32)
    owners = np.empty(total, np.int32)
    run, before = 0, columns[0]
    starts[0], owners[0] = 0, before if 0 < before <= count else 0
    for p in range(1, len(columns)):
        if columns[p] != before:
            before = columns[p]
            run += 1
            starts[run], owners[run] = p, before if 0 < before <= count else 0
    return starts, owners


@compiled
def _write(starts: Labels, owners: Labels, count: int, pixels: int, longest: int) -> tuple[ByteArray, Places]:
    """The texts of masks 1…`count` one after the other, and where each ends."""
    runs = len(starts)
    # A stable sort by owner, by counting.
    first = np.zeros(count + 2, np.int64)
    for owner in owners:
        first[owner + 1] += 1
    for owner in range(count + 1):
        first[owner + 1] += first[owner]
    ordered = np.empty(runs, np.int32)
    for run in range(runs):
        ordered[first[owners[run]]] = run
        first[owners[run]] += 1
    # Now first[owner] is where the owner's runs end. Two numbers a run, and two more a mask at most.
    text = np.empty(longest * 2 * (runs + count), np.uint8)
    ends = np.empty(count, np.int64)
    end = 0
    for owner in range(1, count + 1):
        written, position, before, before_that = 0, 0, 0, 0
        for place in range(first[owner - 1], first[owner] + 1):
            if place < first[owner]:
                run = ordered[place]
                start = starts[run]
                stop = starts[run + 1] if run + 1 < runs else pixels
                two = (start - position, stop - start)
            elif position < pixels:  # background up to the end
                two = (pixels - position, -1)
                stop = pixels
            else:
                break
            for number in two:
                if number < 0:
                    break
                # From the fourth on, numbers are differences to the one two before.
                end = write_number(text, end, number - (before_that if written > 2 else 0))
                before_that, before, written = before, number, written + 1
            position = stop
        ends[owner - 1] = end
    return text[:end], ends
