"""Photos of bright discs, some over others, on a dark ground, with label maps: of several sizes and forms."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from data.miniatures import save

SIZES = ((72, 96), (96, 72), (80, 80))


def make_discs(root: Path, count: int = 12) -> Path:
    """A dataset of kind `labels`."""
    rng = np.random.default_rng(0)
    for index in range(count):
        size = SIZES[index % len(SIZES)]
        pixels = rng.integers(20, 60, (*size, 3), dtype=np.uint8)
        labels = np.zeros(size, np.uint8)
        for label in range(1, 4):
            middle = int(rng.integers(10, size[1] - 10)), int(rng.integers(10, size[0] - 10))
            radius = int(rng.integers(10, 22))
            colour = rng.integers(90, 250, 3).tolist()
            cv2.circle(pixels, middle, radius, colour, -1)
            cv2.circle(labels, middle, radius, (label,), -1)
        save(root / "images" / f"{index:02}.png", pixels)
        save(root / "labels" / f"{index:02}.png", labels)
    return root
