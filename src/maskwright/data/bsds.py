"""BSDS500: photos with four to nine human segmentations each (Arbeláez et al., PAMI 2011)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.io

from maskwright.data.dataset import Contours, Dataset, SampleError
from maskwright.data.files import (
    Pair,
    check_same_size,
    list_files,
    pair_files,
    require_folders,
)
from maskwright.data.outlines import Shapes
from maskwright.data.segments import split_labels
from maskwright.io.images import read_image
from maskwright.io.masks import LabelMap
from maskwright.types import BoolArray, Sample

TREE = """\
  FOLDER/
    images/train|val|test/NAME.jpg
    groundTruth/train|val|test/NAME.mat"""

SPLITS = {"train": ("train",), "val": ("val",), "test": ("test",), "trainval": ("train", "val")}

Annotator = int | Literal["all", "first"]


class BSDS500(Dataset):
    """BSDS500, one item a photo, or one a photo and annotator when `annotator` is "all".

    A sample's masks are the annotator's segments, its ids their labels; together they cover the photo.

    Args:
        annotator: "first", a number from 0 (photos with fewer annotators are an error when read), or "all".
    """

    def __init__(self, root: Path, *, split: str = "test", annotator: Annotator = "first") -> None:
        parts = SPLITS[split]
        folders = [f"{kind}/{part}" for kind in ("images", "groundTruth") for part in parts]
        require_folders("bsds500", root, folders, TREE)
        images = [path for part in parts for path in list_files(root / "images" / part, [".jpg"])]
        truths = [path for part in parts for path in list_files(root / "groundTruth" / part, [".mat"])]
        self.pairs, problems = pair_files(images, truths, mask_ending=".mat")
        super().__init__(problems)
        self.annotator = annotator

    @cached_property
    def _items(self) -> list[tuple[Pair, int]]:
        if self.annotator == "all":
            return [(pair, k) for pair in self.pairs for k in range(count_annotators(pair.mask))]
        number = 0 if self.annotator == "first" else self.annotator
        return [(pair, number) for pair in self.pairs]

    def __len__(self) -> int:
        return len(self._items)

    def image_path(self, index: int) -> Path:
        """File of the photo of item `index`."""
        return self._items[index][0].image

    def mask_path(self, index: int) -> Path:
        """The `.mat` file of item `index`."""
        return self._items[index][0].mask

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        pair, annotator = self._items[index]
        labels = self._labels(index)
        image = read_image(pair.image)
        check_same_size(pair, image, labels.shape)
        masks, ids = split_labels(labels)
        return Sample(image, masks, ids, f"{pair.mask}[{annotator}]", partition=True)

    def shapes(self, index: int) -> Shapes:
        """The annotator's segments of item `index`."""
        labels = self._labels(index)
        return Shapes(labels.shape, [labels])

    def contours(self, index: int) -> Contours:
        """All annotators' boundaries of the photo of item `index`."""
        return Contours(self.boundaries(index), thin=True)

    def _labels(self, index: int) -> LabelMap:
        pair, annotator = self._items[index]
        segmentations = read_segmentations(pair.mask)
        if annotator >= len(segmentations):
            message = (
                f"has {len(segmentations)} annotators (counted from 0), so there is no number {annotator}"
            )
            raise SampleError("missing_annotator", pair.mask, message)
        return segmentations[annotator]

    def segmentations(self, index: int) -> list[LabelMap]:
        """All annotators' (H, W) label maps of the photo of item `index`."""
        return read_segmentations(self.mask_path(index))

    def boundaries(self, index: int) -> list[BoolArray]:
        """All annotators' (H, W) one-pixel boundaries of the photo of item `index`."""
        return read_boundaries(self.mask_path(index))


def count_annotators(path: Path) -> int:
    """Number of annotators in a BSDS500 `.mat` file."""
    return len(_cells(path))


def read_segmentations(path: Path) -> list[LabelMap]:
    """All annotators' (H, W) label maps, int32, from a BSDS500 `.mat` file."""
    return [cell["Segmentation"][0, 0].astype(np.int32) for cell in _cells(path)]


def read_boundaries(path: Path) -> list[BoolArray]:
    """All annotators' (H, W) boundaries as the benchmark uses them, from a BSDS500 `.mat` file."""
    return [cell["Boundaries"][0, 0].astype(bool) for cell in _cells(path)]


def _cells(path: Path) -> npt.NDArray[np.object_]:
    try:
        content = scipy.io.loadmat(path, variable_names=["groundTruth"])
    except Exception as error:
        # On a damaged file scipy raises whatever its parser stumbles over (zlib.error, TypeError…)
        raise SampleError("unreadable", path, f"cannot be read as a Matlab file ({error})") from error
    if "groundTruth" not in content:
        raise SampleError("unreadable", path, "has no variable groundTruth; is it a BSDS500 file?")
    cells: npt.NDArray[np.object_] = content["groundTruth"].ravel()
    return cells
