"""Partitions: seeds and valleys, full cover, budgets met over weakest borders, and what is told of them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import skimage.measure
import skimage.segmentation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from methods.everything.maps import SHAPES, probabilities, ridges
from reference import partitions

from maskwright.errors import InputError
from maskwright.io.rle import RLE
from maskwright.methods.everything.merging import Merges, merge, roots
from maskwright.methods.everything.seeds import minima, prepared, seeds, to_levels
from maskwright.methods.everything.segments import Segments, segments
from maskwright.types import FloatArray

LABELS = hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 6))


def same_partition(one: Any, other: Any) -> bool:
    """Whether two label maps differ in names only."""
    pairs = {(a, b) for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@settings(deadline=None, max_examples=60)
@given(probabilities(), st.sampled_from([0.0, 0.2, 0.5, 1.0]))
def test_seeds_are_the_parts_that_are_not_above_the_threshold(
    probability: FloatArray, threshold: float
) -> None:
    found = seeds(probability, threshold)
    expected = skimage.measure.label(~(probability > np.float32(threshold)), connectivity=1)
    assert ((found > 0) == (probability <= np.float32(threshold))).all()
    assert same_partition(found, expected)


@settings(deadline=None, max_examples=80)
@given(hnp.arrays(np.uint8, SHAPES, elements=st.integers(0, 3)))
def test_valleys_are_plateaus_without_a_lower_neighbour(levels: Any) -> None:
    found = minima(levels)
    expected = {frozenset(part) for part in partitions.minima(levels.tolist())}
    parts = [frozenset(map(tuple, np.argwhere(found == k).tolist())) for k in range(1, found.max() + 1)]
    assert set(parts) == expected
    assert len(parts) == len(expected)


@settings(deadline=None, max_examples=60)
@given(LABELS)
def test_what_is_told_of_segments_is_what_their_masks_say(labels: Any) -> None:
    found = Segments.of(labels)
    masks = found.masks
    assert same_partition(found.labels, labels)
    assert found.count == len(np.unique(labels)) == len(masks)
    assert (masks.sum(axis=0) == 1).all()
    assert found.areas.tolist() == masks.sum(axis=(1, 2)).tolist() == sorted(found.areas, reverse=True)
    assert found.rles() == tuple(RLE.encode(mask) for mask in masks)
    for k, (x, y, width, height) in enumerate(rle.box for rle in found.rles()):
        assert found.boxes[k].tolist() == [x, y, x + width, y + height]
        assert (found.mask(k) == masks[k]).all()


@settings(deadline=None, max_examples=60)
@given(LABELS, st.data())
def test_borders_are_the_pairs_of_pixels_that_differ(labels: Any, data: Any) -> None:
    found = Segments.of(labels)
    steps = data.draw(hnp.arrays(np.uint8, labels.shape))
    expected = partitions.borders(found.labels.tolist(), steps.tolist())
    borders = found.borders(steps.astype(np.float32) / 255)
    assert {tuple(pair) for pair in borders.pairs.tolist()} == set(expected)
    for pair, length, total, strength in zip(
        borders.pairs.tolist(), borders.lengths, borders.sums, borders.strengths, strict=True
    ):
        values = expected[tuple(pair)]
        assert (length, total) == (len(values), sum(values))
        assert strength == pytest.approx(sum(values) / len(values) / 255)
    assert found.adjacency().tolist() == borders.pairs.tolist()
    lines = [
        any((j, i) > (y, x) and labels[j, i] != labels[y, x] for j, i in partitions.neighbours(y, x, labels))
        for y, x in partitions.pixels(labels)
    ]
    assert found.boundary().ravel().tolist() == lines


def weakest(labels: Any, levels: Any, min_area: int) -> Fraction | None:
    """The strength of the border that goes next, by definition."""
    known = partitions.strengths(labels.tolist(), levels.tolist())
    areas = {label: int((labels == label).sum()) for label in np.unique(labels).tolist()}
    small = [value for pair, value in known.items() if min(areas[label] for label in pair) < min_area]
    return min(small or known.values(), default=None)


@settings(deadline=None, max_examples=40)
@given(st.data(), st.integers(0, 6), st.integers(1, 5))
def test_each_merge_is_over_the_weakest_border(data: Any, min_area: int, count: int) -> None:
    shape = data.draw(SHAPES)
    found = Segments.of(data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 12))))
    levels = data.draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 60, 255])))
    borders = found.borders(levels.astype(np.float32) / 255)
    merges = merge(borders, found.areas, min_area=min_area, count=count)
    for done in range(len(merges.pairs)):
        labels = roots(Merges(merges.pairs, merges.strengths), found.count, done)[found.labels - 1]
        expected = weakest(labels, levels, min_area)
        assert expected is not None
        assert merges.strengths[done] == pytest.approx(float(expected), abs=1e-6)
        one, other = sorted(merges.pairs[done].tolist())
        assert partitions.strengths(labels.tolist(), levels.tolist())[one, other] == expected
    left = found.joined(roots(merges, found.count, len(merges.pairs)))
    assert left.count == found.count - len(merges.pairs)
    assert left.count == 1 or left.areas[-1] >= min_area
    assert left.count <= max(count, 1)


@settings(deadline=None, max_examples=60)
@given(probabilities(), st.sampled_from([None, 0.0, 0.3, 1.0]), st.integers(1, 4), st.integers(0, 5))
def test_every_pixel_is_of_one_connected_segment(
    probability: FloatArray, threshold: float | None, max_tokens: int, min_area: int
) -> None:
    whole = segments(probability, threshold=threshold)
    few = segments(probability, threshold=threshold, max_tokens=max_tokens, min_area=min_area)
    for found in (whole, few):
        assert found.size == probability.shape
        assert skimage.measure.label(found.labels, connectivity=1, background=0).max() == found.count
    assert few.count <= max_tokens
    assert few.count == 1 or few.areas[-1] >= min_area
    if threshold is not None:
        assert whole.count == max(seeds(probability, threshold).max(), 1)


def test_segments_are_the_published_ones() -> None:
    probability = ridges(120, 170)
    found = segments(probability, threshold=0.2)
    markers = skimage.measure.label(~(probability > 0.2), connectivity=1, background=0)
    theirs = skimage.segmentation.watershed(to_levels(probability), markers)
    assert found.count == markers.max() > 5
    matched = sum(np.bincount(theirs[found.mask(k)]).max() for k in range(found.count))
    assert matched > 0.999 * probability.size


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 1), (7, 300)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_map_of_one_value_is_one_segment(shape: tuple[int, int], value: float) -> None:
    for threshold in (0.5, 0.1, None):
        found = segments(np.full(shape, value, np.float32), threshold=threshold, max_tokens=3, min_area=9)
        assert (found.count, found.areas.tolist()) == (1, [shape[0] * shape[1]])
        assert not found.boundary().any()
        assert not len(found.adjacency())


def test_a_painted_frame_cuts_nothing_off() -> None:
    probability = np.zeros((40, 60), np.float32)
    probability[:, 30] = 1
    painted = probability.copy()
    painted[:3], painted[-3:], painted[:, :3], painted[:, -3:] = 1, 1, 1, 1
    painted[0, :20] = 0  # a sliver outside the frame
    assert segments(painted, threshold=0.5).count == 3
    assert (prepared(painted, 3) == probability).all()
    found = segments(painted, threshold=0.5, rim=3)
    assert (found.labels == segments(probability, threshold=0.5).labels).all()
    # A map that is all frame keeps its middle.
    assert prepared(painted[:5, :4], 9).shape == (5, 4)
    assert (prepared(painted[:1, :1], 2) == painted[:1, :1]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 1.5}, "threshold is a probability"),
        ({"threshold": float("nan")}, "threshold is a probability"),
        ({"max_tokens": 0}, "max_tokens is from 1, not 0"),
        ({"min_area": -1}, "min_area is a number of pixels from 0"),
        ({"rim": -2}, "rim is a number of pixels from 0"),
        ({"probability": np.zeros((3, 4), np.float64)}, "float32"),
        ({"probability": np.zeros((0, 4), np.float32)}, "one pixel at least"),
        ({"probability": np.zeros((3, 4, 1), np.float32)}, "shape"),
        ({"probability": np.full((3, 4), 1.5, np.float32)}, "goes from 1.5 to 1.5"),
        ({"probability": np.full((3, 4), np.nan, np.float32)}, "from nan to nan"),
    ],
)
def test_what_makes_no_partition_is_refused(change: dict[str, Any], message: str) -> None:
    given_all: dict[str, Any] = {"probability": np.zeros((3, 4), np.float32), "threshold": 0.5} | change
    with pytest.raises(InputError, match=message):
        segments(given_all.pop("probability"), **given_all)


def test_labels_that_are_no_partition_are_refused() -> None:
    for wrong in ([[1, 0]], [[1, 3]], [[1, 2, 2]], [[-1, 1]]):
        with pytest.raises(InputError, match=r"label from 1|Segments\.of"):
            Segments(np.array(wrong, np.int32))
    with pytest.raises(InputError, match="a pixel at least"):
        Segments.of(np.zeros((0, 3), np.int32))
    odd = np.array([[-5, 2**40], [7, 7]])
    assert Segments.of(odd).labels.tolist() == [[2, 3], [1, 1]]
