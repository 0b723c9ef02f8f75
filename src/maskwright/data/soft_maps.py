"""Soft masks that lie at low resolution in a model's input frame, brought to their photo when asked for.

h w low resolution; H W the photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np
import torch

from maskwright.data.grids import Grid, grid_for
from maskwright.data.transforms import Size
from maskwright.io.label_shards import shares, to_logits
from maskwright.types import ByteArray, FloatArray, Geometry, Maps, Resize


@dataclass(frozen=True)
class Place:
    """Where a low-resolution map lies in its photo.

    Args:
        size: height and width of the photo.
        crop: x, y, width and height of the part the model saw.
        side: side of the model's square input.
        resize: how the crop was brought into it.
    """

    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    side: int
    resize: Resize

    def fits(self) -> bool:
        """Whether the crop lies inside the photo and the rest makes sense."""
        x, y, width, height = self.crop
        inside = 0 <= x < x + width <= self.size[1] and 0 <= y < y + height <= self.size[0]
        return inside and 0 < self.side <= 1 << 14 and self.resize in ("pad", "stretch")

    def grid(self, low: Size, blocks: Size) -> Grid:
        """Where maps of size `low` are looked at for means over blocks of the photo."""
        if self.crop != (0, 0, self.size[1], self.size[0]):
            return Grid(self.size, blocks, blocks)
        height, width = self.size if self.resize == "stretch" else 2 * (max(self.size),)
        return grid_for(self.size, blocks, (low[0] / height, low[1] / width))

    def to_image(self, values: ByteArray, grid: Grid | None = None) -> FloatArray:
        """Bring an (h, w) 8-bit probability to the photo, (H, W) float32; 0 outside the crop.

        Its logits are what is enlarged, as `Masks.logits` does with a model's own: enlarging the
        probabilities moves a mask's outline wherever one side of it is surer than the other.

        Args:
            values: the map.
            grid: look at it there, one of `grid`; by default at every pixel.
        """
        x, y, width, height = self.crop
        logits = torch.from_numpy(to_logits(shares(values)))[None]
        frame = Geometry((height, width), self.side, self.resize)
        if grid is not None and not grid.is_whole:
            seen: FloatArray = (
                torch.from_numpy(grid.look(frame.in_input(logits)[0].numpy())).sigmoid_().numpy()
            )
            return seen
        inside: FloatArray = frame.to_image(logits)[0].sigmoid_().numpy()
        if inside.shape == self.size:
            return inside
        whole = np.zeros(self.size, np.float32)
        whole[y : y + height, x : x + width] = inside
        return whole


@dataclass(frozen=True, eq=False)
class SoftMask:
    """One machine-made mask's probability and, where there is one, the refiner's.

    What is made of them is (H, W), or as many as a grid has points.

    Args:
        place: where both lie.
        label: (h, w) uint8, the model's probability s.
        refined: (h, w) uint8, the refiner's probability r, or None.
    """

    place: Place
    label: ByteArray
    refined: ByteArray | None

    def grid(self, blocks: Size) -> Grid:
        """Where it is looked at for means over blocks of the photo."""
        rows, columns = self.label.shape
        return self.place.grid((rows, columns), blocks)

    def probability(self, grid: Grid | None = None) -> FloatArray:
        """σ(s), (H, W)."""
        return self.place.to_image(self.label, grid)

    def best(self, grid: Grid | None = None) -> FloatArray:
        """σ(r) where the mask was refined, else σ(s), (H, W)."""
        return self.place.to_image(self.label if self.refined is None else self.refined, grid)

    def uncertainty(self, grid: Grid | None = None) -> FloatArray:
        """|σ(s) - σ(r)|, and 0 for a mask that was not refined, (H, W) (SUM, eq. 3)."""
        if self.refined is None:
            return self._nothing(grid)
        difference = self.probability(grid)
        difference -= self.best(grid)
        return np.abs(difference, out=difference)

    def indecision(self, grid: Grid | None = None) -> FloatArray:
        """1 - |2 σ(r) - 1|, (H, W): 0 where the refiner is sure, 1 where torn; 0 for a mask not refined."""
        if self.refined is None:
            return self._nothing(grid)
        sure: FloatArray = np.abs(2 * self.best(grid) - 1)
        return 1 - sure

    def _nothing(self, grid: Grid | None) -> FloatArray:
        return np.zeros(self.place.size if grid is None else grid.shape, np.float32)


class LooksAtGrids(Protocol):
    """A mask whose maps can be looked at on a grid; the maps are methods that take one."""

    def grid(self, blocks: Size) -> Grid:
        """Where it is looked at for means over blocks of its photo."""
        ...


def maps_of(
    masks: Sequence[LooksAtGrids],
    size: tuple[int, int],
    kind: Literal["probability", "best", "uncertainty", "indecision"],
) -> Maps:
    """What each of a photo's soft masks has under that name, made when it is asked for: (K, H, W)."""
    return Maps((len(masks), *size), partial(_make, masks, kind))


def _make(masks: Sequence[LooksAtGrids], kind: str, index: int, blocks: Size) -> FloatArray:
    grid = masks[index].grid(blocks)
    return grid.means(getattr(masks[index], kind)(grid))
