"""Where a label and its refined form disagree, which of the two is right?

h w: a photo's height and width; n: pixels that were looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskwright.data.dataset import Dataset
from maskwright.data.registry import open_dataset
from maskwright.types import BoolArray, FloatArray

UNCERTAINTY = (0.0, 0.1, 0.4, 1.0)
"""Bounds of the bins of u = |σ(s) - σ(r)|."""
CONFIDENCE = (0.0, 0.3, 0.7, 0.9, 1.0)
"""Bounds of the bins of |2 σ(r) - 1|, the refiner's confidence."""
SAME_OBJECT = 0.4
"""IoU from which on a human mask is of the object that the label means."""
AROUND = 15
"""Side in pixels of the square by which the masks are widened: pixels further off are easy for both."""
STEP = 10
"""One of so many pixels is looked at."""


def disagreement(folder: Path, human: Sequence[str], every: int = 3) -> list[dict[str, Any]]:
    """How many pixels label and refined mask have right, by their difference and the refiner's confidence.

    Args:
        folder: a labelled set with refined masks.
        human: specs of datasets with human masks of its photos.
        every: one of so many photos is looked at.

    Returns:
        As `compare`.
    """
    found = list(_masks(folder, human, every))
    label, refined = (np.concatenate([one[part] for one in found]) for part in (0, 1))
    return compare(label, refined, np.concatenate([one[2] for one in found]))


def compare(label_n: FloatArray, refined_n: FloatArray, truth_n: BoolArray) -> list[dict[str, Any]]:
    """A row for each pair of bins with pixels in it.

    It holds the bins' bounds, the bin's `share` of all pixels, and the shares that the label and the refined
    mask have right (`label_right`, `refined_right`).
    """
    uncertainty, confidence = abs(label_n - refined_n), abs(2 * refined_n - 1)
    rows = []
    for low, high in pairwise(UNCERTAINTY):
        for less, more in pairwise(CONFIDENCE):
            here = _within(uncertainty, low, high) & _within(confidence, less, more)
            if here.any():
                rows.append(
                    {
                        "uncertainty": [low, high],
                        "confidence": [less, more],
                        "share": float(here.mean()),
                        "label_right": float(((label_n > 0.5) == truth_n)[here].mean()),
                        "refined_right": float(((refined_n > 0.5) == truth_n)[here].mean()),
                    }
                )
    return rows


def _within(values_n: FloatArray, low: float, high: float) -> BoolArray:
    """At least `low` and below `high`; the last bin, to 1, holds 1 too."""
    return (values_n >= low) & ((values_n < high) | (high == 1.0))


def _masks(
    folder: Path, human: Sequence[str], every: int
) -> Iterator[tuple[FloatArray, FloatArray, BoolArray]]:
    """σ(s), σ(r) and the human answer of some pixels around each label that a human mask is of."""
    truths = _by_photo(human)
    labels = open_dataset(f"labelled:{folder}?min_refine_ratio=0")
    refined = open_dataset(f"labelled:{folder}?min_refine_ratio=0&target=refined")
    for index in range(0, len(labels), every):
        sample, other = labels[index], refined[index]
        known = truths[labels.image_path(index)]
        if not known:
            continue
        truth = np.concatenate([np.asarray(data[at].masks) for data, at in known])
        assert sample.soft is not None
        assert other.soft is not None
        for number in range(len(sample.ids)):
            drawn = np.asarray(sample.masks[number])
            overlap = (truth & drawn).sum((1, 2)) / np.maximum((truth | drawn).sum((1, 2)), 1)
            if overlap.max() >= SAME_OBJECT:
                maps = np.asarray(sample.soft[number]), np.asarray(other.soft[number])
                yield _around(*maps, truth[overlap.argmax()])


def _by_photo(human: Sequence[str]) -> defaultdict[Path, list[tuple[Dataset, int]]]:
    """Of each photo its places in the datasets: a dataset may have several annotators."""
    places: defaultdict[Path, list[tuple[Dataset, int]]] = defaultdict(list)
    for spec in human:
        data = open_dataset(spec)
        for index in range(len(data)):
            places[data.image_path(index)].append((data, index))
    return places


def _around(
    label_hw: FloatArray, refined_hw: FloatArray, truth_hw: BoolArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Some of the pixels of the three masks and their surroundings."""
    any_hw = (label_hw > 0.5) | (refined_hw > 0.5) | truth_hw
    near = cv2.dilate(any_hw.astype(np.uint8), np.ones((AROUND, AROUND), np.uint8))
    chosen = np.flatnonzero(near)[::STEP]
    return label_hw.flat[chosen], refined_hw.flat[chosen], truth_hw.flat[chosen]
