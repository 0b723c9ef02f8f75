"""One annotated image of the object to look for: a mask, a box or a scribble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from maskwright.errors import InputError
from maskwright.models.preprocess import ImageLike, to_image
from maskwright.types import BoolArray, Image, Masks, Prompts, check_shape

if TYPE_CHECKING:
    from maskwright.models.segmenter import Segmenter

CLICKS = 10
"""Clicks that a scribble becomes, at most."""


@dataclass(frozen=True, eq=False)
class Reference:
    """An image and the object in it.

    Args:
        image: the photo.
        mask: (H, W) bool, not empty.

    Raises:
        InputError: a mask of another size than the image, or an empty one.
    """

    image: Image
    mask: BoolArray

    def __post_init__(self) -> None:
        check_shape(f"mask of the reference {self.image.source}", self.mask, self.image.size)
        if not self.mask.any():
            raise InputError(
                f"the mask of the reference {self.image.source} is empty: mark the object in it, or choose "
                "another reference."
            )

    @classmethod
    def from_prompts(cls, segmenter: Segmenter, image: ImageLike, prompts: Prompts) -> Self:
        """The object of a prompt, such as a box around it, cut out by the model."""
        photo = to_image(image)
        return cls(photo, _only(segmenter.decode(segmenter.embed(photo), prompts)))

    @classmethod
    def from_scribble(cls, segmenter: Segmenter, image: ImageLike, scribble: BoolArray) -> Self:
        """The object under a stroke, cut out by the model.

        Args:
            segmenter: the model.
            image: the photo.
            scribble: (H, W) bool, some pixels of the object.
        """
        stroke = cls(to_image(image), scribble)
        rows, columns = np.nonzero(stroke.mask)
        chosen = np.linspace(0, len(rows) - 1, min(CLICKS, len(rows))).round().astype(int)
        clicks = torch.tensor(np.stack([columns[chosen], rows[chosen]], axis=1), dtype=torch.float32)[None]
        prompts = Prompts(clicks, torch.ones(clicks.shape[:2], dtype=torch.long))
        found = cls.from_prompts(segmenter, stroke.image, prompts)
        # What was marked is the object, whatever the model makes of it.
        return cls(stroke.image, found.mask | stroke.mask)


def _only(masks: Masks) -> BoolArray:
    found: BoolArray = masks.binary()[0, 0]
    return found
