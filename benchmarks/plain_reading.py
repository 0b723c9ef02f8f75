"""The usual ways to read photos and maps for training: a plain Dataset with Pillow and OpenCV.

The same work as ours: decode, mirror, bring to the model's square, normalise, draw prompts, stack. What is
left out is what ours does beside it: every PNG checksum, limits before decoding, errors that name the file.
Photos are made smaller by area, as one does it against aliasing. As SUM's release reads its archives: labels
are resized to the nearest pixel, refined maps bilinearly.

Axes: B photos, K masks, S side of the input.
"""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image as PILImages
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from maskwright.types import BoolArray, ByteArray, Geometry

MEAN = np.array((123.675, 116.28, 103.53), np.float32)
STD = np.array((58.395, 57.12, 57.375), np.float32)
POINTS = 10

Masks = tuple[BoolArray, ByteArray]
"""Masks (K, S, S) and their certainty, 255 where it is full."""


def photo_tensor(pixels: ByteArray, side: int) -> Tensor:
    """Resize, normalise and pad a photo (H, W, 3) to (3, S, S)."""
    height, width = Geometry(pixels.shape[:2], side).input_size
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    square = np.zeros((side, side, 3), np.float32)
    square[:height, :width] = (small - MEAN) / STD
    return torch.from_numpy(square).permute(2, 0, 1).contiguous()


def shrink(plane: ByteArray, side: int, how: int = cv2.INTER_AREA) -> ByteArray:
    """Resize and pad a map (H, W) to (S, S)."""
    height, width = Geometry(plane.shape, side).input_size
    square = np.zeros((side, side), np.uint8)
    square[:height, :width] = cv2.resize(plane, (width, height), interpolation=how)
    return square


class PairDataset(Dataset[dict[str, Any]]):
    """Photos and masks of a folder, mirrored as told, each with a box, ten points or a noisy mask.

    Args:
        root: folder with images/NAME.jpg and masks/NAME.png.
        side: S.
        mirror: whether each photo is mirrored.
    """

    def __init__(self, root: Path, side: int, mirror: Sequence[bool]) -> None:
        self.images = sorted((root / "images").iterdir())
        self.masks = sorted((root / "masks").iterdir())
        self.side, self.mirror = side, mirror
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = np.asarray(PILImages.open(self.images[index]).convert("RGB"))
        values = np.asarray(PILImages.open(self.masks[index]))
        if self.mirror[index]:
            pixels, values = cv2.flip(pixels, 1), cv2.flip(values, 1)
        mask = shrink(values, self.side) > 127
        rows, columns = np.nonzero(mask)
        kind = self.rng.integers(3)
        prompt = {
            "box": torch.tensor([columns.min(), rows.min(), columns.max(), rows.max()]).float(),
            "points": torch.zeros(POINTS, 2),
            "noisy": torch.zeros(self.side // 4, self.side // 4),
        }
        if kind == 1:
            chosen = self.rng.integers(len(rows), size=POINTS)
            prompt["points"] = torch.from_numpy(np.stack([columns[chosen], rows[chosen]], 1)).float()
        if kind == 2:
            prompt["noisy"] = self.noisy(mask)
        return {"pixels": photo_tensor(pixels, self.side), "mask": torch.from_numpy(mask), **prompt}

    def noisy(self, mask: BoolArray) -> Tensor:
        """The mask with noise where it has detail, 0 or 255."""
        side = self.side // 4
        small = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        coarse = cv2.resize(cv2.resize(small, (side // 8, side // 8)), (side, side))
        noise = self.rng.standard_normal(small.shape, np.float32) * (np.abs(small - coarse) >= 0.01)
        return torch.from_numpy(255 * (small + noise > 0.5).astype(np.float32))

    def batch(self, count: int) -> dict[str, Tensor]:
        """The first items as a batch."""
        stacked: dict[str, Tensor] = default_collate([self[index] for index in range(count)])
        return stacked


@dataclass(frozen=True)
class MapReader:
    """A photo with the masks and the certainty that `read` gives of it, all masks with their boxes.

    Args:
        photo: its file.
        side: S.
        read: gives masks and certainty in the model's square.
    """

    photo: Path
    side: int
    read: Callable[[int], Masks]

    def __call__(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pixels, masks, certainty and boxes."""
        pixels = np.asarray(PILImages.open(self.photo).convert("RGB"))
        masks, certainty = self.read(self.side)
        boxes = []
        for mask in masks:
            rows, columns = np.nonzero(mask)
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        stacked = torch.from_numpy(masks), torch.from_numpy(certainty), torch.tensor(boxes).float()
        return photo_tensor(pixels, self.side), *stacked


def from_png(folder: Path, count: int, side: int) -> Masks:
    """A PNG for each mask and each map of uncertainty, at the photo's size."""
    planes = [
        [np.asarray(PILImages.open(folder / f"{k}_{name}.png")) for name in ("mask", "doubt")]
        for k in range(count)
    ]
    return framed(planes, side)


def from_npz(folder: Path, count: int, side: int) -> Masks:
    """The same in compressed NumPy files."""
    planes = []
    for k in range(count):
        with np.load(folder / f"{k}.npz") as file:
            planes.append([file["mask"].view(np.uint8) * np.uint8(255), file["doubt"]])
    return framed(planes, side)


def framed(planes: Sequence[Sequence[ByteArray]], side: int) -> Masks:
    """Masks (0 or 255) and uncertainties at the photo's size, brought to the square."""
    masks = np.stack([shrink(mask, side) > 127 for mask, _ in planes])
    return masks, 255 - np.stack([shrink(doubt, side) for _, doubt in planes])


def from_archives(labels: Path, refined: Path, side: int) -> Masks:
    """SUM's archives, as its release reads them."""
    masks, certainty = [], []
    with tarfile.open(labels) as archive, tarfile.open(refined) as maps:
        table = archive.extractfile("metadata.csv")
        assert table is not None
        for row in csv.DictReader(io.StringIO(table.read().decode())):
            number = int(row["id"])
            probability = member(archive, f"{number:03d}_probs.png")
            label = shrink(probability, side, cv2.INTER_NEAREST) / np.float32(255)
            small = member(maps, f"{number}.png")
            better = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR) / np.float32(255)
            height, width = Geometry(probability.shape, side).input_size
            better[height:], better[:, width:] = 0, 0
            masks.append(label > 0.5)
            certainty.append(np.rint(255 * (1 - np.abs(label - better))).astype(np.uint8))
    return np.stack(masks), np.stack(certainty)


def member(archive: tarfile.TarFile, name: str) -> ByteArray:
    """A picture in an archive."""
    data = archive.extractfile(name)
    assert data is not None, name
    return np.asarray(PILImages.open(data))
