"""Labels spoiled on purpose: a copy of a labelled set with outlines displaced and parts missing.

h w: a mask's low resolution, at which its probabilities are stored.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from maskwright.data.soft_maps import Place
from maskwright.io.byte_maps import decode_map, encode_map
from maskwright.io.files import read_bytes, write_bytes
from maskwright.io.label_shards import MAX_MAP_PIXELS, MaskRow, read_masks, write_masks
from maskwright.io.rle import RLE
from maskwright.labeling.folder import LabelFolder
from maskwright.labeling.ledger import Ledger, digest
from maskwright.types import ByteArray

DISPLACEMENT = 0.12
"""Standard deviation of an outline's displacement, as a part of the square root of the mask's area."""
MISSING = (0.2, 0.45)
"""Range of the share of a mask that is cut out, before what of it lay outside."""
NOT_THERE = 5
"""Of 255: the probability of a part that was cut out."""


def spoil_set(source: Path, target: Path, seed: int) -> int:
    """Write a spoiled copy of a labelled set, without refined masks; returns its number of masks.

    Of each mask the outline is displaced, a part cut out, or both, with equal chances.
    """
    read, written = LabelFolder(source), LabelFolder(target)
    ledger, count = Ledger(target / "ledger.jsonl"), 0
    target.mkdir(parents=True, exist_ok=True)
    ledger.path.unlink(missing_ok=True)
    for entry in read.ledger.entries():
        rows = [spoiled(row, seed) for row in read_masks(read.masks(entry.shard))]
        path = written.masks(entry.shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_masks(path, rows)
        ledger.append(replace(entry, sha256=digest([path])))
        count += len(rows)
    for name in ("plan.jsonl", "set.json"):  # what makes it a set comes last
        write_bytes(target / name, read_bytes(source / name))
    return count


def spoiled(row: MaskRow, seed: int) -> MaskRow:
    """A mask made worse; as it was if nothing would be left of it."""
    rng = np.random.default_rng((seed, row.index, *row.image.encode()))
    place = Place(
        (row.height, row.width), (row.crop_x, row.crop_y, row.crop_w, row.crop_h), row.side, row.resize
    )
    values = decode_map(row.prob, row.image, MAX_MAP_PIXELS)
    how = rng.integers(3)
    if how != 0:
        values = without_part(values, rng)
    if how != 1:
        values = displaced(values, rng)
    rle = RLE.encode(place.to_image(values) > 0.5)
    if not rle.area:
        return row
    x, y, width, height = rle.box
    return replace(
        row,
        rle=rle.counts.encode("ascii"),
        area=rle.area,
        bbox_x=x,
        bbox_y=y,
        bbox_w=width - 1,
        bbox_h=height - 1,
        prob=encode_map(values),
    )


def displaced(values_hw: ByteArray, rng: np.random.Generator) -> ByteArray:
    """Move the outline to and fro by a smooth random field."""
    size = float(np.sqrt((values_hw > 127).sum()))
    height, width = values_hw.shape
    fields = []
    for start in np.mgrid[:height, :width].astype(np.float32):
        noise = cv2.GaussianBlur(
            rng.standard_normal((height, width)).astype(np.float32), (0, 0), max(1.0, size / 4)
        )
        fields.append(start + noise / max(float(noise.std()), 1e-6) * DISPLACEMENT * size)
    rows, columns = fields
    return np.asarray(cv2.remap(values_hw, columns, rows, cv2.INTER_LINEAR), np.uint8)


def without_part(values_hw: ByteArray, rng: np.random.Generator) -> ByteArray:
    """Cut a disc out, around some pixel of the mask."""
    places = np.argwhere(values_hw > 127)
    if not len(places):
        return values_hw
    row, column = places[rng.integers(len(places))]
    radius = np.sqrt(rng.uniform(*MISSING) * len(places) / np.pi)
    result = values_hw.copy()
    ys, xs = np.ogrid[: values_hw.shape[0], : values_hw.shape[1]]
    result[(ys - row) ** 2 + (xs - column) ** 2 <= radius**2] = NOT_THERE
    return result
