"""Short videos made by code: coloured squares that move over a dark ground."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as PILImages

from maskwright.io.masks import LabelMap
from maskwright.io.palette import write_palette_png
from maskwright.types import BoolArray, FloatArray, Image

SIZE = (48, 64)
COLOURS = {1: (220, 60, 60), 2: (60, 220, 60), 3: (60, 60, 220)}


def scene(number: int) -> LabelMap:
    """Object 1 goes right; 2 stands still until it is gone from frame 4 on; 3 comes in frame 2."""
    labels = np.zeros(SIZE, np.int32)
    labels[6:20, 4 + 2 * number : 18 + 2 * number] = 1
    if number < 4:
        labels[28:42, 6:20] = 2
    if number >= 2:
        labels[28:42, 40:56] = 3
    return labels


def photo(labels: LabelMap) -> Image:
    pixels = np.full((*labels.shape, 3), 20, np.uint8)
    for label, colour in COLOURS.items():
        pixels[labels == label] = colour
    return Image(pixels)


def make_clip(
    root: Path, name: str = "squares", count: int = 8, make: Callable[[int], LabelMap] = scene, step: int = 1
) -> Path:
    """A sequence in the layout of DAVIS 2017, its frames numbered 0, `step`, 2 · `step` …"""
    for number in range(count):
        labels = make(number)
        frame = root / "JPEGImages/480p" / name / f"{number * step:05d}.png"
        mask = root / "Annotations/480p" / name / f"{number * step:05d}.png"
        for path in (frame, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        PILImages.fromarray(photo(labels).pixels).save(frame)
        write_palette_png(mask, labels)
    return root


class ByColour:
    """A tracker that knows each object by its colour in the first frame; it is always right."""

    signature = "by colour"

    def start(self, image: Image, masks: BoolArray) -> _Colours:
        return _Colours([image.pixels[mask][0] for mask in masks])


class _Colours:
    def __init__(self, colours: list[np.ndarray]) -> None:
        self.colours = colours
        self.previous: list[BoolArray] = []

    def step(self, image: Image, previous: BoolArray) -> FloatArray:
        self.previous.append(previous)
        found = [(image.pixels == colour).all(axis=2) for colour in self.colours]
        return np.stack(found) * np.float32(2) - np.float32(1)
