"""Tiny sets of contours as they are published, made by the tests that read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from maskwright.io.rle import RLE
from maskwright.types import BoolArray

SQUARE = 180
MODEL = "chendelong/DirectSAM-1800px-0424"


def photo(path: Path, width: int = 64, height: int = 48, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    PILImage.fromarray(pixels).save(path)
    return path


def column(x: float, width: int, side: int = SQUARE) -> BoolArray:
    """A square with a vertical line of so many pixels, its middle at a share of the width."""
    lines = np.zeros((side, side), np.bool_)
    start = round(x * side) - width // 2
    lines[:, start : start + width] = True
    return lines


def row(y: float, width: int, side: int = SQUARE) -> BoolArray:
    """The same, horizontal."""
    return np.ascontiguousarray(column(y, width, side).T)


def entry(source: str, lines: BoolArray) -> dict[str, Any]:
    return {"source": source, "label": RLE.encode(lines).to_coco()}


def write(
    path: Path,
    image: Path | str,
    pseudo: list[dict[str, Any]] | None = None,
    human: list[dict[str, Any]] | None = None,
    size: tuple[int, int] | None = (64, 48),
) -> Path:
    """A record as it is published; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"image_path": str(image), "image_size": size, "pseudo_label": pseudo, "human_label": human}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return path
