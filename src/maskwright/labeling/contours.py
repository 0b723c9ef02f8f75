"""What the workers that write contours share: the files of a shard, and paths of photos in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from maskwright.errors import FileError
from maskwright.io.contour_files import ContourRecord, write_contour_shard, write_contours
from maskwright.io.files import make_folder, shown
from maskwright.labeling.folder import LabelFolder
from maskwright.labeling.plan import Shard

ContourFormat = Literal["dsa", "parquet"]


class ContourFiles:
    """Writes records of contours: one JSON file a photo, or Parquet shards.

    Args:
        folder: of the set.
        format: "dsa" for JSON, or "parquet".
        relative: store the photos' paths relative to the folder.
    """

    def __init__(self, folder: LabelFolder, format: ContourFormat, *, relative: bool) -> None:
        self.folder = folder
        self.kind: Literal["dsa", "contours"] = "dsa" if format == "dsa" else "contours"
        self.relative = relative

    def files(self, shard: Shard) -> list[Path]:
        """The shard's Parquet file, or the JSON files of its photos."""
        return self.folder.files(shard, self.kind)

    def write(self, shard: Shard, rows: Sequence[Sequence[ContourRecord] | None]) -> None:
        """Write the shard's files.

        Raises:
            FileError: they cannot be written.
        """
        named = [(image.name, part) for image, part in zip(shard.images, rows, strict=True)]
        if self.kind == "contours":
            path = self.folder.contours(shard.number)
            make_folder(path.parent)
            write_contour_shard(path, [(name, record) for name, part in named for record in part or ()])
            return
        for name, part in named:
            path = self.folder.contours_of(name)
            make_folder(path.parent)
            if part is None:
                path.unlink(missing_ok=True)
            else:
                write_contours(path, part[0])

    def stored_path(self, photo: Path) -> str:
        """A photo's path as it is written.

        Raises:
            FileError: it lies on another drive, so that there is no relative path.
        """
        if not self.relative:
            return str(photo.absolute())
        try:
            return Path(os.path.relpath(photo.absolute(), self.folder.path.absolute())).as_posix()
        except ValueError as error:
            raise FileError(
                f"{shown(photo)} lies on another drive than {shown(self.folder.path)}: leave out "
                "--relative-paths."
            ) from error


def numbered(subsets: Sequence[str], counts: Sequence[int]) -> list[str]:
    """Names of items as they are published: number within the subset, which is made unlike the others.

    Args:
        subsets: name of each part.
        counts: items of each part.
    """
    seen: dict[str, int] = {}
    names: list[str] = []
    for subset, count in zip(subsets, counts, strict=True):
        seen[subset] = seen.get(subset, 0) + 1
        folder = subset if seen[subset] == 1 else f"{subset}-{seen[subset]}"
        names += (f"{folder}/{number:07d}" for number in range(count))
    return names
