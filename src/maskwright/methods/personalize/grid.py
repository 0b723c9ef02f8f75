"""The masks of a grid of clicks, among which the object may be: where its features do not place it well.

Axes: K masks, h w cells of the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from maskwright.methods.automatic.crops import point_grid
from maskwright.methods.personalize.features import FeatureMap
from maskwright.types import BoolArray, Embedding, HQMode, Masks, Prompts

if TYPE_CHECKING:
    from maskwright.models.segmenter import Segmenter

POINTS_PER_SIDE = 8
SMALLEST, LARGEST = 0.002, 0.9
"""Shares of the image between which a mask is kept."""
TAKEN = 0.5
"""Share of a mask that was found before, from which on it is no other instance."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Masks of one image, each with the click that it came from.

    Args:
        masks: K prompts, one mask each.
        points: (K, 2) clicks (x, y).
        cells: (K, h, w) bool, the cells of some features that each mask covers.
    """

    masks: Masks
    points: Tensor
    cells: Tensor

    def without(self, taken_HW: BoolArray) -> Grid:
        """Those masks that are mostly elsewhere."""
        low_res = self.masks.low_res[:, 0].cpu() > 0
        taken = torch.from_numpy(taken_HW)[None].float()
        there = self.masks.geometry.to_low_res(taken, low_res.shape[-1])[0] > 0.5
        share = (low_res & there).sum((1, 2)) / low_res.sum((1, 2)).clamp(min=1)
        return self._take((share < TAKEN).nonzero().flatten())

    def _take(self, rows_K: Tensor) -> Grid:
        return Grid(self.masks[rows_K.to(self.masks.iou.device)], self.points[rows_K], self.cells[rows_K])


def ask_grid(segmenter: Segmenter, embedding: Embedding, seen: FeatureMap, hq: HQMode) -> Grid:
    """All masks of a grid of clicks, on the encoding there is; none is dropped for a low score.

    Everything is done at the masks' low resolution: which of them is the object is decided by cells that are
    larger still.

    Args:
        segmenter: the model.
        embedding: of the image.
        seen: the features by which masks will be compared.
        hq: which logits make the masks.
    """
    points = torch.from_numpy(point_grid(POINTS_PER_SIDE, embedding.geometry.size)).float()
    prompts = Prompts(points[:, None], torch.ones(len(points), 1, dtype=torch.long))
    found = segmenter.decode(embedding, prompts, multimask=True, hq=hq)
    each = found.iou.shape[1]
    masks = Masks(
        found.low_res.flatten(0, 1)[:, None],
        found.iou.flatten()[:, None],
        embedding.geometry,
        source=embedding.source,
        extras={name: value.flatten()[:, None] for name, value in found.extras.items()},
    )
    square = masks.low_res[:, 0].cpu() > 0
    inside = embedding.geometry.to_low_res(torch.ones(1, *embedding.geometry.size), square.shape[-1])[0] > 0.5
    share = (square & inside).sum((1, 2)) / inside.sum()
    cells = torch.stack([seen.cells_of(mask, embedding.geometry) for mask in square & inside])
    grid = Grid(masks, points.repeat_interleave(each, dim=0), cells)
    kept = (share >= SMALLEST) & (share <= LARGEST) & cells.flatten(1).any(dim=1)
    return grid._take(kept.nonzero().flatten())
