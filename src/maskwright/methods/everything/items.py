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
from maskwright.data.transforms import Matrix
from maskwright.methods.base import ItemKey, TrainingData
from maskwright.methods.everything.augment import (
    distort,
    move_lines,
    move_outlines,
    move_pixels,
    move_void,
    published,
    window_matrix,
)
from maskwright.methods.everything.config import BoundarySettings
from maskwright.methods.everything.photos import Photo, read_photo
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
        multiple: of which the sides of a batch must be;
        smallest: and at least so many pixels.
    """

    def __init__(self, dataset: Dataset, settings: BoundarySettings, multiple: int, smallest: int) -> None:
        self.dataset, self.settings = dataset, settings
        self.multiple, self.smallest = multiple, smallest
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
        """Stack items, padded to one size with their own mirror image."""
        longest = [max(item.ignore.shape[axis] for item in items) for axis in (0, 1)]
        sides = [max(self.smallest, -(-side // self.multiple) * self.multiple) for side in longest]
        rows = []
        for item in items:
            below, right = (side - length for side, length in zip(sides, item.ignore.shape, strict=True))
            margin = ((0, below), (0, right))
            pixels = np.pad(item.pixels, (*margin, (0, 0)), mode="symmetric")
            ignore = np.pad(item.ignore, margin, constant_values=True)
            rows.append((pixels, np.pad(item.fraction, margin), ignore))
        return Batch(*(torch.from_numpy(np.stack(planes)) for planes in zip(*rows, strict=True)))

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
        count = len(photo.labels) + len(photo.lines)
        chosen = [int(rng.integers(count))] if settings.annotators == "one" else range(count)
        fraction = np.zeros((crop, crop), np.float32)
        for k in chosen:
            fraction += self._outlines(photo, k, matrix)
        ignore = move_void(photo.void, photo.size, matrix, crop, settings.thickness)
        return Item(pixels, fraction / np.float32(max(1, len(chosen))), ignore)

    def _outlines(self, photo: Photo, annotator: int, matrix: Matrix) -> BoolArray:
        crop, thickness = self.settings.crop, self.settings.thickness
        if photo.labels:
            return move_outlines(photo.labels[annotator], matrix, crop, thickness)
        return move_lines(photo.lines[annotator], matrix, crop, thickness)

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
