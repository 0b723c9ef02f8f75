"""Token recall and the paper's measures of one photo after the other, at several thresholds.

A photo is brought to a square, its boundary map is made there (or read, and resized), and for each threshold
the boundary above it and the segments that it cuts out are scored (`metrics.tokens`). Known boundaries are
drawn at the same size as published: 2 pixels wide for recall and 3 for the paper's measures; of several
annotators' drawings all lines count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from maskwright.data.boundary_targets import KnownBoundaries, known_boundaries, resize_photo
from maskwright.data.dataset import Dataset
from maskwright.data.outlines import Size, Style, frame
from maskwright.errors import ConfigError
from maskwright.methods.everything.segments import segments
from maskwright.metrics.tokens import (
    EFFECTIVE_TOLERANCE,
    default_tolerance,
    effective_recall,
    token_recall,
    token_scores,
    token_sizes,
)
from maskwright.types import BoolArray, FloatArray, Image

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 11))
RESOLUTION = 1024
MOST_TOKENS = 1024
RANKS = np.unique(np.geomspace(1, MOST_TOKENS, 41).round().astype(int))
"""Places in the order of size at which token sizes are kept: they are drawn over a logarithmic axis."""

Detector = Callable[[Image], FloatArray]
"""From a photo of the resolution to its boundary map, of any size, (H, W) float32 in [0, 1]."""


@dataclass(frozen=True)
class TokenProtocol:
    """How tokens are measured.

    Args:
        thresholds: a boundary is where the map is above one.
        resolution: side in pixels of the square for recall.
        tolerance: of token recall in pixels; None: a hundredth of the resolution, made odd.
        effective_tolerance: of effective contour recall in pixels.
        side: side of the square for the paper's measures.
    """

    thresholds: tuple[float, ...] = THRESHOLDS
    resolution: int = RESOLUTION
    tolerance: int | None = None
    effective_tolerance: int = EFFECTIVE_TOLERANCE
    side: int = RESOLUTION

    def __post_init__(self) -> None:
        if not self.thresholds or not all(0 <= threshold < 1 for threshold in self.thresholds):
            raise ConfigError(f"thresholds are probabilities from 0 and below 1, not {self.thresholds}.")
        if list(self.thresholds) != sorted(set(self.thresholds)):
            raise ConfigError(f"thresholds rise, and none comes twice: {self.thresholds}.")
        usual = default_tolerance(self.resolution)
        tolerances = [self.effective_tolerance, usual if self.tolerance is None else self.tolerance]
        if min(tolerances) < 1 or 2 * max(tolerances) >= self.resolution:
            raise ConfigError(
                f"a tolerance is at least one pixel, and less than half the resolution of {self.resolution}."
            )


@dataclass(frozen=True)
class TokenRow:
    """Means over the photos of a dataset at one threshold; None where no photo has a value."""

    threshold: float
    recall: float
    tokens: float
    effective_recall: float | None
    effective_tokens: float | None
    precision: float
    token_recall: float
    f1: float
    monosemanticity: float
    segments: float
    seconds: float


def measure(dataset: Dataset, index: int, detector: Detector, protocol: TokenProtocol) -> dict[str, Any]:
    """Score one item at every threshold.

    Returns:
        JSON-serialisable lists, one value a threshold, by the names of `TokenRow`; "sizes", the shares of the
        image of the tokens at `RANKS`; and "detection", the detector's seconds.

    Raises:
        MaskwrightError: naming the file, when it cannot be used.
    """
    known = known_boundaries(dataset, index)
    square, side = (protocol.resolution,) * 2, (protocol.side,) * 2
    lines = {
        "first": _truth(known, square, 2, "original"),
        "last": _truth(known, square, 2, "official"),
        "paper": _truth(known, side, 3, "official"),
    }
    photo = resize_photo(known.image, square)
    start = time.perf_counter()
    probability = detector(photo)
    result: dict[str, Any] = {"detection": round(time.perf_counter() - start, 4)}
    if probability.shape != square:
        probability = cv2.resize(probability, square, interpolation=cv2.INTER_LINEAR)
    rows = [_at(probability, threshold, lines, protocol) for threshold in protocol.thresholds]
    return result | {name: [row[name] for row in rows] for name in rows[0]}


def _truth(known: KnownBoundaries, size: Size, thickness: int, style: Style) -> BoolArray:
    """What anybody drew, without the frame that published labels have, which the rims do not always cover."""
    return (known.fraction(size, thickness, style) > 0) & ~frame(size, thickness)


def _at(
    probability: FloatArray,
    threshold: float,
    lines: Mapping[str, BoolArray],
    protocol: TokenProtocol,
) -> dict[str, Any]:
    predicted = probability > threshold
    first = token_recall(lines["first"], predicted, protocol.tolerance)
    last = effective_recall(lines["last"], predicted, protocol.effective_tolerance)
    start = time.perf_counter()
    found = segments(probability, threshold=threshold)
    seconds = time.perf_counter() - start
    labels = cv2.resize(found.labels, (protocol.side,) * 2, interpolation=cv2.INTER_NEAREST)
    paper = token_scores(lines["paper"], labels)
    sizes = token_sizes(found.areas, probability.size, MOST_TOKENS)[RANKS - 1]
    return {
        "recall": first.recall,
        "tokens": first.tokens,
        "effective_recall": None if last is None else last.recall,
        "effective_tokens": None if last is None else last.tokens,
        "precision": paper.precision,
        "token_recall": paper.recall,
        "f1": paper.f1,
        "monosemanticity": paper.monosemanticity,
        "segments": found.count,
        "seconds": round(seconds, 4),
        "sizes": [float(f"{size:.3g}") for size in sizes],
    }


def summarise(records: Sequence[Mapping[str, Any]], protocol: TokenProtocol) -> list[TokenRow]:
    """Means over the photos at each threshold; a photo without a value is left out of that mean."""

    def mean(name: str, place: int) -> float | None:
        values = [record[name][place] for record in records if record[name][place] is not None]
        return float(np.mean(values)) if values else None

    names = [name for name in TokenRow.__dataclass_fields__ if name != "threshold"]
    return [
        TokenRow(threshold, **{name: mean(name, place) for name in names})  # type: ignore[arg-type]
        for place, threshold in enumerate(protocol.thresholds)
    ]


def size_curves(records: Sequence[Mapping[str, Any]], protocol: TokenProtocol) -> dict[float, list[float]]:
    """For each threshold the mean share of the image of a photo's largest token, its second and so on."""
    means = np.mean([record["sizes"] for record in records], axis=0)
    return {threshold: row.tolist() for threshold, row in zip(protocol.thresholds, means, strict=True)}
