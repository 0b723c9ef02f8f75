"""BSDS500's boundary counts.

A boundary map is thinned at each of some thresholds and its pixels are matched with those of every
annotator, one to one. The plain version thins the whole image in NumPy and solves every matching from
scratch with SciPy's min_weight_full_bipartite_matching. Maps are HED's on test photos of BSDS500; without
the data, made-up lines. Predicted pixels, true pixels and matched true pixels must be equal; which
predicted pixels are matched may differ where several matchings cost the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from inputs import ROOT
from sides import OURS, Comparison

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from reference import boundary_benchmark as plain

from maskwright.data.bsds import read_boundaries
from maskwright.methods.everything.evaluate import find_prediction, photos_of
from maskwright.methods.everything.predictions import read_boundary_map
from maskwright.metrics.boundary_scores import MAX_DIST, count_boundaries, even_thresholds, thinned
from maskwright.types import BoolArray, FloatArray

PEER = "NumPy and SciPy"


def comparisons(quick: bool) -> Iterator[Comparison]:
    """Some photos, at few thresholds and at all."""
    photos, levels = (1, 2) if quick else (2, 19)
    for name, probability, targets in scenes(photos):
        if quick:
            probability, targets = probability[:80, :100], [target[:80, :100] for target in targets]
        yield compare(f"{name}, {len(targets)} annotators, {levels} thresholds", probability, targets, levels)


def compare(name: str, probability: FloatArray, targets: Sequence[BoolArray], levels: int) -> Comparison:
    """One photo's counts."""
    thresholds = even_thresholds(levels)
    values = probability.astype(np.float64)
    return Comparison(
        name=name,
        sides={
            OURS: lambda: count_boundaries(list(thinned(probability, thresholds)), targets, thresholds),
            PEER: lambda: plain.counts(values, targets, thresholds, MAX_DIST),
        },
        check=same_counts,
        goals={PEER: 1.0},
    )


def scenes(count: int) -> Iterator[tuple[str, FloatArray, Sequence[BoolArray]]]:
    """Names, boundary maps and annotators' boundaries."""
    data = ROOT / "BSDS500"
    if data.is_dir():
        for photo in photos_of(f"bsds500:{data}", count):
            probability = read_boundary_map(find_prediction(data / "predictions" / "hed", photo))
            yield f"photo {photo.name}", probability, read_boundaries(photo.truth)
        return
    rng = np.random.default_rng(0)
    for number in range(count):
        corners = rng.integers(0, 321, (12, 4, 2)).astype(np.int32)
        drawn = [cv2.polylines(np.zeros((321, 481), np.uint8), list(corners + k), True, 1) for k in range(4)]
        noise = rng.random((321, 481), np.float32) / 4
        blurred = cv2.GaussianBlur(np.mean(drawn, axis=0, dtype=np.float32) + noise, (0, 0), 1)
        yield f"made-up lines {number + 1}", blurred / blurred.max(), [line.view(np.bool_) for line in drawn]


def same_counts(outputs: dict[str, Any]) -> str:
    """All counts but that of matched predicted pixels are equal."""
    ours = outputs[OURS]
    recalled, true, hit, predicted = outputs[PEER].T
    np.testing.assert_array_equal(ours.recalled, recalled)
    np.testing.assert_array_equal(ours.true, true)
    np.testing.assert_array_equal(ours.predicted, predicted)
    return f"identical; matched predicted pixels {ours.hit.sum()} and {hit.sum()}"
