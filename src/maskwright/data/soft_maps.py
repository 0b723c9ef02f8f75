"""Soft masks that lie at low resolution in a model's input frame, brought to their photo when asked for.

h w low resolution; H W the photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch

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

    def to_image(self, values: ByteArray) -> FloatArray:
        """Bring an (h, w) 8-bit probability to the photo, (H, W) float32; 0 outside the crop.

        Its logits are what is enlarged, as `Masks.logits` does with a model's own: enlarging the
        probabilities moves a mask's outline wherever one side of it is surer than the other.
        """
        x, y, width, height = self.crop
        logits = torch.from_numpy(to_logits(shares(values)))
        frame = Geometry((height, width), self.side, self.resize)
        inside: FloatArray = frame.to_image(logits[None])[0].sigmoid_().numpy()
        if inside.shape == self.size:
            return inside
        whole = np.zeros(self.size, np.float32)
        whole[y : y + height, x : x + width] = inside
        return whole


@dataclass(frozen=True, eq=False)
class SoftMask:
    """One machine-made mask's probability and, where there is one, the refiner's.

    Args:
        place: where both lie.
        label: (h, w) uint8, the model's probability s.
        refined: (h, w) uint8, the refiner's probability r, or None.
    """

    place: Place
    label: ByteArray
    refined: ByteArray | None

    def probability(self) -> FloatArray:
        """σ(s), (H, W)."""
        return self.place.to_image(self.label)

    def best(self) -> FloatArray:
        """σ(r) where the mask was refined, else σ(s), (H, W)."""
        return self.place.to_image(self.label if self.refined is None else self.refined)

    def uncertainty(self) -> FloatArray:
        """|σ(s) - σ(r)|, and 0 for a mask that was not refined, (H, W) (SUM, eq. 3)."""
        if self.refined is None:
            return np.zeros(self.place.size, np.float32)
        difference = self.probability()
        difference -= self.best()
        return np.abs(difference, out=difference)

    def indecision(self) -> FloatArray:
        """1 - |2 σ(r) - 1|, (H, W): 0 where the refiner is sure, 1 where torn; 0 for a mask not refined."""
        if self.refined is None:
            return np.zeros(self.place.size, np.float32)
        sure: FloatArray = np.abs(2 * self.best() - 1)
        return 1 - sure


def maps_of(
    masks: Sequence[object],
    size: tuple[int, int],
    kind: Literal["probability", "best", "uncertainty", "indecision"],
) -> Maps:
    """What each of a photo's soft masks has under that name, made when it is asked for: (K, H, W)."""
    return Maps((len(masks), *size), partial(_make, masks, kind))


def _make(masks: Sequence[object], kind: str, index: int) -> FloatArray:
    result: FloatArray = getattr(masks[index], kind)()
    return result
