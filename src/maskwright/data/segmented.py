"""What `maskwright segment` and `personalize` leave in a folder, read as a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maskwright.data.dataset import Dataset, SampleError
from maskwright.data.known import KnownMask
from maskwright.data.outlines import Shapes
from maskwright.errors import DatasetError, MaskError
from maskwright.io.files import confine
from maskwright.io.images import read_image
from maskwright.io.records import read_records
from maskwright.io.rle import RLE
from maskwright.types import Sample

TREE = """\
  FOLDER/             as `maskwright segment PHOTOS --out FOLDER` makes it
    results.jsonl"""
RECORDS = "results.jsonl"


class SegmentedFolder(Dataset):
    """The finished photos of a run, each with one mask a prompt: of several, the one the model selects.

    A sample's ids are the masks' places in the photo's record.

    Args:
        root: the folder.
        images: folder that holds the photos by their names, if they are not where they were.

    Raises:
        DatasetError: the folder holds no such run, or a record is damaged.
    """

    def __init__(self, root: Path, *, images: str | None = None) -> None:
        super().__init__()
        self.file = root / RECORDS
        if not self.file.is_file():
            raise DatasetError(f"{root} holds no results of `maskwright segment`:\n{TREE}")
        # Of a photo that was done twice the last record stands.
        self.records = list({record.get("path"): record for record in read_records(self.file)}.values())
        self.folder = None if images is None else root / images
        for record in self.records:
            missing = {"path", "source", "height", "width", "masks", "scores", "extra"} - record.keys()
            if missing:
                raise DatasetError(
                    f"{self.file}: the record of {record.get('path')!r} lacks {', '.join(sorted(missing))}; "
                    "was it edited? Segment anew with --overwrite."
                )

    def __len__(self) -> int:
        return len(self.records)

    def image_path(self, index: int) -> Path:
        """File of the photo of item `index`."""
        record = self.records[index]
        return Path(record["source"]) if self.folder is None else confine(self.folder, record["path"])

    def mask_path(self, index: int) -> Path:
        """The file of the records, which holds all masks."""
        return self.file

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        record = self.records[index]
        image = read_image(self.image_path(index))
        size = (int(record["height"]), int(record["width"]))
        if image.size != size:
            sizes = f"was segmented at {size[1]}×{size[0]}, and is {image.size[1]}×{image.size[0]}"
            raise SampleError("size_mismatch", image.source, f"{sizes}: it has changed; segment it anew")
        kept = self._selected(record)
        masks = np.zeros((len(kept), *size), bool)
        for mask, place in zip(masks, kept, strict=True):
            mask[:] = self._mask(record, place).decode()
        categories = record.get("categories")
        names = None if categories is None else tuple(categories[place] for place in kept)
        return Sample(image, masks, tuple(kept), f"{self.file}[{record['path']}]", categories=names)

    def shapes(self, index: int) -> Shapes:
        """The masks of item `index`, packed."""
        record = self.records[index]
        size = (int(record["height"]), int(record["width"]))
        return Shapes(size, (self._mask(record, place) for place in self._selected(record)))

    def known(self, index: int) -> list[KnownMask] | None:
        """The masks of item `index` with the quality that was expected of them; None without heads."""
        record = self.records[index]
        quality = record["extra"].get("quality")
        if quality is None:
            # Without a mask there is nothing of which something could be expected.
            return None if record["masks"] else []
        names = record.get("categories") or [None] * len(record["masks"])
        return [
            KnownMask(place, self._mask(record, place), float(quality[place]), names[place])
            for place in self._selected(record)
        ]

    def _selected(self, record: Mapping[str, Any]) -> list[int]:
        """Of each prompt the mask of the highest score; the first of equals."""
        best: dict[int, int] = {}
        for place, prompt in enumerate(record["extra"]["prompt"]):
            if record["scores"][place] > record["scores"][best.setdefault(prompt, place)]:
                best[prompt] = place
        return sorted(best.values())

    def _mask(self, record: Mapping[str, Any], place: int) -> RLE:
        try:
            return RLE((int(record["height"]), int(record["width"])), record["masks"][place])
        except MaskError as error:
            where = f"{self.file}[{record['path']}, mask {place}]"
            raise SampleError("malformed_mask", where, str(error)) from error
