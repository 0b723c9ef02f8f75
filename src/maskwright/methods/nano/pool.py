"""The training photos of nano, decoded once and kept in memory as bytes and label maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.types import BoolArray, ByteArray, Sample

LabelMap = npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo with one label map per annotator.

    Args:
        pixels: (H, W, 3) uint8.
        maps: label maps (H, W), 0 where nothing is labelled; segment i of a sample has label i + 1.
        trusted: (H, W) bool, False where labels must not be learned, or None when all may be.
        partition: the maps label every pixel, so their outlines are all the edges there are.
        source: for messages.
    """

    pixels: ByteArray
    maps: tuple[LabelMap, ...]
    trusted: BoolArray | None
    partition: bool
    source: str


def pack(samples: Iterable[Sample], longest_side: int) -> list[Photo]:
    """Turn samples into photos no longer than `longest_side`; samples of the same image become one photo."""
    photos: dict[str, Photo] = {}
    for sample in samples:
        if not len(sample.ids):
            continue
        name = sample.image.source
        size = _fit(sample.image.size, longest_side)
        label_map = _shrink(as_label_map(sample.masks), size, cv2.INTER_NEAREST)
        if name in photos:
            photos[name] = replace(photos[name], maps=(*photos[name].maps, label_map))
            continue
        trusted = None
        if sample.uncertainty is not None:
            certain = np.ones(sample.image.size, np.uint8)
            for uncertainty in sample.uncertainty:  # map by map: there may be hundreds
                certain &= uncertainty < 0.5
            trusted = _shrink(certain, size, cv2.INTER_NEAREST).astype(bool)
        pixels = _shrink(sample.image.pixels, size, cv2.INTER_AREA)
        photos[name] = Photo(pixels, (label_map,), trusted, sample.partition, name)
    return list(photos.values())


def as_label_map(masks: BoolArray) -> LabelMap:
    """Label maps hold one segment a pixel; where masks overlap, the later one wins."""
    label_map = np.zeros(masks.shape[1:], np.uint16)
    for index, mask in enumerate(masks):
        label_map[mask] = index + 1
    return label_map


def _fit(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    scale = min(1.0, longest_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _shrink(plane: npt.NDArray[Any], size: tuple[int, int], interpolation: int) -> npt.NDArray[Any]:
    if plane.shape[:2] == size:
        return plane
    return cast("npt.NDArray[Any]", cv2.resize(plane, size[::-1], interpolation=interpolation))
