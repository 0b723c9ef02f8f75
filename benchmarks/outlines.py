"""Outlines of all instances of a photo.

From run lengths to the lines between instances, in the style that DirectSAM labels its photos with. Ours
draws them from the runs. The usual ways decode every mask: "each mask" dilates and erodes every one over
the whole image with OpenCV; "label map", as DirectSAM publishes it, adds them up in 8 bits and dilates and
erodes each value. Instances are blobs of all sizes, as SA-1B's are. Ours must give the same lines as the
first; the second's must be among them, for where sums are equal it loses some.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
from inputs import blobs
from sides import OURS, Comparison

from maskwright.data.outlines import Shapes, frame, outline
from maskwright.io.rle import RLE
from maskwright.types import BoolArray, ByteArray

EACH, MAP = "OpenCV, each mask", "OpenCV, label map"
THICKNESS = 3


def comparisons(quick: bool) -> Iterator[Comparison]:
    """Photos with more and more instances, at their own size; one at the size that models are trained at."""
    side = 200 if quick else 1800
    for count in (5,) if quick else (50, 100, 300):
        masks = [RLE.encode(mask) for mask in (blobs((side, side), 1, seed)[0] for seed in range(count))]
        yield compare(masks, (side, side))
    yield compare(masks[:100], (side * 5 // 9, side * 5 // 9))


def compare(masks: Sequence[RLE], size: tuple[int, int]) -> Comparison:
    """One photo's instances."""
    shapes = Shapes(masks[0].size, masks)
    ours = partial(outline, shapes, thickness=THICKNESS, resolution=size, style="official")
    return Comparison(
        name=f"{len(masks)} instances, {shapes.size[0]} × {shapes.size[1]}, lines {size[0]} × {size[1]}",
        sides={
            OURS: ours,
            EACH: partial(every_mask, masks, THICKNESS, size),
            MAP: partial(label_map, masks, THICKNESS, size),
        },
        check=same_lines,
        goals={EACH: 1.0, MAP: 1.0},
        moved=size[0] * size[1],
    )


def same_lines(outputs: dict[str, Any]) -> str:
    """Equal to the first way's; the second's are among them."""
    ours, lost = outputs[OURS], outputs[OURS] & ~outputs[MAP]
    assert (ours == outputs[EACH]).all(), "ours and the dilated and eroded masks differ"
    assert not (outputs[MAP] & ~ours).any(), "the label map has lines that ours lacks"
    return f"identical; the label map loses {lost.sum() / max(1, ours.sum()):.2%}"


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
