"""Boundary models: from a photo to the logits that each place lies on the outline of something.

What every family gives, and how a photo becomes a model's input. `boundary_detector` makes such a model easy
to ask, `boundary_files` reads and writes them.

Axes: B images, H W input sizes, h w output sizes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from maskwright.errors import WeightsError
from maskwright.models.digests import weights_digest

# A family's module and class; nothing else has to know of a new one.
FAMILIES = {
    "segformer": ("maskwright.models.segformer", "SegFormer"),
    "nano_boundary": ("maskwright.models.nano_boundary", "NanoBoundary"),
}
# ImageNet's mean and standard deviation of RGB in 0…1, with which SegFormer's processor normalises.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BoundaryModel(nn.Module, ABC):
    """A model that marks outlines, of one family.

    Attributes:
        family: its name in `FAMILIES`.
        multiple: sides of the input are padded to multiples of this many pixels.
        smallest: shortest side that the model takes, in pixels; a multiple of `multiple`.
        cell: side in pixels of a cell of its coarsest map; tiles begin at multiples of it, which is one of
            `multiple`, so that every map has its cells where the whole image's has them.
        reach: how far from a place, in pixels, the input still matters to its logit: exactly for a
            convolutional model, roughly for one with attention. Tiles overlap by as much.
        largest: longest side in pixels to which larger photos are brought where no resolution is asked for
            and the model has none of its own; None: they stay as they are.
        backend: what runs it, torch or another runtime in some precision.
    """

    family: ClassVar[str]
    multiple: int
    smallest: int
    cell: int
    reach: int
    largest: int | None = None
    backend: str = "torch"

    @abstractmethod
    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        """Logits (B, 1, h, w) of normalised images; h = H / s for some whole s, where H suits `multiple`."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    def digest(self) -> str:
        """A short hash of the weights."""
        return weights_digest(self)

    @abstractmethod
    def config_dict(self) -> dict[str, Any]:
        """The JSON-serialisable settings from which `from_config` builds the same architecture again."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build a model with random weights from `config_dict()`."""


def family_class(family: str, source: str) -> type[BoundaryModel]:
    """The class of a family.

    Raises:
        WeightsError: there is none of that name; `source` is named.
    """
    if family not in FAMILIES:
        raise WeightsError(
            f"{source}: unknown family {family!r} of boundary models; known are {', '.join(FAMILIES)}."
        )
    module, name = FAMILIES[family]
    found: type[BoundaryModel] = getattr(import_module(module), name)
    return found


def normalise(pixels_BHW3: Tensor) -> Tensor:
    """From RGB pixels (B, H, W, 3) in 0…255 to a model's float32 input (B, 3, H, W)."""
    mean, std = (torch.tensor(value, device=pixels_BHW3.device) * 255 for value in (MEAN, STD))
    return ((pixels_BHW3.float() - mean) / std).permute(0, 3, 1, 2)
