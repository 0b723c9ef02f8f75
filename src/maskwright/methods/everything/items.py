"""From annotated photos to training items: pixels, and the share of the annotators that drew a boundary.

H W size of a photo or window, K annotators, B items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maskwright.data.boundary_targets import boundary_target
from maskwright.data.dataset import Dataset
from maskwright.methods.base import ItemKey, TrainingData
from maskwright.methods.everything.augment import (
    distort,
    move_outlines,
    move_pixels,
    move_void,
    published,
    window_matrix,
)
from maskwright.methods.everything.config import BoundarySettings
from maskwright.methods.everything.photos import Labels, Photo, read_photo
from maskwright.types import BoolArray, ByteArray, FloatArray

GIB = 2**30


class Item(NamedTuple):
    """One training item: pixels (H, W, 3) uint8, fraction (H, W) float32, ignore (H, W) bool."""

    pixels: ByteArray
    fraction: FloatArray
    ignore: BoolArray


class Batch(NamedTuple):
    """Items side by side; smaller ones are padded right and below, where nothing is learned."""

    pixels_BHW3: Tensor
    fraction_BHW: Tensor
    ignore_BHW: Tensor


class BoundaryData(TrainingData):
    """Photos with the outlines of their masks.

    Args:
        dataset: annotated photos.
        settings: resolution, lines, augmentation, cache.
        multiple: of which the sides of a batch must be.
    """

    def __init__(self, dataset: Dataset, settings: BoundarySettings, multiple: int) -> None:
        self.dataset, self.settings, self.multiple = dataset, settings, multiple
        self._ready: dict[int, Photo | Item] = {}
        self._room = settings.cache * GIB / max(1, settings.workers)

    def __len__(self) -> int:
        return len(self.dataset)

    def source(self, index: int) -> str:
        """The photo's file."""
        return str(self.dataset.image_path(index))

    def check(self) -> None:
        """Prepare the first item, so that data of a wrong kind are refused before the first step."""
        self[ItemKey(0, 0, self.settings.seed)]

    def __getitem__(self, key: ItemKey) -> Item:
        photo, rng = self._photo(key.index), key.rng()
        if isinstance(photo, Photo):
            return self._window(photo, rng)
        if self.settings.augment == "published":
            return photo._replace(pixels=published(photo.pixels, rng))
        return photo

    def collate(self, items: Sequence[Item]) -> Batch:
        """Stack items, padded to one size."""
        height, width = (
            -(-max(item.ignore.shape[axis] for item in items) // self.multiple) * self.multiple
            for axis in (0, 1)
        )
        size = (len(items), height, width)
        planes = (np.zeros((*size, 3), np.uint8), np.zeros(size, np.float32), np.ones(size, np.bool_))
        for row, item in enumerate(items):
            h, w = item.ignore.shape
            for plane, part in zip(planes, item, strict=True):
                plane[row, :h, :w] = part
        return Batch(*map(torch.from_numpy, planes))

    def _window(self, photo: Photo, rng: np.random.Generator) -> Item:
        """A random window of a photo, with its lines drawn anew."""
        settings, crop = self.settings, self.settings.crop
        matrix = window_matrix(
            photo.size,
            crop,
            rng,
            scale=settings.scale,
            degrees=settings.degrees,
            turned=settings.turned,
            flips=settings.flips,
        )
        pixels = move_pixels(photo.pixels, matrix, crop)
        if settings.color:
            pixels = distort(pixels, rng)
        maps: list[Labels | BoolArray] = [*photo.labels, *photo.lines]
        if settings.annotators == "one":
            maps = [maps[rng.integers(len(maps))]]
        fraction = np.zeros((crop, crop), np.float32)
        for plane in maps:
            fraction += move_outlines(plane, matrix, crop, settings.thickness)
        ignore = move_void(photo.void, photo.size, matrix, crop, settings.thickness)
        return Item(pixels, fraction / np.float32(max(1, len(maps))), ignore)

    def _photo(self, index: int) -> Photo | Item:
        """A photo as it is before anything random, from memory where there was room for it."""
        if index in self._ready:
            return self._ready[index]
        photo = self._read(index)
        size = photo.nbytes if isinstance(photo, Photo) else sum(part.nbytes for part in photo)
        if size <= self._room:
            self._room -= size
            self._ready[index] = photo
        return photo

    def _read(self, index: int) -> Photo | Item:
        settings = self.settings
        if settings.augment == "strong":
            return read_photo(self.dataset, index, settings.resolution, keep_aspect=settings.keep_aspect)
        target = boundary_target(
            self.dataset,
            index,
            resolution=settings.resolution,
            keep_aspect=settings.keep_aspect,
            thickness=settings.thickness,
            style=settings.style,
        )
        return Item(target.image.pixels, target.fraction, target.ignore)
