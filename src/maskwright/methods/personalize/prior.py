"""Where in an image the target probably is (PerSAM, Zhang et al. 2023, section 3.1).

Axes: R references, K parts, C channels, h w cells, H W image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.methods.personalize.features import FeatureMap
from maskwright.models.guidance import Guidance, GuidanceMode
from maskwright.types import BoolArray, Geometry


@dataclass(frozen=True, eq=False)
class Prior:
    """Where one target is in one image.

    Args:
        cells: (h, w) similarity of each cell to the target, in -1…1.
        full: (H, W) the same at the image's size.
    """

    cells: Tensor
    full: Tensor

    def without(self, taken_HW: BoolArray) -> Prior:
        """The same with a part of the image taken: no target is there any more."""
        full = self.full.clone()
        full[torch.from_numpy(taken_HW)] = -1
        return Prior(self.cells, full)

    def highest(self) -> tuple[int, int]:
        """The pixel (x, y) of the highest similarity: the positive click."""
        return _place(int(self.full.argmax()), self.full)

    def lowest(self) -> tuple[int, int]:
        """The pixel (x, y) of the lowest similarity: the negative click."""
        return _place(int(self.full.argmin()), self.full)


def locate(features: FeatureMap, vectors_RC: Tensor) -> Prior:
    """Compare an image with a target; of several references the one counts that is found best.

    Args:
        features: of the image.
        vectors_RC: what to look for, one vector a reference.
    """
    cells = features.similarity(vectors_RC)
    if len(cells) > 1:
        peaks = cells.masked_fill(~features.inside, -1).flatten(1).amax(dim=1)
        cells = cells[peaks.argmax()][None]
    return Prior(cells[0], features.to_image(cells)[0])


def guidance_of(
    prior: Prior, target_C: Tensor, geometry: Geometry, side: int, mode: GuidanceMode
) -> Guidance:
    """The decoder's guidance by one target (N = 1; see `stack`).

    The similarity is standardised over the image and squashed to 0…1. In the mode "official" it is stretched
    to the model's grid as in the release, which for images that are not square misses the padding; in the
    mode "bias" it lies where the image does, and padding gets nothing.

    Args:
        prior: where the target is.
        target_C: the model's own embedding of it.
        geometry: how the image lies in the model's square.
        side: cells of the model's grid along each side.
        mode: see `models.guidance.Guidance`.
    """
    spread = prior.full.std(correction=min(1, prior.full.numel() - 1)).clamp(min=1e-6)
    standard = (prior.full - prior.full.mean()) / spread
    if mode == "official":
        grid = F.interpolate(standard[None, None], (side, side), mode="bilinear", align_corners=False)[0]
        return Guidance(grid.sigmoid(), target_C[None], mode)
    return Guidance(geometry.to_low_res(standard.sigmoid()[None], side), target_C[None], mode)


def stack(parts: list[Guidance]) -> Guidance:
    """The guidance of several prompts as one."""
    attention, target = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("attention", "target")
    )
    return Guidance(attention, target, parts[0].mode)


def _place(index: int, full_HW: Tensor) -> tuple[int, int]:
    row, column = divmod(index, full_HW.shape[1])
    return column, row
