"""Watershed, and from a boundary map to segments.

"Flood": our watershed, scikit-image's and OpenCV's, on the same levels from the same seeds; ours and
scikit-image's must agree but for ties between seeds, whose order is scikit-image's own. OpenCV's orders
pixels by differences of colour and leaves lines, so only its time is of interest. "Segments": from a
boundary map to run lengths, and the published way (EPOC: Chen et al. 2025) with scikit-image's `label` and
`watershed`, one bool mask a segment, sorted by area and stacked, each packed by pycocotools; the segments
must be as many and the same but for ties. Maps are the blurred gradient of a photo, in 256 levels; t is the
threshold of the seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import skimage.measure
import skimage.segmentation
from pycocotools import mask as coco
from sides import OURS, Comparison

from maskwright.io.rle import RLE
from maskwright.methods.everything.seeds import seeds, to_levels
from maskwright.methods.everything.segments import Segments, segments
from maskwright.methods.everything.watershed import Labels, watershed
from maskwright.report.demo_photos import PHOTOS
from maskwright.types import ByteArray, FloatArray

PEER, OPENCV = "scikit-image", "OpenCV"
PUBLISHED = "scikit-image and pycocotools"
TIES = 0.002
"""Share of pixels that may belong to another segment, since scikit-image's order of seeds is its own."""
MOST_BYTES = 800_000_000
"""Of the published stack of masks, which it holds twice: were it larger, that comparison is left out."""


def comparisons(quick: bool) -> Iterator[Comparison]:
    """Maps of three sizes, with many and with few seeds."""
    photo = PHOTOS[0].read().pixels
    for side in (128,) if quick else (512, 1024, 2048):
        probability = gradient(photo, side)
        for threshold in (0.1, 0.3):
            name = f"{side} × {side}, t = {threshold:g}"
            yield floods(name, probability, threshold)
            count = segments(probability, threshold=threshold).count
            if count * probability.size <= MOST_BYTES:
                yield ways(f"{name}, {count} segments", probability, threshold)


def gradient(pixels: ByteArray, side: int) -> FloatArray:
    """A photo's blurred gradient at (side, side), in [0, 1] and in 256 levels."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), side / 512)
    steep = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    levels = np.rint(255 * np.minimum(steep / np.percentile(steep, 99), 1))
    relief: FloatArray = (levels / 255).astype(np.float32)
    return relief


def floods(name: str, probability: FloatArray, threshold: float) -> Comparison:
    """The watershed alone."""
    levels, markers = to_levels(probability), seeds(probability, threshold)
    colours = np.repeat(levels[..., None], 3, axis=2)
    return Comparison(
        name=f"flood {name}",
        sides={
            OURS: partial(watershed, levels, markers),
            PEER: partial(skimage.segmentation.watershed, levels, markers),
            # OpenCV's wants three channels and writes into the markers.
            OPENCV: lambda: cv2.watershed(colours, markers.copy()),
        },
        check=same_basins,
        goals={PEER: 1.0, OPENCV: 1.0},
        # Levels and markers are read, labels written.
        moved=levels.nbytes + 2 * markers.nbytes,
    )


def ways(name: str, probability: FloatArray, threshold: float) -> Comparison:
    """From the map to run lengths."""
    return Comparison(
        name=f"segments {name}",
        sides={
            OURS: partial(ours, probability, threshold),
            PUBLISHED: partial(published, probability, threshold),
        },
        check=same_segments,
        goals={PUBLISHED: 1.0},
        moved=probability.nbytes,
    )


def ours(probability: FloatArray, threshold: float) -> tuple[Segments, tuple[RLE, ...]]:
    """From the map to run lengths."""
    found = segments(probability, threshold=threshold)
    return found, found.rles()


def published(probability: FloatArray, threshold: float) -> tuple[Labels, list[dict[str, object]]]:
    """The same as the reference puts it."""
    labels = skimage.measure.label(~(probability > threshold), connectivity=1, background=0)
    labels = skimage.segmentation.watershed(probability, markers=labels)
    masks = [labels == label for label in np.unique(labels)]
    masks.sort(key=lambda mask: int(mask.sum()), reverse=True)
    stack = np.stack(masks)
    return labels, [coco.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in stack]


def same_basins(outputs: dict[str, Any]) -> str:
    """Ours and scikit-image's differ in ties alone."""
    differ = float((outputs[OURS] != outputs[PEER]).mean())
    assert differ < TIES, f"{differ:.2%} of the pixels differ from scikit-image's"
    return f"{differ:.3%} of the pixels differ from scikit-image's, by ties"


def same_segments(outputs: dict[str, Any]) -> str:
    """As many, run lengths that are right, and label maps that differ in ties alone."""
    (mine, packed), (labels, masks) = outputs[OURS], outputs[PUBLISHED]
    assert len(masks) == mine.count, f"{mine.count} segments, and {len(masks)} in the published way"
    assert packed == tuple(RLE.encode(mine.mask(k)) for k in range(mine.count)), "run lengths are wrong"
    differ = disagreement(mine.labels, labels)
    assert differ < TIES, f"{differ:.2%} of the pixels differ from the published way"
    return f"{differ:.3%} of the pixels differ, by ties"


def disagreement(labels: Labels, others: Labels) -> float:
    """Share of pixels whose segment is not the one that most of its pixels belong to in the other map."""
    pairs, counts = np.unique(np.stack([labels.ravel(), others.ravel()]), axis=1, return_counts=True)
    best = np.zeros(labels.max() + 1, np.int64)
    np.maximum.at(best, pairs[0], counts)
    return float(1 - best.sum() / labels.size)
