"""Predicted boundaries and partitions of one photo, in the forms that the BSDS500 benchmark knows.

NAME.png: a boundary map, grey, 8 or 16 bits, full range for certain. NAME.mat: `ucm2`, an ultrametric contour
map of (2 H + 1, 2 W + 1) numbers from 0 to 1 (pixels at odd places, borders between them), or `segs`, a cell
of label maps from fine to coarse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import scipy.io

from maskwright.data.thinning import thin
from maskwright.errors import ImageError, MaskError
from maskwright.io.decode import open_image
from maskwright.io.files import require_file, shown
from maskwright.methods.everything.hierarchy import Hierarchy
from maskwright.metrics.boundary_scores import even_thresholds, thinned
from maskwright.metrics.partitions import Labels
from maskwright.metrics.suppression import suppress
from maskwright.types import BoolArray, FloatArray

ENDINGS = (".png", ".mat")
_DEPTHS = {"uint8": 255, "uint16": 65535}
_FINEST = 65535

Doubles = npt.NDArray[np.float64]


class Prediction(Protocol):
    """What can be scored: lines and partitions at several levels."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the photo."""

    def levels(self, count: int) -> Doubles:
        """(T,) the levels, rising; `count` of them if it has a choice."""

    def lines(self, levels: Doubles) -> Iterator[BoolArray]:
        """The thinned boundary at each level."""

    def partitions(self, levels: Doubles) -> Iterator[Labels]:
        """The partition at each level, from fine to coarse."""


@dataclass(frozen=True, eq=False)
class BoundaryMap:
    """A boundary map; its partitions are those of its region tree.

    Args:
        probability: (H, W) float32 in [0, 1].
        suppressed: score the lines after non-maximum suppression. The partitions come from the map as it is.
    """

    probability: FloatArray
    suppressed: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.probability.shape[0], self.probability.shape[1]

    def levels(self, count: int) -> Doubles:
        """Even thresholds."""
        return even_thresholds(count)

    def lines(self, levels: Doubles) -> Iterator[BoolArray]:
        """Where the map reaches each threshold, thinned."""
        values = on_256_levels(suppress(self.probability)) if self.suppressed else self.probability
        # What a PNG holds is a fraction that float32 may round up to a threshold just above it.
        return thinned(np.rint(values.astype(np.float64) * _FINEST) / _FINEST, levels)

    def partitions(self, levels: Doubles) -> Iterator[Labels]:
        """Of the region tree of its valleys."""
        tree = Hierarchy.of(self.probability)
        return (tree.at(float(level)).labels for level in levels)


@dataclass(frozen=True, eq=False)
class ContourMap:
    """An ultrametric contour map of twice the size, as gPb-owt-ucm writes it.

    Args:
        contours: (2 H + 1, 2 W + 1) float64 in [0, 1].
    """

    contours: Doubles

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the photo."""
        return self.contours.shape[0] // 2, self.contours.shape[1] // 2

    def levels(self, count: int) -> Doubles:
        """Even thresholds."""
        return even_thresholds(count)

    def lines(self, levels: Doubles) -> Iterator[BoolArray]:
        """The contours right and below of each pixel that reach the threshold, thinned."""
        return thinned(self.contours[2::2, 2::2], levels)

    def partitions(self, levels: Doubles) -> Iterator[Labels]:
        """The 8-connected parts of what is not above each level."""
        for level in levels:
            yield cv2.connectedComponents((self.contours <= level).view(np.uint8))[1][1::2, 1::2]


@dataclass(frozen=True, eq=False)
class LabelMaps:
    """Partitions that are given.

    Args:
        labels: (H, W) from 0, at least one; from fine to coarse.
    """

    labels: Sequence[Labels]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.labels[0].shape[0], self.labels[0].shape[1]

    def levels(self, count: int) -> Doubles:
        """Their numbers, from 1, however many were asked for."""
        return np.arange(1.0, len(self.labels) + 1)

    def lines(self, levels: Doubles) -> Iterator[BoolArray]:
        """Where a pixel and its right, lower and diagonal neighbours are not of one region, thinned."""
        return (thin(_edges(labels)) for labels in self.labels)

    def partitions(self, levels: Doubles) -> Iterator[Labels]:
        """As given."""
        return iter(self.labels)


def on_256_levels(probability: FloatArray) -> FloatArray:
    """A boundary map as it is after being stored as an 8-bit PNG: in steps of 1 / 255."""
    rounded: FloatArray = np.rint(probability * np.float32(255)) / np.float32(255)
    return rounded


def read_prediction(path: Path, suppressed: bool) -> Prediction:
    """Read a prediction of any form.

    Args:
        path: PNG or Matlab file.
        suppressed: whether a boundary map is to be thinned by non-maximum suppression before it is scored.

    Raises:
        FileError: naming the file and what is wrong.
    """
    if path.suffix.lower() == ".mat":
        return _read_matlab(path)
    return BoundaryMap(read_boundary_map(path), suppressed)


def read_boundary_map(path: Path) -> FloatArray:
    """Read a boundary map, (H, W) float32 in [0, 1], from a grey PNG of 8 or 16 bits.

    Raises:
        ImageError: the file cannot be read, or has colours.
    """
    with open_image(path) as opened:
        values = opened.stored()
        colours = opened.header.mode == "P" or values.ndim != 2 or values.dtype.name not in _DEPTHS
    if colours:
        message = f"a boundary map is a grey PNG of 8 or 16 bits, and this is {opened.header.mode}"
        raise ImageError(f"cannot read {shown(path)}: {message}.")
    return values.astype(np.float32) / np.float32(_DEPTHS[values.dtype.name])


def _read_matlab(path: Path) -> Prediction:
    require_file(path)
    try:
        content = scipy.io.loadmat(path, variable_names=["ucm2", "segs"])
    except Exception as error:
        # On a damaged file scipy raises whatever its parser stumbles over.
        raise MaskError(f"{shown(path)} cannot be read as a Matlab file ({error}).") from error
    if "ucm2" in content:
        return ContourMap(_contours(path, content["ucm2"]))
    if "segs" in content:
        return LabelMaps(_label_maps(path, content["segs"]))
    raise MaskError(f"{shown(path)} has no variable ucm2 or segs; a prediction has one of them.")


def _contours(path: Path, values: npt.NDArray[Any]) -> Doubles:
    fits = (
        values.ndim == 2 and values.dtype.kind in "fu" and all(side % 2 and side > 1 for side in values.shape)
    )
    if not fits or not ((values >= 0) & (values <= 1)).all():
        raise MaskError(
            f"{shown(path)}: ucm2 must be (2 H + 1, 2 W + 1) numbers from 0 to 1, and is {values.dtype} of "
            f"shape {values.shape}."
        )
    return values.astype(np.float64)


def _label_maps(path: Path, cells: npt.NDArray[Any]) -> list[Labels]:
    maps = list(cells.ravel()) if cells.dtype == object else []
    for labels in maps:
        whole = (
            isinstance(labels, np.ndarray) and labels.ndim == 2 and labels.dtype.kind in "uif" and labels.size
        )
        if not whole or labels.shape != maps[0].shape or labels.min() < 0 or (labels % 1).any():
            raise MaskError(f"{shown(path)}: segs must hold label maps of one size, whole numbers from 0.")
    if not maps:
        raise MaskError(f"{shown(path)}: segs must be a cell of label maps, and has none.")
    return [np.unique(labels, return_inverse=True)[1].reshape(labels.shape) for labels in maps]


def _edges(labels: Labels) -> BoolArray:
    """Where a pixel and its right, lower and diagonal neighbours, as far as it has any, differ."""
    last = np.pad(labels, ((0, 1), (0, 1)), mode="edge")
    here, right, below, both = last[:-1, :-1], last[:-1, 1:], last[1:, :-1], last[1:, 1:]
    found: BoolArray = (here != right) | (here != below) | (here != both)
    return found
