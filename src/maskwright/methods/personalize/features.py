"""Features of an image by which places of two images are compared: a model's own, or DINO's.

Axes: C channels, h w cells, A maps, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.types import BoolArray, Embedding, Geometry

FINER = 4
"""Maps are first enlarged so many times, as SAM's masks are finer than its features (PerSAM's release)."""


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """One vector a cell.

    Args:
        values: (C, h, w) float32 on the CPU.
        geometry: how the image lies in the square that the cells cover; with padding, some cover none of it.
    """

    values: Tensor
    geometry: Geometry

    @cached_property
    def inside(self) -> Tensor:
        """(h, w) bool: cells that lie at least by half in the image; never none."""
        return self.cells(np.ones(self.geometry.size, np.bool_))

    @cached_property
    def directions(self) -> Tensor:
        """(C, h, w) the vectors at length one."""
        return F.normalize(self.values, dim=0)

    def cells(self, mask_HW: BoolArray) -> Tensor:
        """(h, w) bool: cells that a mask covers by half, or the one it covers most; none if it is empty."""
        return _chosen(self._coverage(mask_HW))

    def _coverage(self, mask_HW: BoolArray) -> Tensor:
        """(h, w) float: how much of each cell a mask covers."""
        geometry, cells = self.geometry, self.values.shape[-1]
        fraction = F.interpolate(torch.tensor(mask_HW)[None, None].float(), geometry.input_size, mode="area")
        height, width = geometry.input_size
        square = F.pad(fraction, (0, geometry.side - width, 0, geometry.side - height))
        return F.adaptive_avg_pool2d(square, cells)[0, 0]

    def cells_of(self, square_hw: Tensor, geometry: Geometry) -> Tensor:
        """(h, w) bool: as `cells`, of a bool mask in a model's low-resolution square; nothing is enlarged.

        Args:
            square_hw: the mask.
            geometry: how the image lies in that square.
        """
        if geometry != self.geometry:
            return self.cells(geometry.to_image(square_hw[None].float())[0].numpy() > 0.5)
        covered = F.adaptive_avg_pool2d(square_hw[None, None].float(), self.values.shape[-1])[0, 0]
        return _chosen(covered)

    def centered(self, center_C: Tensor) -> FeatureMap:
        """The same, as seen from another origin."""
        return FeatureMap(self.values - center_C[:, None, None], self.geometry)

    def similarity(self, vectors_AC: Tensor) -> Tensor:
        """(A, h, w) cosine similarity of each cell with each vector (PerSAM, equation 2)."""
        return torch.einsum("ac,chw->ahw", F.normalize(vectors_AC, dim=1), self.directions)

    def to_image(self, maps_Ahw: Tensor) -> Tensor:
        """(A, H, W) maps over the cells at the image's size."""
        finer = F.interpolate(maps_Ahw[None], scale_factor=FINER, mode="bilinear", align_corners=False)[0]
        return self.geometry.to_image(finer)

    def of(self, cells_hw: Tensor) -> Tensor:
        """(F, C) the vectors of some cells."""
        return self.values[:, cells_hw].T


def _chosen(covered_hw: Tensor) -> Tensor:
    """Cells covered by half, or the one covered most."""
    chosen = covered_hw >= 0.5
    if not chosen.any() and covered_hw.any():
        chosen = covered_hw == covered_hw.max()
    return chosen


def own_features(embedding: Embedding) -> FeatureMap:
    """The features of the model's encoder."""
    return FeatureMap(embedding.features.image[0].float().cpu(), embedding.geometry)


def evenly(vectors_FC: Tensor, most: int) -> Tensor:
    """At most `most` of the vectors, evenly spread over their order."""
    if len(vectors_FC) <= most:
        return vectors_FC
    places: Sequence[int] = torch.linspace(0, len(vectors_FC) - 1, most).round().long().tolist()
    return vectors_FC[places]
