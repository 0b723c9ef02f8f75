"""The watershed: its slow twin's labels, scikit-image's up to ties of markers, and maps of odd shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.segmentation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from methods.everything.maps import SHAPES, levels_and_markers, ridges
from reference import partitions

from maskwright.errors import InputError
from maskwright.methods.everything.seeds import seeds, to_levels
from maskwright.methods.everything.watershed import watershed


@settings(deadline=None, max_examples=150)
@given(levels_and_markers())
def test_it_equals_its_slow_twin(given_maps: Any) -> None:
    levels, markers = given_maps
    expected = partitions.watershed(levels.tolist(), markers.tolist())
    assert watershed(levels, markers).tolist() == expected


@settings(deadline=None, max_examples=100)
@given(levels_and_markers())
def test_it_equals_scikit_image_once_seeds_are_in_order(given_maps: Any) -> None:
    # Of markers on one level, scikit-image's heap takes any first; a little lower, but above all lower
    # levels, they go row by row. Seeds lie lower than all other pixels; else that would move the water.
    levels, markers = given_maps
    levels = np.where(markers > 0, levels // 2, levels // 2 + 128).astype(np.uint8)
    in_order = (np.arange(1, levels.size + 1).reshape(levels.shape) / (levels.size + 1) - 1) / 2
    heights = levels + np.where(markers > 0, in_order, 0)
    assert (watershed(levels, markers) == skimage.segmentation.watershed(heights, markers)).all()


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_it_equals_scikit_image_where_no_two_markers_tie(data: Any) -> None:
    shape = data.draw(SHAPES)
    levels = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 3))) * np.uint8(80)
    markers = np.zeros(shape, np.int32)
    places = data.draw(st.lists(st.integers(0, levels.size - 1), unique=True, min_size=1, max_size=6))
    markers.ravel()[places] = np.arange(1, len(places) + 1)
    levels.ravel()[places] = data.draw(st.permutations([1, 2, 81, 82, 254, 255]))[: len(places)]
    assert (watershed(levels, markers) == skimage.segmentation.watershed(levels, markers)).all()


@pytest.mark.parametrize("threshold", [0.1, 0.3])
def test_on_a_smooth_map_next_to_nothing_differs_from_scikit_image(threshold: float) -> None:
    probability = ridges(200, 260)
    levels, markers = to_levels(probability), seeds(probability, threshold)
    theirs = skimage.segmentation.watershed(levels, markers)
    assert markers.max() > 8
    assert (watershed(levels, markers) != theirs).mean() < 1e-3


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 1), (3, 65), (130, 64)])
def test_odd_shapes_are_filled(shape: tuple[int, int]) -> None:
    levels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    markers = np.zeros(shape, np.int32)
    markers[0, 0], markers[-1, -1] = 1, 2
    labels = watershed(levels, markers)
    assert labels.dtype == np.int32
    assert labels[-1, -1] == 2
    assert (labels > 0).all()


def test_without_a_marker_nothing_is_flooded_and_with_all_nothing_changes() -> None:
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert not watershed(levels, np.zeros((3, 4), np.int32)).any()
    markers = np.full((3, 4), 2**31 - 1, np.int32)
    assert (watershed(levels, markers) == markers).all()
    assert watershed(np.zeros((0, 5), np.uint8), np.zeros((0, 5), np.int32)).shape == (0, 5)


def test_views_are_read_right_and_nothing_given_is_changed() -> None:
    whole = np.random.default_rng(1).integers(0, 256, (40, 60), np.uint8)
    levels = whole.T[::2, ::3]
    markers = np.zeros((levels.shape[1], levels.shape[0]), np.int32).T
    markers[2, 3], markers[20, 5] = 4, 5
    before = levels.copy(), markers.copy()
    labels = watershed(levels, markers)
    assert (labels == watershed(levels.copy(), np.ascontiguousarray(markers))).all()
    assert (levels == before[0]).all()
    assert (markers == before[1]).all()


def test_what_does_not_fit_is_refused() -> None:
    levels = np.zeros((3, 4), np.uint8)
    with pytest.raises(InputError, match=r"shape \(3, 4\), not \(4, 3\)"):
        watershed(levels, np.zeros((4, 3), np.int32))
    with pytest.raises(InputError, match="one is -3"):
        watershed(levels, np.full((3, 4), -3, np.int32))
