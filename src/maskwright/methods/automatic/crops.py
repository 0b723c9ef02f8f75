"""Where the automatic generator looks: overlapping crops, and a grid of clicks in each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskwright.types import Image


@dataclass(frozen=True)
class Crop:
    """A rectangle of the image that is embedded on its own.

    Args:
        box: (x0, y0, x1, y1) in pixels, x1 and y1 exclusive.
        layer: 0 for the whole image.
    """

    box: tuple[int, int, int, int]
    layer: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0

    @property
    def xywh(self) -> tuple[int, int, int, int]:
        """(x, y, width, height)."""
        height, width = self.size
        return self.box[0], self.box[1], width, height

    @property
    def area(self) -> int:
        """Pixels in it."""
        return self.size[0] * self.size[1]

    @property
    def place(self) -> tuple[slice, slice]:
        """Its rows and columns in the image."""
        x0, y0, x1, y1 = self.box
        return slice(y0, y1), slice(x0, x1)

    def cut(self, image: Image) -> Image:
        """The image's pixels in this crop, not copied."""
        return Image(image.pixels[self.place], image.source)


def make_crops(size: tuple[int, int], layers: int, overlap_ratio: float) -> list[Crop]:
    """The whole image, then layer i = 1 … `layers` of 2^i × 2^i overlapping crops.

    The n crops along a side of length L are ceil((L + (n - 1) o) / n) long and overlap by o, which is
    `overlap_ratio` of the shorter side in the first layer and half as much in each further one; the last is
    cut off at the image's edge. On images of few pixels some would have none, or be the same as an earlier
    one; those are left out.

    Args:
        size: height and width of the image.
        layers: how many layers in addition to the whole image.
        overlap_ratio: part of the shorter side.

    Returns:
        Crops, each rectangle once; within a layer by column, then row.

    Source: Kirillov et al. 2023, section 5 and appendix B; the released generator's settings.
    """
    height, width = size
    found = {(0, 0, width, height): 0}
    for layer in range(1, layers + 1):
        number = 2**layer
        overlap = int(overlap_ratio * min(size) * 2 / number)
        columns, rows = (_spans(length, number, overlap) for length in (width, height))
        for x0, x1 in columns:
            for y0, y1 in rows:
                found.setdefault((x0, y0, x1, y1), layer)
    return [Crop(box, layer) for box, layer in found.items()]


def _spans(length: int, number: int, overlap: int) -> list[tuple[int, int]]:
    """Start and end of `number` overlapping pieces of a side, without empty ones."""
    piece = math.ceil((length + (number - 1) * overlap) / number)
    starts = [(piece - overlap) * i for i in range(number)]
    return [(start, min(start + piece, length)) for start in starts if start < length]


def point_grid(per_side: int, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Clicks at the centres of `per_side` × `per_side` equal cells.

    Args:
        per_side: n.
        size: height and width of what they lie in.

    Returns:
        (n², 2) points (x, y) in pixels, row by row.
    """
    ticks = (np.arange(per_side) + 0.5) / per_side
    x, y = np.meshgrid(ticks * size[1], ticks * size[0])
    return np.stack([x.ravel(), y.ravel()], axis=1)
