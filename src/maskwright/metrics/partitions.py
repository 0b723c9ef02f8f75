"""How well partitions of an image agree with human ones, as BSDS500 scores it.

Segmentation covering, probabilistic Rand index, and variation of information (Arbeláez et al., PAMI 2011,
section 2.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from maskwright.errors import InputError
from maskwright.types import check_shape

Labels = npt.NDArray[np.integer[Any]]
Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RegionCounts:
    """How one image's partitions at T levels agree with its annotators'.

    Args:
        levels: (T,), rising: thresholds, from fine to coarse.
        covered: (T,), the true regions' areas, each times its best IoU with a predicted one, summed.
        best_covered: the same with each true region's best IoU over all levels.
        area: the true regions' areas, summed.
        rand: (T,), mean Rand index with an annotator's partition.
        information: (T,), mean variation of information, in bits.
    """

    levels: Doubles
    covered: Doubles
    best_covered: float
    area: int
    rand: Doubles
    information: Doubles

    def to_json(self) -> dict[str, Any]:
        """Lists and numbers by name."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RegionCounts:
        """What `to_json` gave."""
        values: dict[str, Any] = {
            name: np.array(value, np.float64) if isinstance(value, list) else value
            for name, value in content.items()
        }
        return cls(**values)


def count_regions(partitions: Iterable[Labels], targets: Sequence[Labels], levels: Doubles) -> RegionCounts:
    """Compare one image's partitions with every annotator's.

    Args:
        partitions: (H, W) labels from 0, one a level; made one after the other. Coarser ones after those they
            are merged from are counted by merging, not anew.
        targets: (H, W) labels from 0, one an annotator.
        levels: as many as partitions.

    Raises:
        InputError: for different sizes, or no annotator.
    """
    if not targets:
        raise InputError("partitions need at least one annotator's to be compared with.")
    truth = _Truth.of(targets)
    rows: list[tuple[float, float, float]] = []
    best = np.zeros(len(truth.areas))
    for shared in _shared(partitions, truth):
        overlap = _best_iou(shared, truth)
        best = np.maximum(best, overlap)
        rows.append((float(overlap @ truth.areas), *_agreement(shared, truth)))
    assert len(rows) == len(levels), (len(rows), len(levels))
    covered, rand, information = np.array(rows, np.float64).T
    return RegionCounts(levels, covered, float(best @ truth.areas), int(truth.areas.sum()), rand, information)


def covering(labels: Labels, target: Labels) -> float:
    """Covering of a true partition by a predicted one: mean best IoU of its regions, by area, in [0, 1]."""
    found = count_regions([labels], [target], np.zeros(1))
    return float(found.covered[0]) / found.area


def rand_index(labels: Labels, target: Labels) -> float:
    """Share of the pairs of pixels that both partitions put together, or both apart."""
    return float(count_regions([labels], [target], np.zeros(1)).rand[0])


def variation_of_information(labels: Labels, target: Labels) -> float:
    """H(labels | target) + H(target | labels), in bits; 0 for equal partitions."""
    return float(count_regions([labels], [target], np.zeros(1)).information[0])


@dataclass(frozen=True)
class AtLevels:
    """A measure over images: at the best level for all (ODS), that level, and each at its own (OIS)."""

    ods: float
    level: float
    ois: float


@dataclass(frozen=True, eq=False)
class RegionScores:
    """The benchmark's figures over images.

    Args:
        images: at least one, all with the same levels.
    """

    images: Sequence[RegionCounts]

    def __post_init__(self) -> None:
        assert self.images, "no image"
        for image in self.images:
            if not np.array_equal(image.levels, self.levels):
                raise InputError("the images have been measured at different levels.")

    @property
    def levels(self) -> Doubles:
        """(T,)."""
        return self.images[0].levels

    @cached_property
    def coverings(self) -> Doubles:
        """(T,), over all true regions of all images."""
        return np.asarray(np.sum([image.covered for image in self.images], axis=0) / self._area, np.float64)

    @cached_property
    def rands(self) -> Doubles:
        """(T,), mean over images."""
        return np.asarray(np.mean([image.rand for image in self.images], axis=0), np.float64)

    @cached_property
    def informations(self) -> Doubles:
        """(T,), mean over images."""
        return np.asarray(np.mean([image.information for image in self.images], axis=0), np.float64)

    @cached_property
    def covering(self) -> AtLevels:
        """Segmentation covering, higher is better."""
        own = sum(float(image.covered.max()) for image in self.images) / self._area
        return _at(self.levels, self.coverings, int(np.argmax(self.coverings)), own)

    @cached_property
    def best_covering(self) -> float:
        """Covering when each true region may take its best predicted one from any level."""
        return sum(image.best_covered for image in self.images) / self._area

    @cached_property
    def pri(self) -> AtLevels:
        """Probabilistic Rand index, higher is better."""
        own = float(np.mean([image.rand.max() for image in self.images]))
        return _at(self.levels, self.rands, int(np.argmax(self.rands)), own)

    @cached_property
    def voi(self) -> AtLevels:
        """Variation of information in bits, lower is better."""
        own = float(np.mean([image.information.min() for image in self.images]))
        return _at(self.levels, self.informations, int(np.argmin(self.informations)), own)

    @property
    def _area(self) -> int:
        return sum(image.area for image in self.images)


def _at(levels: Doubles, values: Doubles, place: int, own: float) -> AtLevels:
    return AtLevels(float(values[place]), float(levels[place]), own)


@dataclass(frozen=True, eq=False)
class _Truth:
    """All annotators' regions, numbered through.

    Args:
        labels: (H * W,) one an annotator.
        areas: (G,) pixels of each region.
        owners: (G,) the annotator of each region.
        size: (H, W).
    """

    labels: Sequence[Integers]
    areas: Integers
    owners: Integers
    size: tuple[int, int]

    @classmethod
    def of(cls, targets: Sequence[Labels]) -> _Truth:
        for labels in targets:
            check_shape("target", labels, targets[0].shape)
        areas = [np.bincount(labels.ravel()) for labels in targets]
        sizes = [len(part) for part in areas]
        flat = [
            labels.ravel().astype(np.int64) + start
            for labels, start in zip(targets, np.cumsum([0, *sizes]), strict=False)
        ]
        height, width = targets[0].shape
        return cls(flat, np.concatenate(areas), np.repeat(np.arange(len(sizes)), sizes), (height, width))


def _shared(partitions: Iterable[Labels], truth: _Truth) -> Iterator[scipy.sparse.csr_array]:
    """For each partition the pixels that its regions (rows) share with the true ones (columns)."""
    atoms, table = np.zeros(0, np.int64), None
    for labels in partitions:
        check_shape("partition", labels, truth.size)
        flat = labels.ravel().astype(np.int64)
        if table is not None:
            merged = np.zeros(table.shape[0], np.int64)
            merged[atoms] = flat
        if table is not None and np.array_equal(merged[atoms], flat):
            table = _grouped(merged, np.arange(len(merged))) @ table
        else:
            table = sum(
                (_grouped(flat, part, len(truth.areas)) for part in truth.labels[1:]),
                _grouped(flat, truth.labels[0], len(truth.areas)),
            )
        atoms = flat
        yield table


def _grouped(rows: Integers, columns: Integers, width: int | None = None) -> scipy.sparse.csr_array:
    """How often each pair of numbers occurs."""
    shape = (int(rows.max()) + 1, int(columns.max()) + 1 if width is None else width)
    return scipy.sparse.coo_array((np.ones(len(rows), np.int64), (rows, columns)), shape).tocsr()


def _best_iou(shared: scipy.sparse.csr_array, truth: _Truth) -> Doubles:
    """(G,), each true region's best IoU with a predicted one."""
    pairs = shared.tocoo()
    # All annotators' partitions cover the image, so a region's row has its area once for each of them.
    areas = shared.sum(axis=1) / len(truth.labels)
    best = np.zeros(len(truth.areas))
    union = areas[pairs.row] + truth.areas[pairs.col] - pairs.data
    np.maximum.at(best, pairs.col, pairs.data / union)
    return best


def _agreement(shared: scipy.sparse.csr_array, truth: _Truth) -> tuple[float, float]:
    """Rand index and variation of information, each the mean over the annotators."""
    pairs = shared.tocoo()
    count = len(truth.labels)
    owners = truth.owners[pairs.col]
    joint = pairs.data.astype(np.float64)
    ours = shared.sum(axis=1).astype(np.float64) / count
    theirs = truth.areas.astype(np.float64)
    total = ours.sum()

    def summed(values: Doubles, owner: Integers) -> Doubles:
        return np.asarray(np.bincount(owner, values, count), np.float64)

    apart = (np.square(ours).sum() + summed(np.square(theirs), truth.owners)) / 2 - summed(
        np.square(joint), owners
    )
    rand = 1 - apart / (total * (total - 1) / 2) if total > 1 else np.ones(count)
    # H(U | V) + H(V | U) = 2 H(U, V) - H(U) - H(V), with H = log n - (Σ k log k) / n in all three.
    logs = _k_log_k(ours).sum() + summed(_k_log_k(theirs), truth.owners) - 2 * summed(_k_log_k(joint), owners)
    return float(np.mean(rand)), float(np.mean(logs / total))


def _k_log_k(counts: Doubles) -> Doubles:
    return counts * np.log2(np.maximum(counts, 1))
