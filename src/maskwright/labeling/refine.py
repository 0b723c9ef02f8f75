"""The worker that refines the masks of a labelled set: one decoder pass a mask on its photo's embedding.

h w: a soft mask's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from maskwright.errors import ConfigError, FileError, WeightsError
from maskwright.io.files import make_folder, read_json, shown, write_json
from maskwright.io.images import read_image
from maskwright.io.label_shards import (
    MaskRow,
    RefinedRow,
    decode_probability,
    encode_probability,
    read_masks,
    to_logits,
    write_refined,
)
from maskwright.io.rle import RLE
from maskwright.io.shards import SET_FORMAT, SET_VERSION
from maskwright.labeling.folder import LabelFolder, changed_settings, refuse_changes, weights_of
from maskwright.labeling.masks import ModelChoice
from maskwright.labeling.plan import PlannedImage, Shard
from maskwright.types import FloatArray, Image

if TYPE_CHECKING:
    from maskwright.methods.refine.refiner import MaskRefiner

Crop = tuple[int, int, int, int]


class RefineWorker:
    """Refines the stored soft masks of each photo, as SUM's uncertainty maps need them (section 3.2.3).

    The uncertainty is not stored: u = |σ(s) − σ(r)| (eq. 3) follows from a mask's two probabilities.

    Args:
        folder: the labelled set.
        model: the one whose masks they are.
        refiner: file, folder or name of its refiner.

    Raises:
        FileError: the folder holds no labelled set with soft masks.
    """

    def __init__(self, folder: LabelFolder, model: ModelChoice, refiner: str) -> None:
        record = folder.read_settings()
        if record["kind"] != "masks":
            raise FileError(f"{shown(folder.path)} holds labels of kind {record['kind']!r}, not masks.")
        if record.get("files") != "parquet":
            raise FileError(
                f"{shown(folder.path)} holds SA-1B's JSON, which has no soft masks: use --format parquet."
            )
        self.folder = folder
        self.model = model
        self.choice = refiner
        self.labelled_by: str = record["model"]
        self.shard_images: int = record["shard_images"]
        self.signature: str | None = None
        self._refiner: MaskRefiner | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Each process loads the model and its refiner by itself."""
        return {**self.__dict__, "_refiner": None}

    @property
    def refiner(self) -> MaskRefiner:
        """The refiner, once it is prepared."""
        assert self._refiner is not None, "prepare() comes first"
        return self._refiner

    def prepare(self) -> None:
        """Load the model and its refiner.

        Raises:
            ConfigError: another model has made the masks.
            MaskwrightError: one of them cannot be loaded, or is another one than where the run began.
        """
        from maskwright.methods.refine.refiner import MaskRefiner

        if self._refiner is not None:
            return
        base = self.model.load()
        if weights_of(base.signature) != weights_of(self.labelled_by):
            raise ConfigError(
                f"{shown(self.folder.path)} holds masks of {self.labelled_by}, not of {base.signature}: give "
                "the model that made them as --model."
            )
        refiner = MaskRefiner.load(self.choice, base)
        if self.signature is not None and weights_of(self.signature) != weights_of(refiner.signature):
            raise WeightsError(
                f"{self.choice} is {refiner.signature} here and {self.signature} where the run began: all "
                "machines must have the same file."
            )
        self.signature, self._refiner = refiner.signature, refiner

    def release(self) -> None:
        """Forget what was loaded; other processes load it."""
        self._refiner = None

    def record(self) -> dict[str, Any]:
        """All that decides the refined masks, besides the masks; the refiner must be prepared."""
        return {"kind": "refined", "model": self.labelled_by, "refiner": self.signature}

    def label(self, image: PlannedImage) -> list[RefinedRow]:
        """Refine the masks of one photo.

        Raises:
            FileError: the photo or its masks cannot be read, or the masks are of another size of photo.
        """
        rows = read_masks(self.folder.masks(image.number // self.shard_images), image.name)
        if not rows:
            return []
        photo = read_image(image.path)
        refined: list[RefinedRow] = []
        # Each crop is embedded once.
        for crop, found in groupby(sorted(rows, key=_crop), key=_crop):
            refined += self._refine_crop(photo, crop, list(found))
        return sorted(refined, key=lambda row: row.index)

    def files(self, shard: Shard) -> list[Path]:
        """The shard's Parquet file."""
        return [self.folder.refined(shard.number)]

    def write(self, shard: Shard, rows: Sequence[Sequence[RefinedRow] | None]) -> None:
        """Write the shard's file.

        Raises:
            FileError: it cannot be written.
        """
        [path] = self.files(shard)
        make_folder(path.parent)
        write_refined(path, [row for part in rows for row in part or ()])

    def _refine_crop(self, photo: Image, crop: Crop, rows: list[MaskRow]) -> list[RefinedRow]:
        x, y, width, height = crop
        source = photo.source
        self._check(rows[0], photo)
        part = Image(photo.pixels[y : y + height, x : x + width], source)
        logits = torch.from_numpy(_stacked(rows, source))
        boxes = torch.tensor([_box(row, crop) for row in rows], dtype=torch.float32)
        points = torch.tensor([(row.point_x - x, row.point_y - y) for row in rows], dtype=torch.float32)
        embedding = self.refiner.base.embed(part)
        refined = self.refiner.refine(embedding, logits, boxes, points).cpu()
        return [
            RefinedRow(row.image, row.index, encode_probability(new))
            for row, new in zip(rows, refined, strict=True)
        ]

    def _check(self, row: MaskRow, photo: Image) -> None:
        model = self.refiner.base.model
        if (row.height, row.width) != photo.size:
            raise FileError(
                f"{photo.source} has {photo.size[0]} × {photo.size[1]} pixels and its masks "
                f"{row.height} × {row.width}: it has changed since; label it again."
            )
        if (row.side, row.resize) != (model.image_size, model.resize):
            raise FileError(
                f"{photo.source}: its masks were made at an input of {row.side} px ({row.resize}), not of "
                f"{model.image_size} px ({model.resize})."
            )


def claim(folder: LabelFolder, record: dict[str, Any], *, overwrite: bool, retry_failed: bool) -> None:
    """Make the folder's refined masks belong to a refiner, or check that they do.

    Args:
        folder: a labelled set.
        record: of the worker: all that decides the refined masks.
        overwrite: delete what an earlier run refined, and start anew.
        retry_failed: forget the shards in which photos failed.

    Raises:
        ConfigError: they were refined otherwise; the message lists the differences.
        FileError: the folder cannot be read or written.
    """
    path, ledger = folder.refined_settings, folder.refined_ledger
    record = {"format": SET_FORMAT, "version": SET_VERSION, **record}
    # A run that finished nothing stands in nobody's way.
    if overwrite or not path.exists() or not any(True for _ in ledger.entries()):
        ledger.path.unlink(missing_ok=True)
        for shard in folder.read_plan().shards():
            folder.refined(shard.number).unlink(missing_ok=True)
        write_json(path, record)
        return
    refuse_changes(folder.path, changed_settings(read_json(path), record))
    if retry_failed:
        ledger.keep(entry.shard for entry in ledger.entries() if not entry.failures)


def _stacked(rows: list[MaskRow], source: str) -> FloatArray:
    """(N, h, w) float32 logits of stored masks."""
    return np.stack([to_logits(decode_probability(row.prob, f"{source} mask {row.index}")) for row in rows])


def _crop(row: MaskRow) -> Crop:
    return row.crop_x, row.crop_y, row.crop_w, row.crop_h


def _box(row: MaskRow, crop: Crop) -> tuple[int, int, int, int]:
    """The box around a mask in pixels of its crop, with exclusive ends (SA-1B's own is a pixel smaller)."""
    x, y, width, height = RLE((row.height, row.width), row.rle.decode("ascii")).box
    left, top = x - crop[0], y - crop[1]
    return max(0, left), max(0, top), min(left + width, crop[2]), min(top + height, crop[3])
