"""Where a photo's maps are looked at when means over blocks of it are wanted: at fewer points than pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from maskwright.data.transforms import Plane, Size, compose, resize_matrix, shrink
from maskwright.types import FloatArray


@dataclass(frozen=True)
class Grid:
    """Blocks of a photo's rows and columns, and so many points along each side of a block.

    With as many points as pixels it is the photo itself. The last blocks may reach beyond the photo; points
    there have the values of its edge.

    Args:
        size: height and width of the photo.
        blocks: rows and columns of a block.
        points: of each block, along its sides.
    """

    size: Size
    blocks: Size
    points: Size

    @property
    def is_whole(self) -> bool:
        """Whether all pixels are looked at."""
        return self.points == self.blocks

    @property
    def shape(self) -> Size:
        """Rows and columns of points; of a whole grid the photo's size."""
        if self.is_whole:
            return self.size
        rows, columns = (-(-length // block) for length, block in zip(self.size, self.blocks, strict=True))
        return rows * self.points[0], columns * self.points[1]

    def look(self, plane: Plane) -> Plane:
        """What an (h, w) map of the whole photo, of whatever size, is at the points, bilinear."""
        matrix = compose(resize_matrix(plane.shape[:2], self.size), resize_matrix(self.blocks, self.points))
        return cast(
            Plane,
            cv2.warpAffine(
                plane, matrix, self.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            ),
        )

    def means(self, values: FloatArray) -> FloatArray:
        """Means over the blocks of values at the points, 0 beyond the photo, as `shrink` takes them."""
        if self.is_whole:
            return shrink(values, self.blocks)
        result = shrink(values, self.points)
        rows, columns = (
            (length - 1) % block + 1 for length, block in zip(self.size, self.blocks, strict=True)
        )
        result[-1] *= rows / self.blocks[0]
        result[:, -1] *= columns / self.blocks[1]
        return result


def grid_for(size: Size, blocks: Size, cells: tuple[float, float]) -> Grid:
    """A grid that is fine enough for a map of `cells` rows and columns a pixel of the photo.

    Twice as many points as blocks are along each side, and as cells where these are smaller.
    """
    rows, columns = (
        min(block, max(2, int(np.ceil(2 * block * cell)))) for block, cell in zip(blocks, cells, strict=True)
    )
    return Grid(size, blocks, (rows, columns))
