"""Photos and labels for the benchmark of training, written to a folder in the formats that people have.

The photos are the demo's, brought to the wanted size with a little grain; the objects are discs with a wavy
outline, and the refiner's are the same a little moved.
"""

from __future__ import annotations

import csv
import io
import tarfile
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image as PILImages

from maskwright.io.byte_maps import encode_map
from maskwright.io.files import write_json, write_text
from maskwright.io.label_shards import MaskRow, RefinedRow, encode_probability, write_masks, write_refined
from maskwright.io.rle import RLE
from maskwright.report.demo_photos import PHOTOS
from maskwright.types import BoolArray, ByteArray, FloatArray, Geometry

LOW = 256
"""Side of the stored soft masks, a quarter of the side of the input they were made in."""


@dataclass(frozen=True)
class Files:
    """What was written.

    Args:
        root: the folder.
        size: height and width of all photos.
        photos: how many there are.
        masks: machine-made masks of each.
    """

    root: Path
    size: tuple[int, int]
    photos: int
    masks: int

    def name(self, number: int) -> str:
        """Stem of a photo."""
        return f"sa_{number}"


def write_files(root: Path, size: tuple[int, int], photos: int, masks: int) -> Files:
    """Write the photos and their labels in every format.

    `images` and `masks`: JPEG and PNG pairs. `shards`: the same in Parquet, as on the Hugging Face hub.
    `set`: a refined set of `maskwright label`. `tar` and `tar_refined`: the same masks as SUM's release
    reads them. `maps`: the uncertainty and the masks as PNG and as NPZ at the photo's size.
    """
    files = Files(root, size, photos, masks)
    for name in ("images", "masks", "shards", "set/masks", "set/refined", "tar", "tar_refined", "maps"):
        (root / name).mkdir(parents=True)
    rows: list[MaskRow] = []
    refined: list[RefinedRow] = []
    for number in range(photos):
        rng = np.random.default_rng(number)
        stem = files.name(number)
        photo = root / "images" / f"{stem}.jpg"
        PILImages.fromarray(picture(size, number, rng)).save(photo, quality=90)
        PILImages.fromarray(outline(size, rng).view(np.uint8) * np.uint8(255)).save(
            root / "masks" / f"{stem}.png"
        )
        labels = [soft(size, rng) for _ in range(masks)]
        better = [shifted(one, rng) for one in labels]
        rows += [row(stem, photo, k, size, one) for k, one in enumerate(labels)]
        refined += [RefinedRow(stem, k, encode_probability(one)) for k, one in enumerate(better)]
        write_tars(files, stem, labels, better)
    write_shard(files)
    write_masks(root / "set/masks/00000.parquet", rows)
    write_refined(root / "set/refined/00000.parquet", refined)
    write_record(files)
    return files


def picture(size: tuple[int, int], number: int, rng: np.random.Generator) -> ByteArray:
    """One of the demo's photos, (H, W, 3)."""
    pixels = cv2.resize(PHOTOS[number % len(PHOTOS)].read().pixels, size[::-1], interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 4, pixels.shape)
    noisy: ByteArray = np.clip(pixels + grain, 0, 255).astype(np.uint8)
    return noisy


def distance(size: tuple[int, int], rng: np.random.Generator, radius: tuple[float, float]) -> FloatArray:
    """How far inside a wavy disc each pixel is, in pixels (H, W)."""
    height, width = size
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    y, x = rng.uniform(0.25, 0.75, 2) * size
    angle = np.arctan2(rows - y, columns - x)
    waves = 1 + 0.2 * np.sin(angle * int(rng.integers(3, 12)) + rng.uniform(0, 6))
    inside: FloatArray = waves * min(size) * rng.uniform(*radius) - np.hypot(rows - y, columns - x)
    return inside


def outline(size: tuple[int, int], rng: np.random.Generator) -> BoolArray:
    """A human's mask (H, W)."""
    mask: BoolArray = distance(size, rng, (0.15, 0.3)) > 0
    return mask


def soft(size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """A model's logits (LOW, LOW) for a photo of that size, which fills the left or the upper part."""
    height, width = Geometry(size, LOW).input_size
    logits = np.full((LOW, LOW), -12, np.float32)
    logits[:height, :width] = np.clip(distance((height, width), rng, (0.08, 0.25)), -12, 12)
    return logits


def shifted(logits: FloatArray, rng: np.random.Generator) -> FloatArray:
    """What the refiner makes of them."""
    moved = np.roll(logits, rng.integers(-2, 3, 2), axis=(0, 1))
    blurred: FloatArray = cv2.GaussianBlur(moved, (0, 0), 1.0)
    return blurred


def sigmoid(logits: FloatArray) -> FloatArray:
    """Probabilities."""
    return (1 / (1 + np.exp(-logits))).astype(np.float32, copy=False)


def enlarged(logits: FloatArray, size: tuple[int, int]) -> FloatArray:
    """The probability at the photo's size, as `Masks.logits` enlarges it."""
    stored = to_bytes(sigmoid(logits)).astype(np.float32) / 255
    clipped = np.clip(stored, 1 / 510, 1 - 1 / 510)
    frame = Geometry(size, 4 * LOW)
    result: FloatArray = (
        frame.to_image(torch.from_numpy(np.log(clipped / (1 - clipped)))[None])[0].sigmoid().numpy()
    )
    return result


def to_bytes(probability: FloatArray) -> ByteArray:
    """8-bit probabilities."""
    return np.rint(255 * probability).astype(np.uint8)


def row(stem: str, photo: Path, index: int, size: tuple[int, int], logits: FloatArray) -> MaskRow:
    """A mask as `maskwright label masks` writes it."""
    packed = RLE.encode(enlarged(logits, size) > 0.5)
    box = dict(zip(("bbox_x", "bbox_y", "bbox_w", "bbox_h"), packed.box, strict=True))
    values = {part.name: 0 for part in fields(MaskRow) if part.type == "int"}
    values |= box | {"height": size[0], "width": size[1], "crop_w": size[1], "crop_h": size[0]}
    values |= {"index": index, "area": packed.area, "side": 4 * LOW}
    return MaskRow(
        image=stem, path=str(photo), rle=packed.counts.encode(), point_x=1.0, point_y=1.0, predicted_iou=0.9,
        stability=0.96, resize="pad", prob=encode_probability(logits), **values,
    )  # fmt: skip


def write_tars(files: Files, stem: str, labels: list[FloatArray], better: list[FloatArray]) -> None:
    """A photo's archives for SUM's release, and its maps one by one."""
    height, width = files.size
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(("id", "area", "crop_box_w", "crop_box_h"))
    soft_masks, maps = {}, {}
    for k, (label, refined) in enumerate(zip(labels, better, strict=True)):
        probability = enlarged(label, files.size)
        doubt = to_bytes(np.abs(probability - enlarged(refined, files.size)))
        mask = probability > 0.5
        writer.writerow((k, int(mask.sum()), width, height))
        soft_masks[f"{k:03d}_probs.png"] = encode_map(to_bytes(probability))
        maps[f"{k}.png"] = encode_map(to_bytes(sigmoid(refined)))
        folder = files.root / "maps" / stem
        folder.mkdir(exist_ok=True)
        PILImages.fromarray(doubt).save(folder / f"{k}_doubt.png")
        PILImages.fromarray(mask.view(np.uint8) * np.uint8(255)).save(folder / f"{k}_mask.png")
        np.savez_compressed(folder / f"{k}.npz", doubt=doubt, mask=mask)
    write_tar(files.root / "tar" / f"{stem}.tar", {"metadata.csv": table.getvalue().encode(), **soft_masks})
    write_tar(files.root / "tar_refined" / f"{stem}.tar", maps)


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    """A plain archive."""
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_shard(files: Files) -> None:
    """The pairs as rows of a Parquet file."""
    stems = [files.name(number) for number in range(files.photos)]
    columns = {}
    for column, folder, ending in (("image", "images", ".jpg"), ("label", "masks", ".png")):
        columns[column] = [(files.root / folder / f"{stem}{ending}").read_bytes() for stem in stems]
    pq.write_table(pa.table(columns), files.root / "shards" / "train-00000.parquet")


def write_record(files: Files) -> None:
    """What makes shards of masks a finished, refined set."""
    folder = files.root / "set"
    stems = [files.name(number) for number in range(files.photos)]
    write_json(
        folder / "set.json",
        {"format": "maskwright-labels", "version": 1, "kind": "masks", "shard_images": files.photos},
    )
    write_json(folder / "refined.json", {})
    plan = [
        f'{{"name": "{stem}", "path": "{files.root / "images" / stem}.jpg", "bytes": 1, "modified_ns": 1}}\n'
        for stem in stems
    ]
    write_text(folder / "plan.jsonl", "".join(plan))
    line = f'{{"shard": 0, "images": {files.photos}, "failures": [], "sha256": "0"'
    write_text(folder / "ledger.jsonl", line + "}\n")
    write_text(folder / "refined_ledger.jsonl", line + ', "inputs": "0"}\n')
