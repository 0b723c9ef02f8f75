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
        covered = self._coverage(mask_HW)
        chosen = covered >= 0.5
        if not chosen.any() and covered.any():
            chosen = covered == covered.max()
        return chosen

    def _coverage(self, mask_HW: BoolArray) -> Tensor:
        """(h, w) float: how much of each cell a mask covers."""
        geometry, cells = self.geometry, self.values.shape[-1]
        fraction = F.interpolate(torch.tensor(mask_HW)[None, None].float(), geometry.input_size, mode="area")
        height, width = geometry.input_size
        square = F.pad(fraction, (0, geometry.side - width, 0, geometry.side - height))
        return F.adaptive_avg_pool2d(square, cells)[0, 0]

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


def own_features(embedding: Embedding) -> FeatureMap:
    """The features of the model's encoder."""
    return FeatureMap(embedding.features.image[0].float().cpu(), embedding.geometry)


def evenly(vectors_FC: Tensor, most: int) -> Tensor:
    """At most `most` of the vectors, evenly spread over their order."""
    if len(vectors_FC) <= most:
        return vectors_FC
    places: Sequence[int] = torch.linspace(0, len(vectors_FC) - 1, most).round().long().tolist()
    return vectors_FC[places]
