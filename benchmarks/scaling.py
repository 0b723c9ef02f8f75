"""Scaling: time and memory as images, prompts and masks grow.

nano with its shipped weights and heads, on photos of 512 × 512 pixels where nothing else is said. "Image
side" is from pixels to one packed mask; "prompts" and "photos segmented" are whole runs of `maskwright
segment`, with masks, uncertainty and overlay written; "masks" packs disks in an image of 1024 × 1024 and
writes them as COCO; "photos labelled" are whole runs of `maskwright label masks` with 64 clicks a photo. One
worker labels in the process that is there, on all cores; several are new processes, which share the cores and
import the library first, so that on a machine of two cores two cost more than they gain.
Memory is what the work adds to a process with the model loaded: of the largest, where there are several.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from curves import Curve
from skimage import data

from maskwright.cli.main import main
from maskwright.export.labels import LabelledImage, write_labels
from maskwright.io.images import write_png
from maskwright.io.rle import RLE, encode_all
from maskwright.types import ByteArray

SIDE, MASK_SIDE = 512, 1024
SHARED_PHOTOS = 16
"""What several workers share."""
PROMPT_MEMORY = 0.06
"""Megabytes that the answer to a prompt may take: nano's logits, 112 × 112 numbers of four bytes."""


def curves() -> Iterator[Curve]:
    """All curves."""
    yield Curve("image side", "pixels a side", (256, 512, 1024, 2048, 4096), image_side, power=2.0)
    yield Curve("prompts", "prompts", (1, 4, 16, 64, 256, 1024), prompts, power=1.2, growth=PROMPT_MEMORY)
    yield Curve("masks", "masks", (1, 4, 16, 64, 150, 300, 600), masks, power=1.2, growth=0.01)
    yield Curve("photos segmented", "photos", (1, 2, 4, 8, 16, 32, 64), photos, power=1.2, growth=0.0)
    yield Curve("photos labelled", "photos", (1, 2, 4, 8, 16, 32, 64), labelled, power=1.2, growth=0.0)
    yield Curve(f"{SHARED_PHOTOS} photos labelled", "workers", (1, 2), workers)


def image_side(side: int) -> Callable[[], object]:
    """Encode a photo and segment one object."""
    from maskwright import load

    segmenter = load("nano", device="cpu")

    def work(picture: ByteArray) -> object:
        box = [share * len(picture) for share in (0.2, 0.1, 0.8, 0.9)]
        return encode_all(segmenter(picture, boxes=box).binary()[:, 0])

    work(photo(64))
    picture = photo(side)
    return lambda: work(picture)


def prompts(number: int) -> Callable[[], object]:
    """Segment so many objects of one photo."""
    folder = photo_folder(1)
    random = np.random.default_rng(0)
    corners = random.uniform(0, 0.6 * SIDE, (number, 2))
    boxes = np.hstack([corners, corners + random.uniform(0.1, 0.4, (number, 2)) * SIDE])
    file = folder.with_suffix(".json")
    file.write_text(json.dumps([{"box": box} for box in boxes.tolist()]), encoding="utf-8")
    box = ("--box", "100,50,400,480")
    command("segment", str(folder), *box)()
    return command("segment", str(folder), "--prompts", str(file))


def masks(number: int) -> Callable[[], object]:
    """Pack so many masks and write them."""
    place = new_place()

    def packed(index: int) -> RLE:
        mask = np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
        center = 37 * index % MASK_SIDE, 211 * index % MASK_SIDE
        cv2.circle(mask, center, 20 + 13 * index % 180, 1, -1)
        return RLE.encode(mask.view(np.bool_))

    def write() -> None:
        made = tuple(packed(index) for index in range(number))
        write_labels([LabelledImage("disks.png", MASK_SIDE, MASK_SIDE, made)], place / "coco.json")

    packed(0)
    return write


def photos(number: int) -> Callable[[], object]:
    """Segment one object in each of so many photos."""
    box = ("--box", "100,50,400,480")
    command("segment", str(photo_folder(1)), *box)()
    return command("segment", str(photo_folder(number)), *box)


def labelled(number: int) -> Callable[[], object]:
    """Label so many photos, in shards of two."""
    label(1)()
    return label(number)


def workers(number: int) -> Callable[[], object]:
    """Label some photos by so many processes."""
    label(1)()
    return label(SHARED_PHOTOS, "--workers", str(number))


def label(number: int, *options: str) -> Callable[[], object]:
    """A labelling run over so many photos."""
    how = ("--points-per-side", "8", "--shard-images", "2")
    return command("label", "masks", str(photo_folder(number)), *how, *options)


def command(*words: str) -> Callable[[], object]:
    """A run of Maskwright's command line into a new folder, which must go well."""

    def run() -> None:
        code = main([*words, "--out", str(new_place() / "out"), "--device", "cpu", "--quiet"])
        if code:
            raise RuntimeError(f"maskwright {' '.join(words)} ended with {code}")

    return run


def photo(side: int) -> ByteArray:
    """A photo of so many pixels a side."""
    return np.asarray(cv2.resize(data.astronaut(), (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def photo_folder(number: int) -> Path:
    """A folder of so many photos, each a little different."""
    folder = new_place() / "photos"
    folder.mkdir()
    for index in range(number):
        write_png(folder / f"{index:03}.png", np.roll(photo(SIDE), 8 * index, axis=1))
    return folder


PLACES = count()


@cache
def scratch() -> tempfile.TemporaryDirectory[str]:
    """Where files go until the process ends."""
    return tempfile.TemporaryDirectory()


def new_place() -> Path:
    """An empty folder."""
    place = Path(scratch().name) / str(next(PLACES))
    place.mkdir()
    return place
