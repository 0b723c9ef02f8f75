"""Running a boundary model on a large image in overlapping tiles, without seams.

A tile knows nothing of what is beyond its sides, so what it says within the model's `reach` of a side inside
the image is not used; from there its weight grows evenly to one. All weights at a place add up to one. For a
convolutional model each logit is then what the whole image would give, whatever the tiles; with attention,
which sees no more than a tile, tiles pass smoothly into each other.

Axes: B images, H W input sizes, h w output sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maskwright.types import FloatArray

# Over how many pixels a tile's weight grows, besides the reach on both sides.
RAMP = 64


class Tile(NamedTuple):
    """A stretch of one axis, and what its logits weigh in each of its pixels."""

    start: int
    stop: int
    weight: FloatArray


def tile_axis(length: int, tile: int, cell: int, reach: int) -> list[Tile]:
    """Cut an axis into tiles that overlap.

    Args:
        length: pixels of the axis.
        tile: pixels of a tile; a multiple of `cell`.
        cell: tiles begin at multiples of this.
        reach: pixels at a tile's ends that shall not count; at most a quarter of a tile is given to it.

    Returns:
        As few tiles as can be, spread evenly; at each pixel their weights add up to one.
    """
    assert tile >= cell, (tile, cell)
    assert tile % cell == 0, (tile, cell)
    if length <= tile:
        return [Tile(0, length, np.ones(length, np.float32))]
    margin = min(-(-reach // cell) * cell, tile // 4)
    overlap = 2 * margin + min(RAMP, tile // 4)
    # Steps are whole cells, and the last tile may be shorter by less than one.
    last = -(-(length - tile) // cell)
    steps = max(1, (tile - overlap) // cell)
    count = -(-last // steps)
    starts = [last * i // count * cell for i in range(count + 1)]
    ends = [min(start + tile, length) for start in starts]
    raw = [_rise(start, end, length, margin) for start, end in zip(starts, ends, strict=True)]
    total: FloatArray = np.zeros(length, np.float32)
    for start, end, weight in zip(starts, ends, raw, strict=True):
        total[start:end] += weight
    return [
        Tile(start, end, weight / total[start:end])
        for start, end, weight in zip(starts, ends, raw, strict=True)
    ]


def _rise(start: int, end: int, length: int, margin: int) -> FloatArray:
    """Zero within the margin of the ends that lie inside the axis, one in the middle, a ramp between."""
    place: FloatArray = np.arange(start, end, dtype=np.float32) + 0.5
    weight: FloatArray = np.ones(end - start, np.float32)
    if start > 0:
        weight = np.minimum(weight, (place - start - margin) / RAMP)
    if end < length:
        weight = np.minimum(weight, (end - margin - place) / RAMP)
    return weight.clip(0, 1)


def run_tiles(
    run: Callable[[int, int, int, int], Tensor], size: tuple[int, int], tile: int, cell: int, reach: int
) -> Tensor:
    """Put the logits of a large image together from tiles.

    Args:
        run: gives the logits (1, 1, h, w) of the pixels of rows y0…y1 and columns x0…x1, asked for by
            (y0, y1, x0, x1).
        size: (H, W) of the image.
        tile: as for `tile_axis`.
        cell: the same.
        reach: the same.

    Returns:
        (1, 1, h, w) float32 on the CPU; of the image's size only these logits are ever in memory.
    """
    rows, columns = (tile_axis(length, tile, cell, reach) for length in size)
    whole: Tensor | None = None
    for row, column in product(rows, columns):
        logits = run(row.start, row.stop, column.start, column.stop).float().cpu()
        height, width = logits.shape[-2:]
        step = (row.stop - row.start) // height
        if whole is None:
            whole = torch.zeros(1, 1, size[0] // step, size[1] // step)
        down, across = (torch.from_numpy(_of_cells(part.weight, step)) for part in (row, column))
        y, x = row.start // step, column.start // step
        whole[..., y : y + height, x : x + width] += logits * down[:, None] * across
    assert whole is not None
    return whole


def _of_cells(weight: FloatArray, step: int) -> FloatArray:
    """The mean weight of each `step` pixels."""
    cells: FloatArray = weight.reshape(-1, step).mean(axis=1)
    return cells
