"""A full partition of an image into segments, and how one is made from a boundary map.

EPOC (Chen et al. 2025, "Subobject-level image tokenization", section 3): what is not above a threshold falls
into 4-connected parts; these are the seeds of a watershed on the boundary map, so that every pixel belongs to
a segment. The threshold sets how fine the partition is. Unlike there, a token budget or a least area drops
nothing: what is too much joins its neighbour over the weakest border.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from maskwright.compiled import compiled
from maskwright.data.outlines import Shapes, outline
from maskwright.errors import InputError
from maskwright.io.label_rle import encode_labels
from maskwright.io.rle import RLE
from maskwright.methods.everything.borders import (
    Borders,
    Counts,
    find_borders,
)
from maskwright.methods.everything.merging import merge, roots
from maskwright.methods.everything.seeds import minima, prepared, seeds, to_levels
from maskwright.methods.everything.watershed import Labels, watershed
from maskwright.types import BoolArray, FloatArray, check_shape


@dataclass(frozen=True, eq=False)
class Segments:
    """N segments that cover an image without overlap, the largest first.

    Args:
        labels: (H, W) int32: 1…N, each segment's pixels its number.

    Raises:
        InputError: unless the map has a pixel and holds all numbers from 1 to N, by falling area.
            `Segments.of` makes one from any label map.
    """

    labels: Labels

    def __post_init__(self) -> None:
        check_shape("labels", self.labels, ("H", "W"))
        assert self.labels.dtype == np.int32, self.labels.dtype
        if not self.labels.size or self.labels.min() < 1:
            raise InputError("a partition has a pixel at least, and each pixel a label from 1.")
        if not (self.areas > 0).all() or (np.diff(self.areas) > 0).any():
            raise InputError("labels count from 1 without a gap, by falling area; use Segments.of.")

    @classmethod
    def of(cls, labels: npt.NDArray[np.integer]) -> Segments:
        """Number the regions of any (H, W) label map by area; one region a label, of equals the lower label.

        Raises:
            InputError: for a map without pixels.
        """
        check_shape("labels", labels, ("H", "W"))
        if not labels.size:
            raise InputError(f"a partition has a pixel at least; this map's shape is {labels.shape}.")
        if labels.min() < 0 or labels.max() > labels.size:
            labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
        numbers: Labels = np.ascontiguousarray(labels, np.int32)
        return cls(_renamed(numbers, _ranks(np.bincount(numbers.ravel()))))

    def joined(self, regions: Labels) -> Segments:
        """The coarser partition where segment k + 1 is part of region `regions[k]`, (N,) int32 from 0."""
        areas = np.bincount(regions, self.areas).astype(np.int64)
        names = np.concatenate([[0], _ranks(areas)[regions]]).astype(np.int32)
        return Segments(_renamed(self.labels, names))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def count(self) -> int:
        """The number of segments."""
        return len(self.areas)

    @property
    def areas(self) -> Counts:
        """(N,) int64, in pixels, falling."""
        return self._measures[0]

    @property
    def boxes(self) -> Counts:
        """(N, 4) int64, the tight box (x0, y0, x1, y1) of each; x1 and y1 lie outside."""
        return self._measures[1]

    @cached_property
    def _measures(self) -> tuple[Counts, Counts]:
        count = int(self.labels.max())
        areas, boxes = np.zeros(count, np.int64), np.zeros((count, 4), np.int64)
        boxes[:, :2] = max(self.size)
        _measure(np.ascontiguousarray(self.labels), areas, boxes)
        return areas, boxes

    def rles(self) -> tuple[RLE, ...]:
        """The N masks as COCO run lengths, made straight from the label map."""
        return encode_labels(self.labels, self.count)

    def mask(self, index: int) -> BoolArray:
        """The (H, W) mask of the segment at `index`, which counts from 0 as in `areas`."""
        mask: BoolArray = self.labels == range(1, self.count + 1)[index]
        return mask

    @property
    def masks(self) -> BoolArray:
        """All masks, (N, H, W) bool: N bytes a pixel, made when asked for; `rles` is what to keep."""
        masks = np.zeros((self.count, self.labels.size), np.bool_)
        masks[self.labels.ravel() - 1, np.arange(self.labels.size)] = True
        return masks.reshape(self.count, *self.size)

    def boundary(self) -> BoolArray:
        """The lines between segments, one pixel wide: pixels whose right or lower neighbour is of another."""
        return outline(Shapes(self.size, [self.labels]), thickness=1)

    def borders(self, probability: FloatArray) -> Borders:
        """Which segments touch, along how many pixels, and how strong a boundary map is there.

        Raises:
            InputError: unless the map is (H, W), of probabilities.
        """
        check_shape("the boundary map", probability, self.size)
        return find_borders(self.labels, to_levels(prepared(probability)))

    def adjacency(self) -> Labels:
        """(E, 2) int32, the labels of each two segments that touch, the larger segment first."""
        return find_borders(self.labels, np.zeros(self.size, np.uint8)).pairs


def segments(
    probability: FloatArray,
    *,
    threshold: float | None,
    max_tokens: int | None = None,
    min_area: int = 0,
    rim: int = 0,
) -> Segments:
    """Cut an image along its boundaries.

    Args:
        probability: (H, W) float32 in [0, 1], each pixel's probability to lie on a boundary.
        threshold: seeds are the parts that are not above it; where there are none, the image is one segment.
            None: they are the map's valleys, the finest partition that it has.
        max_tokens: the number of segments there may be; None for any. Until it is met, the two segments with
            the weakest border become one.
        min_area: in pixels: smaller segments join a neighbour before that, also over the weakest border.
        rim: in pixels: how far from the image's sides the map is not believed, see `prepared`.

    Raises:
        InputError: for a map that is none, or a setting out of range.
    """
    if max_tokens is not None and max_tokens < 1:
        raise InputError(f"a partition has one segment at least, so max_tokens is from 1, not {max_tokens}.")
    if min_area < 0:
        raise InputError(f"min_area is a number of pixels from 0, not {min_area}.")
    probability = prepared(probability, rim)
    levels = to_levels(probability)
    markers = minima(levels) if threshold is None else seeds(probability, threshold)
    partition = Segments.of(watershed(levels, markers))
    count = partition.count if max_tokens is None else max_tokens
    if partition.count <= count and partition.areas[-1] >= min_area:
        return partition
    borders = find_borders(partition.labels, levels)
    merges = merge(borders, partition.areas, min_area=min_area, count=count)
    return partition.joined(roots(merges, partition.count, len(merges.pairs)))


def _ranks(areas: Counts) -> Labels:
    """For each area its place by falling area, from 1."""
    order = np.argsort(-areas, kind="stable")
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks


def _renamed(labels: Labels, names: Labels) -> Labels:
    result = np.empty_like(labels)
    _look_up(labels, names, result)
    return result


@compiled
def _look_up(labels: Labels, names: Labels, result: Labels) -> None:
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            result[y, x] = names[labels[y, x]]


@compiled
def _measure(labels: Labels, areas: Counts, boxes: Counts) -> None:
    """Add up areas, run by run, and widen boxes, which begin as (far, far, 0, 0)."""
    height, width = labels.shape
    for y in range(height):
        start = 0
        for x in range(1, width + 1):
            if x < width and labels[y, x] == labels[y, start]:
                continue
            k = labels[y, start] - 1
            areas[k] += x - start
            boxes[k, 0] = min(boxes[k, 0], start)
            boxes[k, 1] = min(boxes[k, 1], y)
            boxes[k, 2] = max(boxes[k, 2], x)
            boxes[k, 3] = y + 1
            start = x
