"""A model without weights whose answers can be foreseen: the pixels that look like the clicked one.

So small that a grid of clicks takes no time, yet its masks have real shapes, scores and stabilities.
Axes: B images, N prompts, M masks, H W input = low resolution.
"""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from maskwright.models.base import Decoded, Features, MaskModel, PromptBatch
from maskwright.types import ByteArray

# How different a pixel's colour may be, for the single mask and the three ambiguous ones.
TOLERANCES = (0.5, 0.3, 0.7, 3.0)


class Colours(MaskModel):
    """Logits are how much closer than the tolerance a pixel's colour is to the clicked pixel's.

    Args:
        side: of the input and of the masks.
        tied: give all masks the same score; otherwise smaller ones score higher.
    """

    family: ClassVar[str] = "colours"

    def __init__(self, side: int = 96, tied: bool = False) -> None:
        super().__init__()
        self.image_size = self.low_res = side
        self.tied = tied
        self.sharpness = nn.Parameter(torch.tensor(20.0))
        self.embedded = 0
        self.decoded: list[int] = []

    def encode(self, pixels_B3SS: Tensor) -> Features:
        self.embedded += len(pixels_B3SS)
        return Features(pixels_B3SS)

    def decode(self, features: Features, prompts: PromptBatch) -> Decoded:
        assert prompts.points is not None
        self.decoded.append(prompts.shape[1])
        pixels_3HW = features.image[0]
        x, y = prompts.points[0, :, 0].floor().long().clamp(0, self.image_size - 1).unbind(1)
        clicked_N3 = pixels_3HW[:, y, x].T
        distance_NHW = (pixels_3HW[None] - clicked_N3[:, :, None, None]).abs().mean(dim=1)
        masks_NMHW = torch.stack([self.sharpness * (limit - distance_NHW) for limit in TOLERANCES], dim=1)
        shares_NM = (masks_NMHW > 0).float().mean(dim=(2, 3))
        iou_NM = torch.full_like(shares_NM, 0.9) if self.tied else 1 - 0.2 * shares_NM
        tokens_N11 = torch.zeros(len(x), 1, 1)
        return Decoded(masks_NMHW[None], iou_NM[None], tokens_N11[None])

    def output_tokens(self) -> Tensor:
        return torch.zeros(1, 1)

    def config_dict(self) -> dict[str, Any]:
        return {}


def picture(height: int = 160, width: int = 240) -> ByteArray:
    """Discs of their own colours on a grey ground with a little noise."""
    rng = np.random.default_rng(0)
    pixels = np.full((height, width, 3), 128, np.uint8)
    places = rng.random((9, 2)) * 0.7 + 0.15
    for place, colour in zip(places, rng.integers(0, 256, (9, 3)).tolist(), strict=True):
        centre = int(place[0] * width), int(place[1] * height)
        cv2.circle(pixels, centre, max(1, round(min(height, width) * 0.06)), colour, -1)
    noisy: ByteArray = np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
    return noisy
