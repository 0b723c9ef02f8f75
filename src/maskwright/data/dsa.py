"""DirectSAM's self-annotated sets: photos with contours by models and by people (`io.contour_files`).

The published folders and those of `maskwright label boundaries`, as JSON or Parquet. Released labels unite a
model's lines of a few pixels with people's of eight, so that what a width means depends on who drew. Here the
union is thinned, and drawn again at the width and size of the target (`boundary_targets`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from maskwright.data.boundary_targets import resize_lines
from maskwright.data.dataset import Contours, Dataset, SampleError
from maskwright.data.dsa_folder import Entry, finished_entries
from maskwright.data.thin_lines import thin_lines
from maskwright.errors import DatasetError, FileError, suggestion
from maskwright.io.contour_files import Contour, ContourRecord, read_contour_row, read_contours
from maskwright.io.images import read_header, read_image
from maskwright.types import Image, Sample

TREE = """\
  FOLDER/                 as `maskwright label boundaries --out FOLDER` makes it, or as published
    SUBSET/0000000.json   such as ade20k/0000000.json; files that begin with _ are left out
or, with --format parquet,
    contours/00000.parquet"""

LABELS = ("merged", "pseudo", "human")
SPLITS = ("all", "train", "val")
# Published: of each subset's files, sorted, the first 99 % train.
TRAIN_SHARE = 0.99
# Items of each subset that are asked which sources there are.
_ASKED = 20


class DSA(Dataset):
    """Photos with contours of several sources; a sample's masks are the chosen labels, as lines.

    Args:
        root: the folder.
        label: "merged": a model's and people's lines together; "pseudo" or "human": only these.
        pseudo: which model's; its name, with or without the digest. By default the newest of each photo.
        human: only the people's of these sources; by default all.
        width: "equal": lines of all sources thinned and drawn alike; "stored": as wide as they are.
        split: "all", or of each subset the first 99 % ("train") or the rest ("val").
        images: folder that holds the photos now: the longest end of a stored path that is found below it.
        partial: take the finished part of a run that is still going.

    Raises:
        DatasetError: no such set, one that is not finished, or a source that none of its first photos has.
    """

    def __init__(
        self,
        root: Path,
        *,
        label: Literal["merged", "pseudo", "human"] = "merged",
        pseudo: str | None = None,
        human: Sequence[str] = (),
        width: Literal["equal", "stored"] = "equal",
        split: Literal["all", "train", "val"] = "all",
        images: str | None = None,
        partial: bool = False,
    ) -> None:
        super().__init__()
        self.root = root
        self.label, self.pseudo, self.human, self.width = label, pseudo, tuple(human), width
        self.images = None if images is None else root / images
        self.items = list(_split(finished_entries(root, TREE, partial=partial), split))
        self._read = lru_cache(maxsize=4)(_read_entry)
        self._check_sources()
        if self.items and not self.image_path(0).is_file():
            raise DatasetError(
                f"{self.image_path(0)} does not exist. If the photos of {root} are elsewhere, say where with "
                "images=FOLDER."
            )

    def __getstate__(self) -> dict[str, object]:
        """For processes that load data: each has its own memory of what was read last."""
        return {**self.__dict__, "_read": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update({**state, "_read": lru_cache(maxsize=4)(_read_entry)})

    def __len__(self) -> int:
        return len(self.items)

    def image_path(self, index: int) -> Path:
        """File of the photo of item `index`; where its record cannot be read, the record's file."""
        try:
            stored = self.record(index).image_path
        except FileError:
            # `read` says why; listings go on.
            return self.mask_path(index)
        return self.root / stored if self.images is None else _below(self.images, stored)

    def mask_path(self, index: int) -> Path:
        """The JSON file of item `index`, or its shard."""
        return self.items[index].path

    def subset(self, index: int) -> str:
        """The part of the set that item `index` belongs to, such as the dataset it is from."""
        return self.items[index].subset

    def record(self, index: int) -> ContourRecord:
        """All that is stored of item `index`.

        Raises:
            SampleError: it is malformed.
            FileError: it cannot be read.
        """
        return self._read(self.items[index])

    def photo(self, index: int) -> Image:
        """The photo of item `index`.

        Raises:
            SampleError: it is not of the size that was recorded, so it is another one.
            FileError: it cannot be read.
        """
        self.record(index)  # before its path is asked for
        image = read_image(self.image_path(index))
        self._check_size(index, image.size)
        return image

    def contours(self, index: int) -> Contours:
        """The lines of item `index` that the options ask for, together, at the largest of their sizes.

        Raises:
            SampleError: it has no label of the wanted kind or source, or the photo is another one.
            FileError: it cannot be read.
        """
        labels = [each.label for each in self.chosen(index)]
        self._check_size(index, read_header(self.image_path(index)).size)
        height, width = (max(label.size[axis] for label in labels) for axis in (0, 1))
        equal = self.width == "equal"
        union = np.zeros((height, width), np.bool_)
        for label in labels:
            union |= resize_lines(label.decode(), union.shape, "exact" if equal else "official")
        return Contours([thin_lines(union) if equal else union], thin=equal)

    def chosen(self, index: int) -> list[Contour]:
        """The labels of item `index` that the options ask for: pseudo first.

        Raises:
            SampleError: there is none, or none by the model that was asked for.
        """
        record = self.record(index)
        labels: list[Contour] = []
        if self.label != "human":
            labels += self._chosen_pseudo(index, record)
        if self.label != "pseudo":
            labels += [each for each in record.human if not self.human or each.source in self.human]
        if not labels:
            wanted = {"merged": "label", "pseudo": "pseudo-label", "human": "human label"}[self.label]
            known = ", ".join(each.source for each in (*record.pseudo, *record.human)) or "nobody"
            raise SampleError(
                "empty_mask", self._place(index), f"has no {wanted} as asked for; it is labelled by {known}"
            )
        return labels

    def read(self, index: int) -> Sample:
        """Decode item `index`: one mask a label, resized to the photo, with its source as category."""
        labels, image = self.chosen(index), self.photo(index)
        masks = np.stack([resize_lines(each.label.decode(), image.size) for each in labels])
        ids = tuple(range(1, len(labels) + 1))
        return Sample(image, masks, ids, self._place(index), tuple(each.source for each in labels))

    def _chosen_pseudo(self, index: int, record: ContourRecord) -> tuple[Contour, ...]:
        if self.pseudo is None:
            return record.pseudo[-1:]
        found = tuple(each for each in record.pseudo if is_source(each.source, self.pseudo))[-1:]
        if not found:
            known = ", ".join(each.source for each in record.pseudo) or "none"
            message = f"has no pseudo-label of {self.pseudo!r}; it has: {known}"
            raise SampleError("empty_mask", self._place(index), message)
        return found

    def _check_size(self, index: int, size: tuple[int, int]) -> None:
        stored = self.record(index).image_size
        if stored is None or stored == size:
            return
        recorded = f"records a photo of {stored[1]}×{stored[0]}, but {self.image_path(index)} is"
        message = f"{recorded} {size[1]}×{size[0]}: it has changed, or is another one"
        code = "exif_rotation" if stored == size[::-1] else "size_mismatch"
        raise SampleError(code, self._place(index), message)

    def _check_sources(self) -> None:
        """Refuse names that nobody has, which would quietly leave labels out."""
        asked = [name for name in (self.pseudo, *self.human) if name is not None]
        if not asked:
            return
        pseudo, human = known_sources(self)
        for name, known in [(self.pseudo, pseudo), *((name, human) for name in self.human)]:
            if name is not None and not any(is_source(each, name) for each in known):
                listed = ", ".join(known) or "none"
                raise DatasetError(
                    f"{self.root}: nobody named {name!r} has labelled its photos; known: {listed}."
                    f"{suggestion(name, known)}"
                )

    def _place(self, index: int) -> str:
        item = self.items[index]
        return str(item.path) if item.row is None else f"{item.path}[{item.name}]"


def known_sources(dataset: DSA) -> tuple[list[str], list[str]]:
    """Sources of pseudo- and of human labels, from the first photos of each subset, in the order seen."""
    pseudo, human = dict[str, None](), dict[str, None]()
    for _, group in groupby(range(len(dataset)), dataset.subset):
        for index in islice(group, _ASKED):
            try:
                record = dataset.record(index)
            except FileError:
                continue  # told when it is read
            pseudo.update((each.source, None) for each in record.pseudo)
            human.update((each.source, None) for each in record.human)
    return list(pseudo), list(human)


def is_source(source: str, wanted: str) -> bool:
    """Whether a stored source is the one that is meant, by its name with or without the digest."""
    return wanted in (source, source.rpartition(":")[0])


def _read_entry(entry: Entry) -> ContourRecord:
    try:
        return read_contours(entry.path) if entry.row is None else read_contour_row(entry.path, entry.row)
    except FileError as error:
        text = str(error).removeprefix(f"{entry.path}: ").removeprefix(f"{entry.path} ")
        raise SampleError("malformed_mask", entry.path, text) from error


def _split(entries: Iterable[Entry], split: str) -> Iterator[Entry]:
    for _, group in groupby(entries, lambda entry: entry.subset):
        files = list(group)
        count = int(TRAIN_SHARE * len(files))
        yield from {"all": files, "train": files[:count], "val": files[count:]}[split]


def _below(folder: Path, stored: str) -> Path:
    """The file below a folder whose path ends like a stored one, for as long an end as there is."""
    parts = [part for part in PurePosixPath(stored.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    ends = (folder.joinpath(*parts[start:]) for start in range(len(parts)))
    return next((path for path in ends if path.is_file()), folder / PurePosixPath(stored).name)
