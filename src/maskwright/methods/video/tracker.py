"""What a tracker is: started with an image and its objects' masks, then asked about one frame at a time.

Axes: K objects, H W size of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from maskwright.io.masks import LabelMap
from maskwright.types import BoolArray, FloatArray, Image


class Track(Protocol):
    """Some objects that are being followed; it holds all memory of them, so that tracks do not interfere."""

    def step(self, image: Image, previous: BoolArray) -> FloatArray:
        """Find the objects in the next frame.

        Args:
            image: the frame; of the size of the first one.
            previous: (K, H, W) their masks in the frame before, after overlaps were settled; where an object
                was not to be seen, its mask is empty.

        Returns:
            (K, H, W) logits, in the order in which the objects were given; positive is object.
        """


class Tracker(Protocol):
    """A way to follow objects.

    Attributes:
        signature: names it with its model and weights, so that no two are taken for each other.
    """

    signature: str

    def start(self, image: Image, masks: BoolArray) -> Track:
        """Begin with the K objects of an image.

        Args:
            image: the frame in which they are first seen.
            masks: (K, H, W) bool, none of them empty.
        """


def merge(ids: Sequence[int], logits_KHW: FloatArray) -> LabelMap:
    """The label map (H, W) of K objects: each pixel's largest logit, 0 where none is positive.

    An object keeps its number whatever becomes of the others.
    """
    assert len(ids) == len(logits_KHW), (ids, logits_KHW.shape)
    best = logits_KHW.argmax(axis=0)
    labels: LabelMap = np.asarray(ids, np.int32)[best]
    labels[np.take_along_axis(logits_KHW, best[None], axis=0)[0] <= 0] = 0
    return labels


def split(labels: npt.NDArray[np.integer], ids: Sequence[int]) -> BoolArray:
    """The masks (K, H, W) of the given objects in a label map; of one that is not there, an empty one."""
    masks: BoolArray = labels[None] == np.asarray(ids, labels.dtype)[:, None, None]
    return masks
