"""The prompts of an instance: a click at its centre, further random clicks, and its tight box.

As UncertainSAM draws them (Kaiser, Norrenbrock, Rosenhahn 2025, released code): the mask is eroded by 5 × 5
pixels, so that no click lies on its rim; where nothing is left of it, it is taken as it is. The released code
drew its clicks without a seed; here they follow from seed, image and instance, whatever is done before or
elsewhere.

Axes: K instances, Q clicks (the centre first), 2 (x, y), H W image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np

from maskwright.data.prompts import random_points, tight_box
from maskwright.types import BoolArray, FloatArray

POINTS = 7
"""Clicks besides the one at the centre, as published."""
KERNEL = np.ones((5, 5), np.uint8)
_REACH = 2


def rng_of(seed: int, *names: str | int) -> np.random.Generator:
    """The random numbers that belong to something named, the same in every process and order."""
    text = "\0".join(map(str, (seed, *names)))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little"))


def clicks(masks: BoolArray, ids: Sequence[int], image: str, seed: int, count: int = POINTS) -> FloatArray:
    """The clicks on each of some instances.

    Args:
        masks: (K, H, W) bool, none of them empty.
        ids: K numbers of the instances.
        image: name of the image.
        seed: of the random clicks, with the image and the instance's number.
        count: random clicks, different ones where an instance has as many pixels.

    Returns:
        (K, 1 + count, 2) float32: the centre, then the random ones.
    """
    drawn = np.empty((len(masks), 1 + count, 2), np.float32)
    for place, (mask, number) in enumerate(zip(masks, ids, strict=True)):
        inner, corner = _inner(mask)
        drawn[place, 0] = nearest_to_centroid(inner) + corner
        drawn[place, 1:] = random_points(inner, rng_of(seed, image, number), count) + corner
    return drawn


def boxes(masks: BoolArray) -> FloatArray:
    """(K, 4) the box that just holds each of (K, H, W) masks, none of them empty."""
    return np.stack([tight_box(mask) for mask in masks]) if len(masks) else np.zeros((0, 4), np.float32)


def eroded(mask: BoolArray) -> BoolArray:
    """(H, W) mask without its rim of 2 pixels, or as it is where that leaves nothing.

    The image's edge is no rim: an object that goes on beyond it is not eroded there (OpenCV's default).
    """
    smaller: BoolArray = cv2.erode(mask.view(np.uint8), KERNEL).astype(bool)
    return smaller if smaller.any() else mask


def nearest_to_centroid(mask: BoolArray) -> FloatArray:
    """The (2,) pixel of an (H, W) mask, not empty, nearest to its centroid; of several the first by rows."""
    rows, columns = np.nonzero(mask)
    distances = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    nearest = int(distances.argmin())
    return np.array([columns[nearest], rows[nearest]], np.float32)


def _inner(mask: BoolArray) -> tuple[BoolArray, FloatArray]:
    """The eroded mask within its box and the kernel's reach, and that part's upper left corner (2,).

    Hundreds of instances of a large photo are small, and to look at all of it for each takes long.
    """
    height, width = mask.shape
    left, top, right, bottom = tight_box(mask).astype(int).tolist()
    left, top = max(0, left - _REACH), max(0, top - _REACH)
    right, bottom = min(width, right + _REACH), min(height, bottom + _REACH)
    part = np.ascontiguousarray(mask[top:bottom, left:right])
    return eroded(part), np.array([left, top], np.float32)
