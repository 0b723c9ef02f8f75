"""Parquet shards of machine-made masks: one row a mask, with its run-length code and its soft mask.

A soft mask is the probability at the model's low resolution, 8 bits, in the input frame of the crop it was
found in. `side` and `resize` say how that crop was brought into the model's square (`types.Geometry`).
Refined shards hold one row for each mask that was refined: its new probability in the same frame.

One row group an image.
h w: the soft mask's own size.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import TypeVar, cast

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from maskwright.io.byte_maps import decode_map, encode_map
from maskwright.io.shards import open_shard, shard_writer
from maskwright.types import ByteArray, FloatArray, Resize

# The largest soft mask that is opened; models' low resolutions are 64 to 288.
MAX_MAP_PIXELS = 4096 * 4096
_HALF_STEP = 1 / 510
_SHARES = np.arange(256, dtype=np.float32) / np.float32(255)


@dataclass(frozen=True)
class MaskRow:
    """One machine-made mask. Boxes and the point are in pixels of the whole photo.

    Args:
        image: the photo's name in the plan; path: its file; height, width: its size.
        index: number of the mask in its photo, from 0.
        rle: COCO's compressed counts at the photo's size.
        area: number of object pixels.
        bbox_x: left edge of the mask's box; bbox_y, bbox_w, bbox_h likewise.
        point_x: where the click was that found it; point_y likewise.
        crop_x: left edge of the crop it was found in; crop_y, crop_w, crop_h likewise.
        predicted_iou: the model's own estimate of the mask's IoU.
        stability: IoU of the mask at two thresholds.
        side: side of the model's square input; resize: how the crop was brought into it.
        prob: PNG bytes of the 8-bit probability, see `encode_probability`.
        quality: the expected IoU, as uncertainty heads tell it; model_gap, prompt_gap, task_gap: the IoU that
            a larger model, more clicks, or telling which object is meant would add, likewise. None in shards
            of a model without heads, which have no such columns.
    """

    image: str
    path: str
    height: int
    width: int
    index: int
    rle: bytes
    area: int
    bbox_x: int
    bbox_y: int
    bbox_w: int
    bbox_h: int
    point_x: float
    point_y: float
    crop_x: int
    crop_y: int
    crop_w: int
    crop_h: int
    predicted_iou: float
    stability: float
    side: int
    resize: Resize
    prob: bytes
    quality: float | None = None
    model_gap: float | None = None
    prompt_gap: float | None = None
    task_gap: float | None = None


@dataclass(frozen=True)
class RefinedRow:
    """The refined probability of mask `index` of photo `image`, in the frame of its `MaskRow`."""

    image: str
    index: int
    prob: bytes


Row = TypeVar("Row", MaskRow, RefinedRow)

_ARROW = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bytes": pa.binary(),
    "Resize": pa.string(),
}
_OPTIONAL = "float | None"


def _schema(row: type[MaskRow] | type[RefinedRow], *, scored: bool = False) -> pa.Schema:
    """The columns of a shard; the optional ones are those of masks with values of uncertainty heads."""
    always = [part for part in fields(row) if part.type != _OPTIONAL]
    columns = [pa.field(part.name, _ARROW[str(part.type)], nullable=False) for part in always]
    if scored:
        columns += [pa.field(part.name, pa.float64()) for part in fields(row) if part.type == _OPTIONAL]
    return pa.schema(columns)


def write_masks(path: str | os.PathLike[str], rows: Sequence[MaskRow], *, scored: bool = False) -> None:
    """Write a shard atomically; rows of one photo stand together.

    Args:
        path: the file.
        rows: the masks.
        scored: with the columns of the values of uncertainty heads.

    Raises:
        FileError: naming the path and the reason.
    """
    _write(path, _schema(MaskRow, scored=scored), rows)


def read_masks(path: str | os.PathLike[str], image: str | None = None) -> list[MaskRow]:
    """Read a shard, or from it only the masks of one photo.

    Raises:
        FileError: naming the file, when it is missing, damaged, cut off or no shard of masks.
    """
    return _read(path, MaskRow, image)


def write_refined(path: str | os.PathLike[str], rows: Sequence[RefinedRow]) -> None:
    """Write a shard of refined probabilities atomically; rows of one photo stand together.

    Raises:
        FileError: naming the path and the reason.
    """
    _write(path, _schema(RefinedRow), rows)


def read_refined(path: str | os.PathLike[str], image: str | None = None) -> list[RefinedRow]:
    """Read a shard of refined probabilities, or from it only those of one photo.

    Raises:
        FileError: naming the file, when it is missing, damaged, cut off or no such shard.
    """
    return _read(path, RefinedRow, image)


def encode_probability(logits_hw: FloatArray | Tensor) -> bytes:
    """Pack (h, w) logits as the PNG of their 8-bit probability."""
    logits = np.asarray(logits_hw, np.float64)
    return encode_map(np.rint(255 / (1 + np.exp(-logits.clip(-50, 50)))).astype(np.uint8))


def decode_probability(data: bytes, where: str = "a soft mask") -> FloatArray:
    """Unpack to (h, w) float32 in [0, 1].

    Raises:
        ImageError: naming `where` the bytes come from, when they are no such map, damaged or cut off.
    """
    return shares(decode_map(data, where, MAX_MAP_PIXELS))


def shares(values: ByteArray) -> FloatArray:
    """8-bit probabilities as float32 in [0, 1], of the same shape."""
    return cast(FloatArray, cv2.LUT(values, _SHARES))


def to_logits(probability: FloatArray) -> FloatArray:
    """Logits of 8-bit probabilities; 0 and 1 become those of half a step, so that all are finite.

    What was stored and what a model gives are made alike by this, in training and in use.
    """
    clipped = np.clip(probability, _HALF_STEP, 1 - _HALF_STEP)
    logits: FloatArray = np.log(clipped / (1 - clipped)).astype(np.float32)
    return logits


def _write(path: str | os.PathLike[str], schema: pa.Schema, rows: Iterable[Row]) -> None:
    texts = [field.name for field in schema if field.type == pa.string()]
    # PNG bytes are left as they are.
    packed = {field.name: "NONE" if field.name == "prob" else "ZSTD" for field in schema}
    with shard_writer(path, schema, compression=packed, use_dictionary=texts) as writer:
        for _, group in groupby(rows, key=lambda entry: entry.image):
            several = list(group)
            columns = ([getattr(row, field.name) for row in several] for field in schema)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _read(path: str | os.PathLike[str], row: type[Row], image: str | None) -> list[Row]:
    kind = "masks" if row is MaskRow else "refined masks"
    with open_shard(path, kind, [_schema(row, scored=scored) for scored in (False, True)]) as file:
        groups = [k for k in range(file.num_row_groups) if image is None or _may_hold(file, k, image)]
        columns = file.read_row_groups(groups, use_threads=False).to_pydict()
    rows = (row(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True))
    return [entry for entry in rows if image is None or entry.image == image]


def _may_hold(file: pq.ParquetFile, group: int, image: str) -> bool:
    """Whether a row group may hold a photo's masks, from the least and greatest name in it."""
    names = file.metadata.row_group(group).column(0).statistics
    return names is None or not names.has_min_max or cast(bool, names.min <= image <= names.max)
