"""From a boundary map to segments: our watershed beside others, and our way beside the published one.

    python benchmarks/everything.py [--photo FILE] [--side 512 1024 2048] [--threshold 0.1 0.3] [--repeats 5]

The map is the blurred gradient of a photo at the given side, in 256 levels; no weights are needed. Seeds are
the 4-connected parts that are not above the threshold.

- Watersheds get the same levels and the same seeds. Ours and scikit-image's must agree but for ties between
  seeds; OpenCV's orders pixels by differences of colour and leaves lines, so only its time is shown.
- The published way (EPOC: Chen et al. 2025) is scikit-image's `label` and `watershed`, one bool mask a
  segment, sorted by area and stacked, and each packed by pycocotools. Ours must give the same number of
  segments, the same label map but for ties, and run lengths that are those of our masks, packed one by one.

All run in one process on one core, turn about; each time is CPU time, the least of some runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt
import skimage.measure
import skimage.segmentation
from pycocotools import mask as coco
from rich.console import Console
from rich.table import Table
from timing import seconds, turn_about

from maskwright.io.images import read_image
from maskwright.io.rle import RLE
from maskwright.methods.everything.seeds import seeds, to_levels
from maskwright.methods.everything.segments import Segments, segments
from maskwright.methods.everything.watershed import Labels, watershed
from maskwright.report.demo_photos import PHOTOS
from maskwright.types import ByteArray, FloatArray

SIDES, THRESHOLDS = (512, 1024, 2048), (0.1, 0.3)
TIES = 0.002
"""Share of pixels that may belong to another segment, since scikit-image's order of seeds is its own."""
MOST_BYTES = 800_000_000
"""Of the published stack of masks, which it holds twice: were it larger, the published way is left out."""


def gradient(pixels: ByteArray, side: int) -> FloatArray:
    """A photo's blurred gradient at (side, side), in [0, 1] and in 256 levels."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), side / 512)
    steep = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    levels = np.rint(255 * np.minimum(steep / np.percentile(steep, 99), 1))
    return (levels / 255).astype(np.float32)


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


def opencv(pixels: ByteArray, markers: Labels) -> Labels:
    """OpenCV's watershed, which wants three channels and writes into the markers."""
    return cv2.watershed(pixels, markers.copy())


def disagreement(labels: Labels, others: Labels) -> float:
    """Share of pixels whose segment is not the one that most of its pixels belong to in the other map."""
    pairs, counts = np.unique(np.stack([labels.ravel(), others.ravel()]), axis=1, return_counts=True)
    best = np.zeros(labels.max() + 1, np.int64)
    np.maximum.at(best, pairs[0], counts)
    return float(1 - best.sum() / labels.size)


def compare_watersheds(table: Table, probability: FloatArray, threshold: float, repeats: int) -> None:
    """Check, measure, and add a row."""
    levels, markers = to_levels(probability), seeds(probability, threshold)
    colours = np.repeat(levels[..., None], 3, axis=2)
    mine, theirs = watershed(levels, markers), skimage.segmentation.watershed(levels, markers)
    differ = float((mine != theirs).mean())
    check(differ < TIES, f"{differ:.2%} of the pixels differ from scikit-image's")
    runs: dict[str, Callable[[], object]] = {
        "ours": partial(watershed, levels, markers),
        "scikit-image": partial(skimage.segmentation.watershed, levels, markers),
        "OpenCV": partial(opencv, colours, markers),
    }
    times = turn_about(runs, repeats)
    table.add_row(
        *named(probability, threshold),
        f"{markers.max():,}",
        f"{(markers == 0).mean():.0%}",
        f"{differ:.3%}",
        *(f"{1000 * times[name]:.1f}" for name in runs),
        f"{times['scikit-image'] / times['ours']:.1f}",
        f"{times['OpenCV'] / times['ours']:.1f}",
    )


def compare_ways(table: Table, probability: FloatArray, threshold: float, repeats: int) -> None:
    """Check, measure, and add a row."""
    mine, packed = ours(probability, threshold)
    check(
        packed == tuple(map(RLE.encode, (mine.mask(k) for k in range(mine.count)))), "run lengths are wrong"
    )
    fast = seconds(partial(ours, probability, threshold), repeats)
    cells = ["—", "—", f"{1000 * fast:.1f}", "—"]
    if mine.count * probability.size <= MOST_BYTES:
        labels, masks = published(probability, threshold)
        differ = disagreement(mine.labels, labels)
        check(len(masks) == mine.count, f"{mine.count} segments, and {len(masks)} in the published way")
        check(differ < TIES, f"{differ:.2%} of the pixels differ from the published way")
        runs: dict[str, Callable[[], object]] = {
            "ours": partial(ours, probability, threshold),
            "published": partial(published, probability, threshold),
        }
        times = turn_about(runs, repeats)
        cells = [f"{differ:.3%}", f"{1000 * times['published']:.0f}", f"{1000 * times['ours']:.1f}"]
        cells.append(f"{times['published'] / times['ours']:.0f}")
    table.add_row(*named(probability, threshold), f"{mine.count:,}", *cells)


def named(probability: FloatArray, threshold: float) -> tuple[str, str]:
    """What a row is about."""
    return f"{probability.shape[0]}", f"{threshold:g}"


def check(holds: bool | npt.NDArray[np.bool_], message: str) -> None:
    """End when what is compared is not the same."""
    if not holds:
        raise SystemExit(message)


def main() -> None:
    """Measure, and print two tables of ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", help=f"a file; by default {PHOTOS[0].name}, from scikit-image's package")
    parser.add_argument("--side", type=int, nargs="+", default=SIDES, help="of the map, in pixels")
    parser.add_argument("--threshold", type=float, nargs="+", default=THRESHOLDS)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    photo = (read_image(given.photo) if given.photo else PHOTOS[0].read()).pixels
    floods = Table(
        "side", "t", "seeds", "to flood", "differ", "ours, ms", "skimage", "OpenCV", "× skimage", "× OpenCV"
    )
    ways = Table("side", "t", "segments", "differ", "published, ms", "ours, ms", "ratio")
    for side in given.side:
        probability = gradient(photo, side)
        for threshold in given.threshold:
            compare_watersheds(floods, probability, threshold, given.repeats)
            compare_ways(ways, probability, threshold, given.repeats)
    Console().print("Watershed", floods, "From the map to run lengths", ways, sep="\n")


if __name__ == "__main__":
    main()
