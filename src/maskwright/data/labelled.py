"""Labelled sets: what `maskwright label masks` and `label refine` leave in a folder.

Each photo has its machine-made masks, their soft form σ(s), and, once refined, the uncertainty
u = |σ(s) - σ(r)| (SUM, Liu et al. 2024, eq. 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from maskwright.data.area import AreaFilter
from maskwright.data.dataset import Dataset, SampleError
from maskwright.data.files import require_folders
from maskwright.data.known import KnownMask
from maskwright.data.outlines import Shapes
from maskwright.data.soft_maps import Place, SoftMask, maps_of
from maskwright.errors import DatasetError, MaskError
from maskwright.io.byte_maps import decode_map
from maskwright.io.files import confine, require_file
from maskwright.io.images import read_header, read_image
from maskwright.io.label_shards import MAX_MAP_PIXELS, MaskRow, read_masks, read_refined
from maskwright.io.records import iterate_records, read_records
from maskwright.io.rle import RLE
from maskwright.io.shards import read_set, shard_path
from maskwright.types import ByteArray, Maps, Sample

TREE = """\
  FOLDER/                     as `maskwright label masks PHOTOS --out FOLDER` makes it
    set.json
    plan.jsonl, ledger.jsonl
    masks/00000.parquet
    refined/00000.parquet     after `maskwright label refine FOLDER`"""


@dataclass(frozen=True, slots=True)
class _Item:
    """A photo of what may be millions; its path is text, for a `Path` is thrice as large."""

    name: str
    path: str
    shard: int


class LabelledSet(Dataset):
    """The photos of a labelled set, each with the masks that pass the area filters.

    A sample's ids are the masks' numbers in their photo. `soft` is σ(s), and `uncertainty` is u where the set
    was refined, or else None; both are `Maps`. Masks below `min_refine_ratio` are trusted: they have u = 0.
    Photos that could not be labelled, or in a refined set not refined, are no items.

    Args:
        root: the folder.
        min_ratio: keep masks of this size; see `AreaFilter` for these three.
        min_refine_ratio: masks of this size have an uncertainty.
        max_ratio: keep masks that cover at most this share of their crop.
        target: "label": masks as the model made them. "refined": refined masks in their place where there
            are any. `soft` is then σ(r), and `uncertainty` the refiner's own, 1 - |2 σ(r) - 1|: where the two
            disagree, the refiner is mostly right, and so u would say nothing of its masks.
        images: folder that holds the photos by their names in the plan, if they are not where they were.
        partial: take the finished shards of a run that is still going.

    Raises:
        DatasetError: no labelled set of masks, or one that is not finished, or without a photo that worked.
    """

    def __init__(
        self,
        root: Path,
        *,
        min_ratio: float = 1.0,
        min_refine_ratio: float = 100.0,
        max_ratio: float = 0.95,
        target: Literal["label", "refined"] = "label",
        images: str | None = None,
        partial: bool = False,
    ) -> None:
        super().__init__()
        self.root = root
        self.filter = AreaFilter(min_ratio, min_refine_ratio, max_ratio)
        self.target = target
        shard_images = _read_set(root)
        self.refined = (root / "refined.json").is_file()
        if target == "refined" and not self.refined:
            raise DatasetError(
                f"{root} has no refined masks: make them with `maskwright label refine {root}`."
            )
        photos = sum(1 for _ in _plan(root))
        finished = _finished(root, -(-photos // shard_images), self.refined, partial)
        folder = None if images is None else root / images
        self.items = [
            _Item(name, path if folder is None else str(confine(folder, name)), shard)
            for number, (name, path) in enumerate(_plan(root))
            if (shard := number // shard_images) in finished and name not in finished[shard]
        ]
        if photos and finished and not self.items:
            done, command = ("refined", "refine") if self.refined else ("labelled", "masks")
            raise DatasetError(
                f"{root}: every photo failed to be {done}, as `maskwright label {command}` said; put right "
                "what it names, and give it again with --retry-failed."
            )
        if self.items and not self.image_path(0).is_file():
            raise DatasetError(
                f"{self.items[0].path} does not exist. If the photos of {root} have moved, say where they "
                "are with images=FOLDER."
            )

    def __len__(self) -> int:
        return len(self.items)

    def image_path(self, index: int) -> Path:
        """File of the photo of item `index`."""
        return Path(self.items[index].path)

    def mask_path(self, index: int) -> Path:
        """Shard with the masks of item `index`."""
        return shard_path(self.root, "masks", self.items[index].shard)

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        item = self.items[index]
        image = read_image(item.path)
        rows = self._rows(index)
        soft = self._soft_masks(item, image.size, rows)
        masks = np.zeros((len(rows), *image.size), bool)
        for mask, row, refined in zip(masks, rows, soft, strict=True):
            if self.target == "refined" and refined.refined is not None:
                np.greater(refined.best(), 0.5, out=mask)
            else:
                mask[:] = self._packed(item, row).decode()
        return Sample(
            image,
            masks,
            tuple(row.index for row in rows),
            f"{self.mask_path(index)}[{item.name}]",
            soft=maps_of(soft, image.size, "best" if self.target == "refined" else "probability"),
            uncertainty=self._uncertainty(soft, image.size),
        )

    def shapes(self, index: int) -> Shapes:
        """The masks of item `index`, packed unless they are refined ones."""
        if self.target == "refined":
            return super().shapes(index)
        item = self.items[index]
        masks = (self._packed(item, row) for row in self._rows(index))
        return Shapes(read_header(item.path).size, masks)

    def known(self, index: int) -> list[KnownMask] | None:
        """The masks of item `index` with the quality that was expected of them; None without heads."""
        item = self.items[index]
        known = []
        for row in self._rows(index):
            if row.quality is None:
                return None
            known.append(KnownMask(row.index, self._packed(item, row), row.quality))
        return known

    def _rows(self, index: int) -> list[MaskRow]:
        return [
            row
            for row in read_masks(self.mask_path(index), self.items[index].name)
            if self.filter.keeps(row.area, row.crop_w, row.crop_h)
        ]

    def _uncertainty(self, soft: Sequence[SoftMask], size: tuple[int, int]) -> Maps | None:
        kind: Literal["indecision", "uncertainty"] = (
            "indecision" if self.target == "refined" else "uncertainty"
        )
        return maps_of(soft, size, kind) if self.refined else None

    def _soft_masks(self, item: _Item, size: tuple[int, int], rows: Sequence[MaskRow]) -> list[SoftMask]:
        refined = self._refined_maps(item) if self.refined else {}
        shard = shard_path(self.root, "masks", item.shard)
        result = []
        for row in rows:
            if (row.height, row.width) != size:
                sizes = f"was labelled at {row.width}×{row.height}, and {item.path} is {size[1]}×{size[0]}"
                message = f"{item.name} {sizes}: the photo is another one, or has changed; label it anew"
                raise SampleError("size_mismatch", shard, message)
            place = Place(size, (row.crop_x, row.crop_y, row.crop_w, row.crop_h), row.side, row.resize)
            if not place.fits():
                message = f"mask {row.index} of {item.name} lies at no place in the photo: {place}"
                raise SampleError("malformed_mask", shard, message)
            counts = self.refined and self.filter.refines(row.area, row.crop_w, row.crop_h)
            if counts and row.index not in refined:
                message = (
                    f"mask {row.index} of {item.name} has no refined form: refine the set anew with "
                    f"`maskwright label refine {self.root} --overwrite`"
                )
                raise SampleError("malformed_mask", shard_path(self.root, "refined", item.shard), message)
            map_ = decode_map(row.prob, f"{shard}[{item.name}, mask {row.index}]", MAX_MAP_PIXELS)
            result.append(SoftMask(place, map_, refined[row.index] if counts else None))
        return result

    def _refined_maps(self, item: _Item) -> dict[int, ByteArray]:
        path = shard_path(self.root, "refined", item.shard)
        return {
            row.index: decode_map(row.prob, f"{path}[{item.name}, mask {row.index}]", MAX_MAP_PIXELS)
            for row in read_refined(path, item.name)
        }

    def _packed(self, item: _Item, row: MaskRow) -> RLE:
        try:
            return RLE.from_coco({"size": [row.height, row.width], "counts": row.rle})
        except MaskError as error:
            where = f"{shard_path(self.root, 'masks', item.shard)}[{item.name}, mask {row.index}]"
            raise SampleError("malformed_mask", where, str(error)) from error


def _read_set(root: Path) -> int:
    """Check that a folder is a labelled set of masks in Parquet, and return its photos a shard."""
    require_folders("labelled", root, [], TREE)
    path = root / "set.json"
    if not path.is_file():
        raise DatasetError(f"{root} holds no labelled set; one looks like this:\n{TREE}")
    record = read_set(path)
    if record.get("kind") != "masks":
        raise DatasetError(f"{root} holds labels of kind {record.get('kind')!r}, not masks.")
    if record.get("files", "parquet") != "parquet":
        raise DatasetError(
            f"{root} holds its masks as JSON: open it as sa1b:{root / 'sa1b'}?images=FOLDER_OF_THE_PHOTOS."
        )
    return max(1, int(_field(record, "shard_images", path)))


def _plan(root: Path) -> Iterator[tuple[str, str]]:
    """Name and path of each photo of the plan, in order."""
    path = root / "plan.jsonl"
    for record in iterate_records(path):
        yield str(_field(record, "name", path)), str(_field(record, "path", path))


def _finished(root: Path, shards: int, refined: bool, partial: bool) -> dict[int, frozenset[str]]:
    """The finished shards, each with the names of photos that could not be labelled, or not refined."""
    made = _ledger(root / "ledger.jsonl")
    done = made
    if refined:
        # A shard of masks that was made anew has lost its refined one.
        done = {
            number: record
            for number, record in _ledger(root / "refined_ledger.jsonl").items()
            if number in made
            and record.get("inputs", made[number].get("sha256")) == made[number].get("sha256")
        }
    for kind, command, count in (("labelled", "masks", len(made)), ("refined", "refine", len(done))):
        if count < shards and not partial:
            raise DatasetError(
                f"{root}: {count} of {shards} shards are {kind}. Give the same `maskwright label {command}` "
                "again to finish, or take what there is with partial=true."
            )
    return {
        number: frozenset(
            str(failure["image"])
            for record in (made[number], done[number])
            for failure in record.get("failures", ())
        )
        for number in sorted(done)
    }


def _ledger(path: Path) -> dict[int, Mapping[str, Any]]:
    if not path.exists():
        return {}
    require_file(path)
    return {int(_field(record, "shard", path)): record for record in read_records(path)}


def _field(record: Mapping[str, Any], name: str, path: Path) -> Any:  # noqa: ANN401
    if name not in record:
        raise DatasetError(f"{path}: {name!r} is missing in {dict(record)}; was it edited? Label anew.")
    return record[name]
