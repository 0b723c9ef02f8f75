"""Segments of a boundary model and masks of a grid of clicks, of the same photos, by turns in one process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.data.boundary_targets import known_boundaries
from maskwright.data.outlines import frame
from maskwright.data.registry import open_dataset
from maskwright.io.records import RecordWriter, read_records
from maskwright.io.rle import RLE
from maskwright.methods.automatic.generator import AutomaticMask, generate
from maskwright.methods.evaluate import spread
from maskwright.methods.everything.cut import DEFAULTS, boundary_of_masks
from maskwright.methods.everything.hierarchy import Hierarchy
from maskwright.metrics.tokens import token_scores
from maskwright.models.boundary_detector import BoundaryDetector
from maskwright.models.boundary_files import load_boundary
from maskwright.models.registry import load
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, Image

GRIDS = ("nano-small", "nano")
COUNTS = (4, 8, 16, 32, 64, 128, 256, 512)
SIDE = 1024
"""At which the paper measures."""

Labels = npt.NDArray[np.integer]


def compare(model: str, spec: str, limit: int, path: Path) -> list[dict[str, Any]]:
    """Measure what is not finished.

    Args:
        model: of boundaries.
        spec: photos with known boundaries.
        limit: at most so many of them, spread evenly.
        path: one record a finished photo.

    Returns:
        Of each photo and method: CPU seconds by stage; scores of what the method finds ("found"), of the
        segments of its tree ("tree") and of its best masks ("best") by number; and with as many segments as a
        grid found masks ("as NAME").
    """
    dataset = open_dataset(spec)
    chosen = spread(len(dataset), limit)
    names = [dataset.image_path(k).stem for k in chosen]
    done = {record["image"]: record for record in read_records(path)}
    pending = [(k, name) for k, name in zip(chosen, names, strict=True) if name not in done]
    if pending:
        detector = load_boundary(model, device="cpu")
        grids = {name: load(name, device="cpu") for name in GRIDS}
        # What is compiled or allocated at first use is no part of any method.
        warm = known_boundaries(dataset, chosen[0]).image
        measure(warm, np.ones((SIDE, SIDE), np.bool_), detector, grids)
        with RecordWriter(path) as records:
            for index, name in pending:
                known = known_boundaries(dataset, index)
                truth = (known.fraction((SIDE, SIDE), 3, "official") > 0) & ~frame((SIDE, SIDE), 3)
                done[name] = {"image": name, "methods": measure(known.image, truth, detector, grids)}
                records.append(done[name])
    return [done[name] for name in names]


def measure(
    image: Image, truth: BoolArray, detector: BoundaryDetector, grids: dict[str, Segmenter]
) -> dict[str, dict[str, Any]]:
    """All methods on one photo."""
    seconds: dict[str, float] = {}
    with clocked(seconds, "boundary map"):
        probability = detector(image)
    with clocked(seconds, "region tree"):
        tree = Hierarchy.of(probability)
    with clocked(seconds, "segments"):
        found = tree.at(DEFAULTS.level)
        found.rles()
    boundary: dict[str, Any] = {"seconds": seconds, "tree": of_tree(truth, tree)}
    boundary["found"] = scored(truth, found.labels, found.count)
    results = {}
    for name, segmenter in grids.items():
        masks, results[name] = of_grid(image, truth, segmenter)
        # A partition has one segment at least.
        equal = tree.with_count(max(1, len(masks)))
        boundary[f"as {name}"] = scored(truth, equal.labels, equal.count)
    return {"boundary": boundary} | results


def of_grid(
    image: Image, truth: BoolArray, segmenter: Segmenter
) -> tuple[list[AutomaticMask], dict[str, Any]]:
    """The masks of a grid, best first, and what is measured of them."""
    seconds: dict[str, float] = {}
    with clocked(seconds, "grid"):
        masks = sorted(generate(segmenter, image), key=lambda mask: -mask.predicted_iou)
    rles, scores = [mask.rle for mask in masks], [mask.predicted_iou for mask in masks]
    tree = Hierarchy.of(boundary_of_masks(rles, scores, image.size))
    best = [
        scored(truth, label_map(rles[:count], image.size), count) for count in COUNTS if count <= len(rles)
    ]
    found = scored(truth, label_map(rles, image.size), len(rles))
    return masks, {"seconds": seconds, "found": found, "tree": of_tree(truth, tree), "best": best}


def label_map(masks: Sequence[RLE], size: tuple[int, int]) -> Labels:
    """The published label map of masks that may overlap: the sum of number times mask, from 1.

    Different overlaps may have equal sums, and then have no border between them.
    """
    labels = np.zeros(size, np.int64)
    for number, mask in enumerate(masks, start=1):
        labels[mask.decode()] += number
    return labels


def of_tree(truth: BoolArray, tree: Hierarchy) -> list[dict[str, float]]:
    """Scores by the number of segments, as far as there are so many."""
    return [
        scored(truth, tree.with_count(count).labels, count) for count in COUNTS if count <= tree.fine.count
    ]


def scored(truth: BoolArray, labels: Labels, tokens: int) -> dict[str, float]:
    """The paper's measures; of overlapping masks, published label maps give the borders."""
    square = cv2.resize(labels.astype(np.float32), truth.shape[::-1], interpolation=cv2.INTER_NEAREST)
    scores = token_scores(truth, square.astype(np.int64))
    figures = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
    return {"tokens": tokens, "monosemanticity": scores.monosemanticity} | figures


@contextmanager
def clocked(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note the processor time of a stage: what else the machine does hardly changes it."""
    start = time.process_time()
    yield
    seconds[stage] = time.process_time() - start
