"""Boundary detection as BSDS500 scores it: counts at thresholds, then ODS, OIS, AP and R50 over images.

Arbeláez et al., "Contour Detection and Hierarchical Image Segmentation", PAMI 2011, section 2.2; Martin et
al., PAMI 2004. Sums over images, not means of their scores: images with more boundary weigh more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.data.thinning import thin
from maskwright.errors import InputError
from maskwright.metrics.matching import Matching
from maskwright.types import BoolArray, FloatArray, check_shape

MAX_DIST = 0.0075
"""The radius of BSDS500 as a share of the diagonal; NYUD has 0.011."""
THRESHOLDS = 99
_SUB_STEPS = 100
_HALF = 0.5

Counts = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BoundaryCounts:
    """What was matched in one image, at each of T thresholds.

    Args:
        thresholds: (T,), rising.
        recalled: (T,), true pixels with a match, summed over the annotators.
        true: (T,), all their boundary pixels.
        hit: (T,), predicted pixels with a match in any annotator's boundaries.
        predicted: (T,), all predicted pixels.
    """

    thresholds: Doubles
    recalled: Counts
    true: Counts
    hit: Counts
    predicted: Counts

    @property
    def recall(self) -> Doubles:
        """(T,) share of the true pixels with a match; 0 where there are none."""
        return np.asarray(self.recalled / np.maximum(self.true, 1), np.float64)

    @property
    def precision(self) -> Doubles:
        """(T,) share of the predicted pixels with a match; 0 where there are none."""
        return np.asarray(self.hit / np.maximum(self.predicted, 1), np.float64)

    @property
    def f(self) -> Doubles:
        """(T,) harmonic mean of the two."""
        return _f_measure(self.recall, self.precision)

    def at(self, place: int) -> BoundaryCounts:
        """The counts at one threshold."""
        return BoundaryCounts(*(values[place : place + 1] for values in vars(self).values()))

    def to_json(self) -> dict[str, list[float]]:
        """Lists by name."""
        return {name: values.tolist() for name, values in vars(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> BoundaryCounts:
        """What `to_json` gave."""
        counts = ("recalled", "true", "hit", "predicted")
        return cls(
            np.array(content["thresholds"], np.float64),
            *(np.array(content[name], np.int64) for name in counts),
        )


def even_thresholds(count: int = THRESHOLDS) -> Doubles:
    """The benchmark's thresholds: `count` of them, evenly between 0 and 1: 0.01, 0.02, … 0.99.

    Raises:
        InputError: unless there is at least one.
    """
    if count < 1:
        raise InputError(f"there must be at least one threshold, not {count}.")
    return np.linspace(1 / (count + 1), 1 - 1 / (count + 1), count)


def thinned(probability: FloatArray | Doubles, thresholds: Doubles) -> Iterator[BoolArray]:
    """The lines of a boundary map at each threshold: where it is at least that, thinned."""
    levels = probability.astype(np.float64)
    last, lines = -1, np.zeros(levels.shape, np.bool_)
    for threshold in thresholds:
        mask = levels >= threshold
        # Equally many pixels at a higher threshold are the same pixels.
        if (count := int(mask.sum())) != last:
            last, lines = count, thin(mask)
        yield lines


def count_boundaries(
    lines: Iterable[BoolArray],
    targets: Sequence[BoolArray],
    thresholds: Doubles,
    *,
    max_dist: float = MAX_DIST,
) -> BoundaryCounts:
    """Match one image's lines at each threshold with every annotator's boundary.

    Args:
        lines: (H, W) bool, one a threshold: what `thinned` gives, of which only the pixels are kept.
        targets: (H, W) bool, one an annotator.
        thresholds: as many as lines, rising.
        max_dist: the largest distance of a match as a share of the diagonal.

    Raises:
        InputError: for different sizes, no annotator, or a distance outside (0, 1).
    """
    if not 0 < max_dist < 1:
        raise InputError(f"the largest distance must be a share of the diagonal in (0, 1), not {max_dist}.")
    if not targets:
        raise InputError("boundaries need at least one annotator to be compared with.")
    for target in targets:
        check_shape("boundary", target, targets[0].shape)
    places = []
    for mask in lines:
        check_shape("boundary", mask, targets[0].shape)
        places.append(np.flatnonzero(mask))
    count = len(places)
    assert count == len(thresholds), (count, len(thresholds))
    # From few lines to many: pixels are then mostly added, which costs less than to take them out.
    order = range(count)[::-1]
    gone = [np.setdiff1d(places[k + 1], places[k], True) if k + 1 < count else places[k][:0] for k in order]
    come = [np.setdiff1d(places[k], places[k + 1], True) if k + 1 < count else places[k] for k in order]
    hit = [np.zeros(len(place), np.bool_) for place in places]
    recalled = np.zeros(count, np.int64)
    radius = max_dist * math.hypot(*targets[0].shape)
    for target in targets:
        matching = Matching(target, radius)
        numbers = [matching.numbers(place) for place in places]
        for k, removed, added in zip(order, gone, come, strict=True):
            matching.update(matching.numbers(removed), matching.numbers(added))
            matched = matching.matched(numbers[k])
            hit[k] |= matched
            recalled[k] += matched.sum()
    true = np.full(count, sum(int(target.sum()) for target in targets), np.int64)
    predicted = np.array([len(place) for place in places], np.int64)
    return BoundaryCounts(thresholds, recalled, true, np.array([found.sum() for found in hit]), predicted)


@dataclass(frozen=True)
class Point:
    """A place on the precision-recall curve."""

    threshold: float | None
    recall: float
    precision: float
    f: float


@dataclass(frozen=True, eq=False)
class BoundaryScores:
    """The benchmark's figures over images.

    Args:
        images: at least one, all with the same thresholds.
    """

    images: Sequence[BoundaryCounts]

    def __post_init__(self) -> None:
        assert self.images, "no image"
        for image in self.images:
            if not np.array_equal(image.thresholds, self.thresholds):
                raise InputError("the images have been measured at different thresholds.")

    @property
    def thresholds(self) -> Doubles:
        """(T,)."""
        return self.images[0].thresholds

    @cached_property
    def sums(self) -> BoundaryCounts:
        """The counts over all images."""
        return _summed(self.images, self.thresholds)

    @cached_property
    def recall(self) -> Doubles:
        """(T,) over all images."""
        return self.sums.recall

    @cached_property
    def precision(self) -> Doubles:
        """(T,) over all images; 0 where nothing is predicted."""
        return self.sums.precision

    @cached_property
    def f(self) -> Doubles:
        """(T,) over all images."""
        return self.sums.f

    @cached_property
    def ods(self) -> Point:
        """The best F at one threshold for all images, between thresholds too (100 steps, linearly)."""
        return _best(self.thresholds, self.recall, self.precision)

    @cached_property
    def ois(self) -> Point:
        """F of the counts that each image has at its own best threshold."""
        best = [image.at(int(np.argmax(image.f))) for image in self.images]
        total = _summed(best, np.zeros(1))
        return Point(None, float(total.recall[0]), float(total.precision[0]), float(total.f[0]))

    @cached_property
    def ap(self) -> float:
        """Mean precision at recall 0, 0.01 … 1; 0 where the curve does not reach."""
        recall, first = np.unique(self.recall, return_index=True)
        if len(recall) < 2:
            return 0.0
        at = np.interp(np.linspace(0, 1, 101), recall, self.precision[first], left=0.0, right=0.0)
        return float(at.sum() * 0.01)

    @cached_property
    def r50(self) -> float:
        """Recall where precision is one half, or at the lowest precision if that is higher."""
        precision, first = np.unique(self.precision, return_index=True)
        return float(np.interp(max(float(precision[0]), _HALF), precision, self.recall[first]))

    @cached_property
    def per_image(self) -> list[Point]:
        """Each image's own best F, between thresholds too."""
        return [_best(image.thresholds, image.recall, image.precision) for image in self.images]


def _summed(images: Sequence[BoundaryCounts], thresholds: Doubles) -> BoundaryCounts:
    """The counts of several images, threshold by threshold."""
    recalled, true, hit, predicted = (
        np.asarray(np.sum([vars(image)[name] for image in images], axis=0), np.int64)
        for name in ("recalled", "true", "hit", "predicted")
    )
    return BoundaryCounts(thresholds, recalled, true, hit, predicted)


def _f_measure(recall: Doubles, precision: Doubles) -> Doubles:
    total = recall + precision
    return np.asarray(2 * recall * precision / np.where(total > 0, total, 1), np.float64)


def _best(thresholds: Doubles, recall: Doubles, precision: Doubles) -> Point:
    """The point of highest F on the curve; between two thresholds it is a straight line."""
    share = np.linspace(0, 1, _SUB_STEPS)

    def fine(values: Doubles) -> Doubles:
        between = values[:-1, None] * (1 - share) + values[1:, None] * share
        return np.concatenate([values[:1], between.ravel()])

    t, r, p = fine(thresholds), fine(recall), fine(precision)
    f = _f_measure(r, p)
    place = int(np.argmax(f))
    return Point(float(t[place]), float(r[place]), float(p[place]), float(f[place]))
