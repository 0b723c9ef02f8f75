"""SA-1B in the archives that SUM's released code reads: one tar a photo of soft masks, one of refined ones.

A photo's archive holds `metadata.csv`, as SAM's own script for whole folders writes it, and for each mask
`000_probs.png`, its 8-bit probability at the photo's size. The archive of refined masks holds `0.png`, at low
resolution in the photo's square input frame (longer side 1024, padded right and below). Both are found by the
photo's name, so that a map can never belong to another photo.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maskwright.data.area import SIDE, AreaFilter
from maskwright.data.dataset import Problem, SampleError
from maskwright.data.files import PairedFiles, list_below, pair_files, require_folders
from maskwright.data.grids import Grid
from maskwright.data.soft_maps import Place, maps_of
from maskwright.data.transforms import Size
from maskwright.errors import DatasetError
from maskwright.io.byte_maps import decode_map
from maskwright.io.images import read_image
from maskwright.io.inputs import IMAGE_SUFFIXES
from maskwright.io.label_shards import MAX_MAP_PIXELS, shares
from maskwright.io.tar import read_tar
from maskwright.types import ByteArray, FloatArray, Sample

TREE = """\
  FOLDER/                  in it or in folders below it
    sa_1.jpg               another folder: images=DIR
    sa_1.tar               metadata.csv, 000_probs.png, 001_probs.png …
  and in another folder, with maps=DIR
    sa_1.tar               refined masks: 0.png, 1.png …"""

_LABELS = re.compile(r"metadata\.csv|\d{1,6}_probs\.png")
_REFINED = re.compile(r"\d{1,6}\.png")
_COLUMNS = ("area", "crop_box_w", "crop_box_h")


LOW = 256
"""Side of SAM's low-resolution maps, from which the archived ones were enlarged."""
KEPT = 1 << 27
"""Bytes of decoded maps that a sample keeps: enough for some forty of SA-1B's size, so that the masks of a
usual photo are decoded once, and little beside the masks themselves where there are hundreds."""


@dataclass(frozen=True, eq=False)
class _Mask:
    """One mask: its number, its archived PNG (small, unlike its pixels), and the refined map.

    `kept` are its pixels, where they are kept.
    """

    number: int
    packed: bytes
    where: str
    size: tuple[int, int]
    refined: ByteArray | None
    kept: ByteArray | None = None

    def values(self) -> ByteArray:
        if self.kept is not None:
            return self.kept
        return decode_map(self.packed, self.where, self.size[0] * self.size[1])

    def grid(self, blocks: Size) -> Grid:
        return self._place().grid((LOW, LOW), blocks)

    def probability(self, grid: Grid) -> FloatArray:
        values = self.values()
        return shares(values if grid.is_whole else grid.look(values))

    def uncertainty(self, grid: Grid) -> FloatArray:
        if self.refined is None:
            return np.zeros(grid.shape, np.float32)
        difference = self.probability(grid)
        difference -= self._place().to_image(self.refined, grid)
        return np.abs(difference, out=difference)

    def _place(self) -> Place:
        return Place(self.size, (0, 0, self.size[1], self.size[0]), SIDE, "pad")


class SumTar(PairedFiles):
    """Photos with an archive of soft masks each; a sample's ids are the masks' numbers in it.

    A mask is where its probability is above one half. `soft` is that probability, and `uncertainty`, where
    there are refined masks, |probability - refined probability|; it is 0 for a mask without a refined one
    and below `min_refine_ratio`. Both are `Maps`.

    Args:
        root: folder of the archives.
        images: folder of the photos, if it is another one; names count, folders do not.
        maps: folder of the archives of refined masks, or None for no uncertainty.
        min_ratio: keep masks of this size; see `AreaFilter` for these three.
        min_refine_ratio: masks of this size have an uncertainty.
        max_ratio: keep masks that cover at most this share of their crop.
        partial: trust the labels of a photo that has no archive of refined masks, instead of refusing it.
    """

    def __init__(
        self,
        root: Path,
        *,
        images: str | None = None,
        maps: str | None = None,
        min_ratio: float = 1.0,
        min_refine_ratio: float = 100.0,
        max_ratio: float = 0.95,
        partial: bool = False,
    ) -> None:
        require_folders("sumtar", root, [part for part in (images, maps) if part], TREE)
        self.filter = AreaFilter(min_ratio, min_refine_ratio, max_ratio)
        refined = [] if maps is None else list_below(root / maps, [".tar"])
        archives = sorted(set(list_below(root, [".tar"])) - set(refined))
        # SA-1B's photos are many more than those labelled: the archives say which are meant.
        labelled = {path.stem for path in archives}
        photos = list_below(root / images if images else root, IMAGE_SUFFIXES)
        pairs, problems = pair_files([path for path in photos if path.stem in labelled], archives)
        self.refined = None if maps is None else {path.stem: path for path in refined}
        if self.refined is not None and not partial:
            problems += [
                Problem(
                    "missing_map", str(pair.image), f"has no refined masks {pair.mask.name} (partial=true)"
                )
                for pair in pairs
                if pair.mask.stem not in self.refined
            ]
        if pairs and self.refined is not None and not any(pair.mask.stem in self.refined for pair in pairs):
            raise DatasetError(f"{root / str(maps)} has no archive named like one in {root}.\n{TREE}")
        super().__init__(pairs, problems)

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        pair = self.pairs[index]
        image = read_image(pair.image)
        found = list(self._masks(pair.mask, image.size))
        masks = np.zeros((len(found), *image.size), bool)
        keep = KEPT // max(1, image.size[0] * image.size[1])
        for place, (mask, entry) in enumerate(zip(masks, found, strict=True)):
            values = entry.values()
            if values.shape != image.size:
                (height, width), (rows, columns) = image.size, values.shape
                message = f"is {columns}×{rows}, and {pair.image} is {width}×{height}"
                raise SampleError("size_mismatch", entry.where, message)
            np.greater(values, 127, out=mask)
            if place < keep:
                found[place] = replace(entry, kept=values)
        return Sample(
            image,
            masks,
            tuple(entry.number for entry in found),
            str(pair.mask),
            soft=maps_of(found, image.size, "probability"),
            uncertainty=None if self.refined is None else maps_of(found, image.size, "uncertainty"),
        )

    def _masks(self, archive: Path, size: tuple[int, int]) -> Iterator[_Mask]:
        members = read_tar(archive, _LABELS)
        path = None if self.refined is None else self.refined.get(archive.stem)
        # 0.png as released, or 000.png.
        maps = {} if path is None else read_tar(path, _REFINED)
        refined = {int(name[:-4]): data for name, data in maps.items()}
        for number, area, width, height in _rows(archive, members.get("metadata.csv")):
            if not self.filter.keeps(area, width, height):
                continue
            name = f"{number:03d}_probs.png"
            if name not in members:
                raise SampleError("missing_mask", archive, f"metadata.csv lists {name}, which is not there")
            map_ = None
            if number in refined and self.filter.refines(area, width, height):
                map_ = decode_map(refined[number], f"{path}[{number}.png]", MAX_MAP_PIXELS)
            yield _Mask(number, members[name], f"{archive}[{name}]", size, map_)


def _rows(archive: Path, table: bytes | None) -> Iterator[tuple[int, float, int, int]]:
    """Number, area and width and height of the crop of each mask."""
    if table is None:
        raise SampleError("missing_mask", archive, "holds no metadata.csv, so it is not of SUM's layout")
    try:
        reader = csv.DictReader(io.StringIO(table.decode("utf-8-sig")), strict=True)
        lacking = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(f"it has no column {', '.join(lacking)}")
        for place, row in enumerate(reader):
            width, height = int(float(row["crop_box_w"])), int(float(row["crop_box_h"]))
            if width < 1 or height < 1:
                raise ValueError(f"line {place + 2} has a crop of {width}×{height} pixels")
            area = float(row["area"])
            if not 0 <= area <= width * height:
                raise ValueError(f"line {place + 2} has an area of {area} in such a crop")
            yield int(row.get("id") or place), area, width, height
    except (csv.Error, ValueError, TypeError, OverflowError) as error:
        raise SampleError("malformed_mask", f"{archive}[metadata.csv]", f"cannot be read: {error}") from error
