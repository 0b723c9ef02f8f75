"""What every dataset reader is: a lazy sequence of samples that knows which file each came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from maskwright.data.outlines import Patch, Shapes
from maskwright.errors import DatasetError
from maskwright.io.images import read_header
from maskwright.io.masks import LabelMap
from maskwright.types import BoolArray, Sample


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file of a dataset: a short `code`, the file and a sentence."""

    code: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class SampleError(DatasetError):
    """One item of a dataset cannot be used; `code` says why in one word, for reports."""

    def __init__(self, code: str, path: Path | str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.problem = Problem(code, str(path), message)


@dataclass(frozen=True, eq=False)
class Contours:
    """Boundaries that were drawn as such.

    Args:
        maps: (H, W) bool, one an annotator; of the photo's size, or of the one they were stored at.
        thin: the lines are one pixel wide and may be given any width; others stay as they are.
    """

    maps: Sequence[BoolArray]
    thin: bool = False


class Dataset(Sequence[Sample], ABC):
    """A map-style dataset: the length is cheap, items are decoded when asked for.

    Args:
        unpaired: files that lack their partner; `open_dataset` refuses a dataset that has any.
    """

    def __init__(self, unpaired: Iterable[Problem] = ()) -> None:
        self.unpaired = tuple(unpaired)

    @abstractmethod
    def image_path(self, index: int) -> Path:
        """File of the photo of item `index`; items that share a photo share the path."""

    @abstractmethod
    def mask_path(self, index: int) -> Path:
        """File that holds the annotation of item `index`."""

    def group(self, index: int) -> str:
        """What item `index` must not be parted from when a set is split: its video, or else its photo.

        Nothing is decoded. Readers of videos override it; items that share a photo share the group.
        """
        return str(self.image_path(index))

    def probe(self, index: int) -> None:
        """Look at the photo of item `index` without decoding it.

        Raises:
            FileError: when it is missing or no photo.
        """
        read_header(self.image_path(index))

    @abstractmethod
    def read(self, index: int) -> Sample:
        """Decode item `index`, which is in range.

        Raises:
            FileError: naming the file, when it cannot be used.
        """

    def shapes(self, index: int) -> Shapes:
        """The regions of item `index`, for their outlines.

        Readers of files that hold run lengths, polygons or label maps override it, so that masks never lie in
        memory together.

        Raises:
            FileError: naming the file, when it cannot be used.
        """
        sample = self.read(index)
        return Shapes(sample.image.size, (Patch.of(mask) for mask in sample.masks), image=sample.image)

    def contours(self, index: int) -> Contours | None:
        """The boundaries of item `index`, where the dataset has them beside regions, or none but them.

        Raises:
            FileError: naming the file, when it cannot be used.
        """
        return None

    def segmentations(self, index: int) -> list[LabelMap] | None:
        """All annotators' (H, W) label maps of the photo of item `index`, where several segmented it.

        Raises:
            FileError: naming the file, when it cannot be used.
        """
        return None

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Subset: ...
    def __getitem__(self, index: int | slice) -> Sample | Subset:
        if isinstance(index, slice):
            return Subset(self, range(len(self))[index])
        return self.read(self._position(index))

    def _position(self, index: int) -> int:
        """Turn a negative index into a position; out of range is an IndexError, as for any sequence."""
        try:
            return range(len(self))[index]
        except IndexError:
            raise IndexError(f"item {index} of a dataset of {len(self)}") from None


class Subset(Dataset):
    """Some items of a dataset, in the given order."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        super().__init__()
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def image_path(self, index: int) -> Path:
        """File of the photo of item `index`."""
        return self.dataset.image_path(self.indices[index])

    def mask_path(self, index: int) -> Path:
        """File that holds the annotation of item `index`."""
        return self.dataset.mask_path(self.indices[index])

    def group(self, index: int) -> str:
        """What item `index` must not be parted from."""
        return self.dataset.group(self.indices[index])

    def probe(self, index: int) -> None:
        """Look at the photo of item `index`."""
        self.dataset.probe(self.indices[index])

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        return self.dataset.read(self.indices[index])

    def shapes(self, index: int) -> Shapes:
        """The regions of item `index`."""
        return self.dataset.shapes(self.indices[index])

    def contours(self, index: int) -> Contours | None:
        """The boundaries of item `index`."""
        return self.dataset.contours(self.indices[index])

    def segmentations(self, index: int) -> list[LabelMap] | None:
        """All annotators' label maps of item `index`."""
        return self.dataset.segmentations(self.indices[index])


def with_only(sample: Sample, chosen: Sequence[int]) -> Sample:
    """A sample with some of its masks, which then label every pixel no more."""
    rows = list(chosen)
    return replace(
        sample,
        masks=sample.masks[rows],
        ids=tuple(sample.ids[k] for k in rows),
        categories=None if sample.categories is None else tuple(sample.categories[k] for k in rows),
        soft=None if sample.soft is None else sample.soft[rows],
        uncertainty=None if sample.uncertainty is None else sample.uncertainty[rows],
        partition=False,
    )
