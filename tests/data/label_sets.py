"""Small labelled sets made by code, with the logits they were made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data.miniatures import photo, save

from maskwright.io.label_shards import (
    MaskRow,
    RefinedRow,
    encode_probability,
    write_masks,
    write_refined,
)
from maskwright.io.rle import RLE
from maskwright.types import FloatArray, Geometry, Resize

SIDE, LOW = 64, 16


@dataclass(frozen=True, eq=False)
class Made:
    """One machine-made mask: its logits, the refiner's (or None), and where they lie."""

    label: FloatArray
    refined: FloatArray | None
    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    resize: Resize = "pad"

    def logits(self, refined: bool = False) -> FloatArray:
        """At the photo's size; minus 50 outside the crop."""
        x, y, width, height = self.crop
        low = self.refined if refined else self.label
        assert low is not None
        inside = Geometry((height, width), SIDE, self.resize).to_image(torch.from_numpy(low)[None])[0]
        whole = np.full(self.size, -50, np.float32)
        whole[y : y + height, x : x + width] = inside
        return whole

    def row(self, image: str, index: int) -> MaskRow:
        mask = self.logits() > 0
        rle = RLE.encode(mask)
        box = dict(zip(("bbox_x", "bbox_y", "bbox_w", "bbox_h"), rle.box, strict=True))
        crop = dict(zip(("crop_x", "crop_y", "crop_w", "crop_h"), self.crop, strict=True))
        return MaskRow(
            image=image, path="", height=self.size[0], width=self.size[1], index=index,
            rle=rle.counts.encode(), area=rle.area, **box, **crop, point_x=1.5, point_y=2.5,
            predicted_iou=0.9, stability=0.96, side=SIDE, resize=self.resize,
            prob=encode_probability(self.label),
        )  # fmt: skip


def disc(x: float, y: float, radius: float, sharpness: float = 2.0) -> FloatArray:
    """Low-resolution logits of a disc."""
    rows, columns = np.mgrid[:LOW, :LOW]
    logits: FloatArray = ((radius - np.hypot(columns - x, rows - y)) * sharpness).astype(np.float32)
    return logits


def sigmoid(values: FloatArray) -> FloatArray:
    return torch.from_numpy(values).sigmoid().numpy()


def made(
    size: tuple[int, int],
    low: FloatArray,
    refined: FloatArray | None = None,
    crop: tuple[int, int, int, int] | None = None,
    resize: Resize = "pad",
) -> Made:
    return Made(low, refined, size, crop or (0, 0, size[1], size[0]), resize)


def make_label_set(
    root: Path,
    photos: Mapping[str, Sequence[Made]],
    *,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    shard_images: int = 2,
    refined: bool = True,
    failures: Mapping[str, str] | None = None,
    unlabelled: Sequence[int] = (),
    unrefined: Sequence[int] = (),
    **changes: Any,
) -> Path:
    """Write photos to `root`/photos and their masks to `root`/set.

    Args:
        root: an empty folder.
        photos: the masks of each photo.
        sizes: of photos without masks.
        shard_images: photos a shard.
        refined: whether there are refined shards.
        failures: photos that failed, and why.
        unlabelled: shards that are not made yet; unrefined: shards that are not refined yet.
        changes: fields to change in every row.
    """
    folder, failures = root / "set", failures or {}
    for part in ("masks", "refined") if refined else ("masks",):
        (folder / part).mkdir(parents=True, exist_ok=True)
    record = {"format": "maskwright-labels", "version": 1, "kind": "masks", "model": "tiny", "settings": {}}
    record |= {"images": len(photos), "shard_images": shard_images}
    (folder / "set.json").write_text(json.dumps(record))
    names = list(photos)
    plan, ledger, refined_ledger = [], [], []
    for seed, name in enumerate(names):
        size = photos[name][0].size if photos[name] else (sizes or {})[name]
        path = save(root / "photos" / name, photo(seed, size))
        plan.append({"name": name, "path": str(path), "bytes": 1, "modified_ns": 1})
    for number, start in enumerate(range(0, len(names), shard_images)):
        group = names[start : start + shard_images]
        rows = [
            replace(entry.row(name, k), **changes) for name in group for k, entry in enumerate(photos[name])
        ]
        if number in unlabelled:
            continue
        write_masks(folder / f"masks/{number:05d}.parquet", rows)
        failed = [{"image": name, "reason": failures[name]} for name in group if name in failures]
        ledger.append({"shard": number, "images": len(group), "masks": len(rows), "failures": failed})
        ledger[-1]["sha256"] = f"{number}"
        if refined and number not in unrefined:
            better = [
                RefinedRow(name, k, encode_probability(entry.refined))
                for name in group
                for k, entry in enumerate(photos[name])
                if entry.refined is not None
            ]
            write_refined(folder / f"refined/{number:05d}.parquet", better)
            refined_ledger.append({**ledger[-1], "inputs": f"{number}", "sha256": ""})
    write_lines(folder / "plan.jsonl", plan)
    write_lines(folder / "ledger.jsonl", ledger)
    if refined:
        (folder / "refined.json").write_text("{}")
        write_lines(folder / "refined_ledger.jsonl", refined_ledger)
    return folder


def write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
