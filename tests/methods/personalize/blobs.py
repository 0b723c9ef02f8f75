"""A model without weights that finds what a person would: the connected pixels of the clicked colour.

Its features are the colours, so that an object is told by its colour. Axes: H W input = cells = masks.
"""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from maskwright.methods.personalize.reference import Reference
from maskwright.models.base import Decoded, Features, MaskModel, PromptBatch
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, ByteArray, Image

SIDE = 64
RED, BLUE, GREEN, GROUND = (220, 30, 30), (30, 30, 220), (30, 200, 30), (128, 128, 128)


class Blobs(MaskModel):
    """Its one answer is given for all four masks; guidance, boxes and mask prompts are not looked at."""

    family: ClassVar[str] = "blobs"
    image_size = low_res = SIDE

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(8.0))
        self.encoded = 0
        self.asked: list[int] = []

    def encode(self, pixels_B3HW: Tensor) -> Features:
        self.encoded += len(pixels_B3HW)
        return Features(pixels_B3HW)

    def decode(self, features: Features, prompts: PromptBatch) -> Decoded:
        assert prompts.points is not None
        self.asked.append(prompts.shape[1])
        image_HW3 = features.image[0].permute(1, 2, 0).numpy()
        places = prompts.points[0, :, 0].long().clamp(0, SIDE - 1).tolist()
        masks = [self._connected(image_HW3, x, y) for x, y in places]
        logits_NHW = torch.from_numpy(np.stack(masks)).float() * 2 - 1
        logits_NMHW = (self.sharpness * logits_NHW)[:, None].expand(-1, 4, -1, -1)
        return Decoded(
            logits_NMHW[None], torch.full((1, len(places), 4), 0.9), torch.zeros(1, len(places), 1, 1)
        )

    @staticmethod
    def _connected(image_HW3: np.ndarray[Any, Any], x: int, y: int) -> BoolArray:
        alike = np.abs(image_HW3 - image_HW3[y, x]).mean(axis=2) < 0.3
        parts, _ = ndimage.label(alike)
        mask: BoolArray = parts == parts[y, x]
        return mask

    def output_tokens(self) -> Tensor:
        return torch.zeros(1, 1)

    def config_dict(self) -> dict[str, Any]:
        return {}


def blobs() -> Segmenter:
    return Segmenter(Blobs())


def scene(*discs: tuple[int, int, tuple[int, int, int]], size: tuple[int, int] = (64, 64)) -> ByteArray:
    """Discs (x, y, colour) of radius 7 on grey."""
    pixels = np.full((*size, 3), GROUND, np.uint8)
    for x, y, colour in discs:
        cv2.circle(pixels, (x, y), 7, colour, -1)
    return pixels


def disc(x: int, y: int, size: tuple[int, int] = (64, 64)) -> BoolArray:
    mask = np.zeros(size, np.uint8)
    cv2.circle(mask, (x, y), 7, 1, -1)
    return mask > 0


def example(colour: tuple[int, int, int] = RED) -> Reference:
    """One disc of a colour among others."""
    others = [one for one in (RED, BLUE, GREEN) if one != colour]
    pixels = scene((20, 20, colour), (45, 20, others[0]), (20, 48, others[1]))
    return Reference(Image(pixels, "example"), disc(20, 20))
