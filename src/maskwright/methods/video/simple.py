"""Trackers without a memory of their own: the first mask for ever, and the previous mask as a prompt.

Axes: K objects, H W size of a frame, h w low resolution.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from torch import Tensor

from maskwright.data.prompts import center_point, tight_box
from maskwright.models.prompts import make_prompts
from maskwright.models.registry import load
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, FloatArray, Image

# By how many pixels the previous mask's box is widened (PerSAM's released video script).
MARGIN = 10


class Copy:
    """Every object stays where it is in the first frame: the least that a tracker has to surpass."""

    signature = "copy"

    @classmethod
    def from_model(cls, model: str, **how: Any) -> Self:  # noqa: ANN401
        """It needs no model."""
        return cls()

    def start(self, image: Image, masks: BoolArray) -> _Still:
        """Begin with the K objects of an image."""
        return _Still(masks)


class _Still:
    """Objects that do not move."""

    def __init__(self, masks: BoolArray) -> None:
        self.logits_KHW: FloatArray = masks * np.float32(2) - np.float32(1)

    def step(self, image: Image, previous: BoolArray) -> FloatArray:
        """The first masks (K, H, W), as logits of ±1."""
        return self.logits_KHW


class PreviousMask:
    """Any model, asked for each object with its mask in the previous frame: its box, its centre, its logits.

    Args:
        segmenter: the model.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.signature = f"previous-mask {segmenter.signature}"

    @classmethod
    def from_model(cls, model: str, **how: Any) -> Self:  # noqa: ANN401
        """With a model of any family; arguments and errors as for `models.registry.load`."""
        return cls(load(model, heads=None, **how))

    def start(self, image: Image, masks: BoolArray) -> _Prompted:
        """Begin with the K objects of an image."""
        return _Prompted(self.segmenter, masks)


class _Prompted:
    """Objects with where they were last seen, and the model's logits there."""

    def __init__(self, segmenter: Segmenter, masks: BoolArray) -> None:
        self.segmenter = segmenter
        self.seen = masks.copy()
        self.logits_Khw: Tensor | None = None

    def step(self, image: Image, previous: BoolArray) -> FloatArray:
        """Ask for each object; one that is out of sight is looked for where it was seen last."""
        there = previous.any(axis=(1, 2))
        self.seen[there] = previous[there]
        embedding = self.segmenter.embed(image)
        prompts = make_prompts(
            embedding.geometry,
            self.segmenter.model.low_res,
            boxes=[widened_box(mask) for mask in self.seen],
            points=[[center_point(mask)] for mask in self.seen],
            # The given masks first, then the logits that the model itself answered with.
            masks=self.seen if self.logits_Khw is None else self.logits_Khw.cpu().numpy(),
        )
        masks = self.segmenter.decode(embedding, prompts)
        self.logits_Khw = masks.low_res[:, 0]
        return masks.logits()[:, 0].cpu().numpy()


def widened_box(mask: BoolArray, margin: int = MARGIN) -> FloatArray:
    """The tight box (4,) of an (H, W) mask, `margin` pixels wider on every side but inside the image."""
    height, width = mask.shape
    box = tight_box(mask) + np.array([-margin, -margin, margin, margin], np.float32)
    return np.clip(box, 0, np.array([width, height, width, height], np.float32))
