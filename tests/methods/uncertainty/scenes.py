"""Small photos with instances, and a dataset of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from data.miniatures import make_davis

from maskwright.types import BoolArray, Image, Sample

NAME = "made/photo.png"


def photo(height: int = 40, width: int = 64, seed: int = 0) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image(pixels, "photo.png")


def squares(count: int, height: int = 40, width: int = 64) -> BoolArray:
    """Squares of 6 pixels in a row, which touch neither each other nor the edge."""
    masks = np.zeros((count, height, width), bool)
    for k in range(count):
        x, y = 2 + 8 * (k % 7), 2 + 10 * (k // 7)
        masks[k, y : y + 6, x : x + 6] = True
    return masks


def sample(count: int = 3) -> Sample:
    """A wide photo of some instances; the first is empty, its number is 10."""
    masks = np.concatenate([np.zeros((1, 40, 64), bool), squares(count)])
    return Sample(photo(), masks, tuple(range(10, 11 + count)), "photo.png")


def make_videos(root: Path) -> Path:
    """Three videos of one frame and one of two, two objects each."""
    labels = np.zeros((24, 32), np.uint8)
    labels[4:16, 4:14] = 1
    labels[6:20, 18:28] = 2
    return make_davis(root, {"a": [0], "b": [0], "c": [0], "d": [0, 1]}, labels)
