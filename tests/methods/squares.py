"""Photos of two bright squares each on a dark ground, with label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from data.miniatures import save


def make_squares(root: Path, height: int, *, lowest: int, smallest: int, count: int = 8) -> Path:
    """Photos of `height` x 64 pixels; the squares begin above row `lowest` and have at least that side."""
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = rng.integers(0, 60, (height, 64, 3), dtype=np.uint8)
        labels = np.zeros((height, 64), np.uint8)
        for k, left in enumerate((2, 34)):
            top, side = int(rng.integers(2, lowest)), int(rng.integers(smallest, 24))
            labels[top : top + side, left : left + side] = k + 1
            pixels[top : top + side, left : left + side] = rng.integers(170, 250, 3)
        save(root / "images" / f"{index}.png", pixels)
        save(root / "labels" / f"{index}.png", labels)
    return root
