"""Outlines of all instances of a photo: ours from their runs, and the usual ways over stacked masks.

    python benchmarks/outlines.py [--side 1800] [--masks 50 100 300] [--thickness 3] [--data KIND:FOLDER]

The usual ways decode every mask: one dilates and erodes each over the whole image with OpenCV, the other, as
DirectSAM publishes it, adds them up to an 8-bit label map and dilates and erodes each of its values. Ours
must give the same lines as the first, and the second's must be among them: equal sums lose some.
Time is CPU time of one thread, from run lengths to lines.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
from timing import seconds

from maskwright.data.outlines import Shapes, frame, outline
from maskwright.data.registry import open_dataset
from maskwright.io.rle import RLE
from maskwright.types import BoolArray, ByteArray


def scene(side: int, count: int, seed: int = 0) -> list[RLE]:
    """Blobs of all sizes, as SA-1B's are: a few cover half of the photo, most a ten-thousandth of it."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        radius = side * float(np.exp(rng.uniform(np.log(0.005), np.log(0.4))))
        angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        length = np.full_like(angles, radius)
        for k in range(2, 9):
            length += radius * rng.uniform(0, 0.3) / k * np.sin(k * angles + rng.uniform(0, 2 * np.pi))
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * length[:, None]
        mask = np.zeros((side, side), np.uint8)
        cv2.fillPoly(mask, [(ring + rng.uniform(0, side, 2)).astype(np.int32)], (1,))
        masks.append(RLE.encode(mask > 0))
    return masks


def kernel(thickness: int) -> ByteArray:
    """The published one."""
    if thickness <= 3:
        return np.ones((thickness, thickness), np.uint8)
    half = thickness // 2
    disc: ByteArray = cv2.circle(np.zeros((thickness, thickness), np.uint8), (half, half), half, (1,), -1)
    return disc


def nearest(mask: ByteArray, size: tuple[int, int]) -> ByteArray:
    """As OpenCV resizes labels."""
    resized: ByteArray = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST)
    return resized


def every_mask(masks: Sequence[RLE], thickness: int, size: tuple[int, int]) -> BoolArray:
    """Dilate and erode each decoded mask over the whole image."""
    disc = kernel(thickness)
    lines = frame(size, thickness)
    for packed in masks:
        mask = nearest(packed.decode().view(np.uint8), size)
        lines |= cv2.dilate(mask, disc) != cv2.erode(mask, disc)
    return lines


def label_map(masks: Sequence[RLE], thickness: int, size: tuple[int, int]) -> BoolArray:
    """Add the masks up in 8 bits; dilate and erode each value of the sum."""
    labels = np.zeros(masks[0].size, np.uint8)
    for number, mask in enumerate(masks, start=1):
        labels += mask.decode() * np.uint8(number % 256)
    labels = nearest(labels, size)
    disc = kernel(thickness)
    lines = frame(size, thickness)
    for value in np.unique(labels):
        mask = (labels == value).view(np.uint8)
        lines |= cv2.dilate(mask, disc) != cv2.erode(mask, disc)
    return lines


def main() -> None:
    """Check that all agree, measure, and print a table of ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=1800, help="of the made-up photo, in pixels")
    parser.add_argument("--masks", type=int, nargs="+", default=[50, 100, 300], help="how many instances")
    parser.add_argument("--data", help="take the first photo of this dataset instead, such as sa1b:FOLDER")
    parser.add_argument("--resolution", type=int, help="side of the square of the lines; default as it is")
    parser.add_argument("--thickness", type=int, default=3, help="of the lines")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each; the fastest counts")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    if given.data:
        shapes = open_dataset(given.data).shapes(0)
        packed = [part for part in shapes.parts if isinstance(part, RLE)]
        scenes = {f"{given.data}, {len(packed)} masks, {shapes.size[1]} × {shapes.size[0]}": packed}
    else:
        scenes = {
            f"{count} masks, {given.side} × {given.side}": scene(given.side, count) for count in given.masks
        }
    title = f"thickness {given.thickness}, resolution {given.resolution or 'native'}"
    table = Table("scene", "", "CPU seconds", "times ours", "lines lost", title=title)
    for name, masks in scenes.items():
        measure(table, name, masks, given.thickness, given.resolution, given.repeats)
    Console().print(table)


def measure(
    table: Table, name: str, masks: Sequence[RLE], thickness: int, resolution: int | None, repeats: int
) -> None:
    """One scene's rows."""
    size = masks[0].size if resolution is None else (resolution, resolution)
    shapes = Shapes(masks[0].size, masks)

    def official() -> BoolArray:
        return outline(shapes, thickness=thickness, resolution=size, style="official")

    def exact() -> BoolArray:
        return outline(shapes, thickness=thickness, resolution=size)

    ours = official()
    assert (ours == every_mask(masks, thickness, size)).all(), "ours and the dilated and eroded masks differ"
    published = label_map(masks, thickness, size)
    assert not (published & ~ours).any(), "the published label map has lines that ours lacks"
    exact()
    fastest = seconds(official, repeats)
    rows = [
        ("ours, official", fastest, ""),
        ("ours, exact", seconds(exact, repeats), ""),
        ("every mask dilated and eroded", seconds(lambda: every_mask(masks, thickness, size)), ""),
        (
            "8-bit sum, every value dilated and eroded",
            seconds(lambda: label_map(masks, thickness, size)),
            f"{(ours & ~published).sum() / max(1, ours.sum()):.2%}",
        ),
    ]
    for place, (way, taken, lost) in enumerate(rows):
        last = place == len(rows) - 1
        table.add_row(
            "" if place else name, way, f"{taken:.4f}", f"{taken / fastest:.1f}", lost, end_section=last
        )


if __name__ == "__main__":
    main()
