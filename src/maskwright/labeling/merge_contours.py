"""Sets of contours that share photos, merged into one: the labels of each photo together.

Several datasets annotate the same photos (COCO's in COCONut, LVIS and PACO; ImageNet's in PartImageNet++ and
SPIN). DirectSAM merges their files and renames the originals; here the originals stay as they are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from maskwright.data.dsa import DSA
from maskwright.data.dsa_folder import KIND
from maskwright.data.mixture import Mixture, origin
from maskwright.data.registry import open_dataset
from maskwright.errors import ConfigError, FileError
from maskwright.io.contour_files import Contour, ContourRecord
from maskwright.io.files import read_bytes, require_file, shown
from maskwright.labeling.contours import ContourFiles, ContourFormat, numbered
from maskwright.labeling.folder import LabelFolder
from maskwright.labeling.plan import Plan, PlannedImage, Shard

By = Literal["path", "content"]


@dataclass(frozen=True)
class Group:
    """The items of all sets that are of one photo, by their numbers."""

    subset: str
    items: tuple[int, ...]


class MergeWorker(ContourFiles):
    """Merges the records of each photo.

    Args:
        folder: where the merged set goes.
        specs: sets, `dsa:FOLDER[?OPTIONS]`, in the order of their labels.
        by: what tells that photos are the same: the file's path, or its bytes.
        format: "dsa" (JSON as published) or "parquet".
        relative: store the photos' paths relative to the folder.

    Raises:
        ConfigError: the merged set would lie in one of the sets, or one is no set of contours.
        DatasetError: one cannot be opened.
    """

    def __init__(
        self,
        folder: LabelFolder,
        specs: Sequence[str],
        by: By = "path",
        format: ContourFormat = "dsa",
        *,
        relative: bool = False,
    ) -> None:
        super().__init__(folder, format, relative=relative)
        self.specs = tuple(specs)
        self.by = by
        sets = [open_dataset(spec) for spec in self.specs]
        self.all = Mixture([(each, 1.0) for each in sets])
        for spec, each in zip(self.specs, sets, strict=True):
            reader = origin(each, 0)[0]
            if not isinstance(reader, DSA):
                raise ConfigError(f"{spec} is no set of contours: give folders, or dsa:FOLDER.")
            if reader.root.resolve() == folder.path.resolve():
                raise ConfigError(f"{shown(folder.path)} is one of the sets: choose another folder.")
        self.groups = self._grouped()

    def _grouped(self) -> list[Group]:
        found: dict[str, list[int]] = {}
        for number in range(len(self.all)):
            found.setdefault(self._key(number), []).append(number)
        groups = []
        for items in found.values():
            subsets = {reader.subset(place) for reader, place in map(self.locate, items)}
            groups.append(Group("+".join(sorted(subsets)), tuple(items)))
        return sorted(groups, key=lambda group: group.subset)

    def _key(self, number: int) -> str:
        photo = self.all.image_path(number)
        if self.by == "path":
            return os.path.realpath(photo)
        try:
            return hashlib.sha256(read_bytes(photo)).hexdigest()
        except FileError:
            # A photo that cannot be read is like no other; it fails when its turn comes.
            return f"{number}: {photo}"

    def locate(self, number: int) -> tuple[DSA, int]:
        """The set of an item and its place there."""
        reader, place = origin(self.all, number)
        assert isinstance(reader, DSA)
        return reader, place

    def planned(self) -> list[PlannedImage]:
        """The photos, each by the file of its first record: it is what is read."""
        counts: dict[str, int] = {}
        for group in self.groups:
            counts[group.subset] = counts.get(group.subset, 0) + 1
        names = numbered(list(counts), list(counts.values()))
        images = []
        for number, (name, group) in enumerate(zip(names, self.groups, strict=True)):
            path = self.all.mask_path(group.items[0]).absolute()
            status = require_file(path)
            images.append(PlannedImage(number, name, path, status.st_size, status.st_mtime_ns))
        return images

    def shards(self, plan: Plan) -> Iterator[Shard]:
        """The plan's shards, each with what tells that the files of its records are the same."""
        for shard in plan.shards():
            total = hashlib.sha256()
            for image in shard.images:
                for item in self.groups[image.number].items:
                    path = self.all.mask_path(item)
                    status = require_file(path)
                    total.update(f"{path}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
            yield replace(shard, inputs=total.hexdigest())

    def record(self, shard_images: int) -> dict[str, Any]:
        """All that decides the labels."""
        return {
            "kind": KIND,
            "model": "",
            "merged": list(self.specs),
            "by": self.by,
            "relative_paths": self.relative,
            "files": self.kind,
            "shard_images": shard_images,
        }

    def prepare(self) -> None:
        """Nothing has to be loaded."""

    def release(self) -> None:
        """Nothing was loaded."""

    def label(self, image: PlannedImage) -> list[ContourRecord]:
        """The merged record of one photo.

        Raises:
            FileError: one of its records cannot be read, or they are of photos of different sizes.
        """
        items = self.groups[image.number].items
        photo = self.all.image_path(items[0])
        records = [reader.record(place) for reader, place in map(self.locate, items)]
        if self.by == "content":
            require_file(photo)
        sizes = dict.fromkeys(record.image_size for record in records if record.image_size is not None)
        if len(sizes) > 1:
            told = [f"{width}×{height}" for height, width in sizes]
            files = ", ".join(shown(self.all.mask_path(item)) for item in items)
            raise FileError(
                f"{files} are of one photo by its {self.by}, but record other sizes: {', '.join(told)}."
            )
        return [joined(records, self.stored_path(photo), next(iter(sizes), None))]


def joined(records: Sequence[ContourRecord], image_path: str, size: tuple[int, int] | None) -> ContourRecord:
    """One record with all human labels, and of each model's pseudo-labels the last one."""
    order: list[str] = []
    for record in records:
        # What a record has before a source that is known goes before it: the newest stays last.
        place = len(order)
        for each in reversed(record.pseudo):
            if each.source in order:
                place = order.index(each.source)
            else:
                order.insert(place, each.source)
    last: dict[str, Contour] = {each.source: each for record in records for each in record.pseudo}
    human = dict.fromkeys(each for record in records for each in record.human)
    return ContourRecord(image_path, size, tuple(last[source] for source in order), tuple(human))
