"""Soft masks that lie at low resolution in a model's input frame, brought to their photo when asked for.

h w low resolution; H W the photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from maskwright.data.transforms import Size, compose, resize_matrix, shrink
from maskwright.io.label_shards import shares, to_logits
from maskwright.types import ByteArray, FloatArray, Geometry, Maps, Resize

WHOLE = (1, 1)
SAMPLES = 2
"""Of so many values, along each side, the mean over a block is taken."""


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

    def nowhere(self, blocks: Size = WHOLE) -> FloatArray:
        """A map of zeros, (H, W) or as many as there are blocks."""
        rows, columns = (-(-length // block) for length, block in zip(self.size, blocks, strict=True))
        return np.zeros((rows, columns), np.float32)

    def to_image(self, values: ByteArray, blocks: Size = WHOLE) -> FloatArray:
        """Bring an (h, w) 8-bit probability to the photo, (H, W) float32; 0 outside the crop.

        Its logits are what is enlarged, as `Masks.logits` does with a model's own: enlarging the
        probabilities moves a mask's outline wherever one side of it is surer than the other.

        Args:
            values: the map.
            blocks: the result's means over blocks of the photo are wanted, as `shrink` gives them.
        """
        x, y, width, height = self.crop
        logits = torch.from_numpy(to_logits(shares(values)))[None]
        frame = Geometry((height, width), self.side, self.resize)
        if (height, width) == self.size and blocks != WHOLE:
            return _means(frame, logits, blocks)
        inside: FloatArray = frame.to_image(logits)[0].sigmoid_().numpy()
        if inside.shape == self.size:
            return inside
        whole = np.zeros(self.size, np.float32)
        whole[y : y + height, x : x + width] = inside
        return shrink(whole, blocks)


def _means(frame: Geometry, logits: Tensor, blocks: Size) -> FloatArray:
    """Means of probabilities over blocks of the photo, of a few values each and not of all its pixels."""
    inside = frame.in_input(logits)[0].numpy()
    samples = (min(SAMPLES, blocks[0]), min(SAMPLES, blocks[1]))
    rows, columns = (-(-length // block) for length, block in zip(frame.size, blocks, strict=True))
    matrix = compose(resize_matrix(inside.shape, frame.size), resize_matrix(blocks, samples))
    fine = cv2.warpAffine(
        inside,
        matrix,
        (columns * samples[1], rows * samples[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return shrink(torch.from_numpy(fine).sigmoid_().numpy(), samples)


@dataclass(frozen=True, eq=False)
class SoftMask:
    """One machine-made mask's probability and, where there is one, the refiner's.

    Maps are (H, W), or of the means over blocks of the photo, as `shrink` gives them. Where a large photo is
    looked at so, taking differences of such means costs a fraction of taking means of differences.

    Args:
        place: where both lie.
        label: (h, w) uint8, the model's probability s.
        refined: (h, w) uint8, the refiner's probability r, or None.
    """

    place: Place
    label: ByteArray
    refined: ByteArray | None

    def probability(self, blocks: Size = WHOLE) -> FloatArray:
        """σ(s), (H, W)."""
        return self.place.to_image(self.label, blocks)

    def best(self, blocks: Size = WHOLE) -> FloatArray:
        """σ(r) where the mask was refined, else σ(s), (H, W)."""
        return self.place.to_image(self.label if self.refined is None else self.refined, blocks)

    def uncertainty(self, blocks: Size = WHOLE) -> FloatArray:
        """|σ(s) - σ(r)|, and 0 for a mask that was not refined, (H, W) (SUM, eq. 3)."""
        if self.refined is None:
            return self.place.nowhere(blocks)
        difference = self.probability(blocks)
        difference -= self.best(blocks)
        return np.abs(difference, out=difference)

    def indecision(self, blocks: Size = WHOLE) -> FloatArray:
        """1 - |2 σ(r) - 1|, (H, W): 0 where the refiner is sure, 1 where torn; 0 for a mask not refined."""
        if self.refined is None:
            return self.place.nowhere(blocks)
        sure: FloatArray = np.abs(2 * self.best(blocks) - 1)
        return 1 - sure


def maps_of(
    masks: Sequence[object],
    size: tuple[int, int],
    kind: Literal["probability", "best", "uncertainty", "indecision"],
) -> Maps:
    """What each of a photo's soft masks has under that name, made when it is asked for: (K, H, W)."""
    return Maps((len(masks), *size), partial(_make, masks, kind))


def _make(masks: Sequence[object], kind: str, index: int, blocks: Size) -> FloatArray:
    result: FloatArray = getattr(masks[index], kind)(blocks)
    return result
