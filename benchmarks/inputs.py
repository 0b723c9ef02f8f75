"""Photos and masks to measure on: real ones where there are any, made-up ones otherwise.

Real data lies in the folder MASKWRIGHT_DATA, by default ../shared/data beside the repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from maskwright.io.masks import read_mask
from maskwright.types import BoolArray

ROOT = Path(os.environ.get("MASKWRIGHT_DATA") or Path(__file__).parent.parent / "../shared/data").resolve()


def blobs(size: tuple[int, int], count: int, seed: int = 0) -> BoolArray:
    """(K, H, W) blobs of all sizes, as SA-1B's are: a few cover half of it, most a ten-thousandth."""
    rng = np.random.default_rng(seed)
    height, width = size
    masks = np.zeros((count, height, width), np.uint8)
    for mask in masks:
        radius = max(size) * float(np.exp(rng.uniform(np.log(0.005), np.log(0.4))))
        angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        length = np.full_like(angles, radius)
        for k in range(2, 9):
            length += radius * rng.uniform(0, 0.3) / k * np.sin(k * angles + rng.uniform(0, 2 * np.pi))
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * length[:, None]
        cv2.fillPoly(mask, [(ring + rng.uniform(0, 1, 2) * (width, height)).astype(np.int32)], (1,))
    return masks.view(np.bool_)


def objects(size: tuple[int, int], count: int) -> tuple[BoolArray, str]:
    """(K, H, W) masks of objects in video frames (DAVIS 2016, 480p), enlarged to a size, and whence they are.

    Without the data they are `blobs`.
    """
    files = sorted((ROOT / "DAVIS2016" / "Annotations").rglob("*.png"))
    if not files:
        return blobs(size, count), "blobs"
    masks = np.empty((count, *size), np.bool_)
    for mask, place in zip(masks, np.linspace(0, len(files) - 1, count).astype(int), strict=True):
        found = read_mask(files[place], threshold=127).view(np.uint8)
        mask[:] = cv2.resize(found, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).view(np.bool_)
    return masks, "DAVIS 2016"


def predicted(masks: BoolArray, seed: int = 1) -> BoolArray:
    """What a model might have made of (K, H, W) masks: each moved a little, its outline smoothed."""
    rng = np.random.default_rng(seed)
    result = np.empty_like(masks)
    for mask, guess in zip(masks, result, strict=True):
        moved = np.roll(mask, rng.integers(-4, 5, 2), axis=(0, 1))
        guess[:] = cv2.medianBlur(moved.view(np.uint8), 5).view(np.bool_)
    return result
