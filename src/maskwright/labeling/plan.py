"""What is to be labelled: the photos in order, cut into shards. Read line by line, whatever its length."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, TypeVar

from maskwright.errors import FileError
from maskwright.io.files import atomic_writer, confine, require_file, shown
from maskwright.io.inputs import ImageFile
from maskwright.io.records import iterate_records

T = TypeVar("T")


@dataclass(frozen=True)
class PlannedImage:
    """One photo of a plan.

    Args:
        number: its place in the plan, from 0.
        name: unlike that of any other photo of the plan; see `io.inputs.ImageFile`.
        path: absolute.
        bytes: size of the file, and
        modified_ns: its time of change, when the plan was made; None: any time will do.
    """

    number: int
    name: str
    path: Path
    bytes: int
    modified_ns: int | None

    @property
    def stamp(self) -> tuple[int, int | None]:
        """What tells that a file is still the same."""
        return self.bytes, self.modified_ns

    def check(self) -> None:
        """Compare the file with what it was when the plan was made, and see whether its name can be stored.

        Raises:
            FileError: it is missing, another one has taken its place, or its name is not Unicode.
        """
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            raise FileError(f"{shown(self.path)}: its name is not valid Unicode; rename it.") from error
        status = require_file(self.path)
        if status.st_size != self.bytes or self.modified_ns not in (None, status.st_mtime_ns):
            raise FileError(f"{shown(self.path)} has changed since the plan was made: label it again.")

    def elsewhere(self, folder: Path | None) -> PlannedImage:
        """The same photo for work on its labels: below another folder, if one is given, and of any time.

        Copied, moved and restored photos have new times. That it is the same one is seen by its size in
        bytes here, and by its size in pixels when it is compared with its masks.

        Raises:
            FileError: its name leads out of the folder.
        """
        path = self.path if folder is None else confine(folder, self.name)
        return replace(self, path=path, modified_ns=None)


@dataclass(frozen=True)
class Shard:
    """The photos whose labels go into one file, or one group of files.

    Args:
        number: its place, from 0.
        images: its photos, in the plan's order.
        inputs: hash of what else its labels are made from, such as a shard of masks; "" for nothing else.
    """

    number: int
    images: tuple[PlannedImage, ...]
    inputs: str = ""

    def to_json(self) -> str:
        """As text, for another process."""
        return json.dumps({**asdict(self), "images": [_plain(image) for image in self.images]})

    @classmethod
    def from_json(cls, text: str) -> Shard:
        """The shard of `to_json`."""
        values = json.loads(text)
        images = tuple(_image(record, record["number"]) for record in values["images"])
        return cls(values["number"], images, values["inputs"])


@dataclass(frozen=True)
class Plan:
    """The photos in a file of JSON lines, `shard_images` to a shard."""

    path: Path
    shard_images: int

    @classmethod
    def write(cls, path: Path, images: Iterable[PlannedImage], shard_images: int) -> Plan:
        """Write the photos, atomically.

        Raises:
            FileError: naming the path and the reason.
        """
        with atomic_writer(path) as file:
            for image in images:
                record = _plain(image)
                del record["number"]
                file.write(json.dumps(record).encode() + b"\n")
        return cls(path, shard_images)

    def images(self) -> Iterator[PlannedImage]:
        """The photos, in order."""
        return (_image(record, number) for number, record in enumerate(iterate_records(self.path)))

    def shards(self) -> Iterator[Shard]:
        """The shards, in order; all but the last have `shard_images` photos."""
        groups = batched(self.images(), self.shard_images)
        return (Shard(number, group) for number, group in enumerate(groups))


def batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Cut into groups of `size`; the last may be smaller."""
    rest = iter(items)
    while group := tuple(islice(rest, size)):
        yield group


def planned(images: Iterable[ImageFile]) -> Iterator[PlannedImage]:
    """Look at each file's size and time.

    Raises:
        FileError: one has gone.
    """
    for number, image in enumerate(images):
        status = require_file(image.path)
        yield PlannedImage(number, image.name, image.path, status.st_size, status.st_mtime_ns)


def changes(before: Plan, images: list[PlannedImage], may_change: frozenset[str]) -> list[str]:
    """One line for each photo that was added, is missing, or has changed, except `may_change` if changed.

    Memory for the names is only taken where something differs.
    """
    if all(_same(one, other, may_change) for one, other in zip_longest(before.images(), images)):
        return []
    old = {image.name: image for image in before.images()}
    new = {image.name: image for image in images}
    return [
        *(f"photo missing: {name}" for name in old if name not in new),
        *(f"photo added: {name}" for name in new if name not in old),
        *(
            f"photo changed: {name}"
            for name in new
            if name in old and (old[name].path != new[name].path or old[name].stamp != new[name].stamp)
            if name not in may_change
        ),
    ]


def _same(one: PlannedImage | None, other: PlannedImage | None, may_change: frozenset[str]) -> bool:
    if one is None or other is None or (one.name, one.path) != (other.name, other.path):
        return False
    return one.stamp == other.stamp or one.name in may_change


def _plain(image: PlannedImage) -> dict[str, Any]:
    return {**asdict(image), "path": str(image.path)}


def _image(record: dict[str, Any], number: int) -> PlannedImage:
    return PlannedImage(number, record["name"], Path(record["path"]), record["bytes"], record["modified_ns"])
