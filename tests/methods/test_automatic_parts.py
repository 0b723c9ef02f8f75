"""The generator's parts against their slow twins in `reference.automatic`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import automatic as reference

from maskwright.io.rle import RLE
from maskwright.methods.automatic.crops import make_crops, point_grid
from maskwright.methods.automatic.filters import cut_off, measure
from maskwright.methods.automatic.regions import clean
from maskwright.methods.automatic.run_lengths import encode, encode_by_ends
from maskwright.methods.automatic.suppression import suppress
from maskwright.types import BoolArray, Image

QUICK = settings(deadline=None, max_examples=60)
sides = st.integers(0, 6)
corners = st.tuples(sides, sides, sides, sides).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
candidates = st.lists(st.tuples(corners, st.integers(0, 4)), max_size=25)
masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@QUICK
@given(candidates, st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_suppression(found: list[tuple[tuple[int, int, int, int], int]], threshold: float) -> None:
    boxes, scores = [box for box, _ in found], [float(score) / 4 for _, score in found]
    assert suppress(boxes, scores, threshold) == reference.suppress(boxes, scores, threshold)


def test_equal_scores_are_kept_in_order() -> None:
    boxes = [(0, 0, 9, 9), (50, 50, 59, 59), (0, 0, 9, 9), (20, 20, 29, 29)]
    assert suppress(boxes, [0.5] * 4, 0.7) == [0, 1, 3]
    assert suppress(boxes, [0.5, 0.5, 0.6, 0.5], 0.7) == [2, 1, 3]


def test_a_box_at_the_threshold_stays() -> None:
    assert suppress([(0, 0, 10, 10), (0, 0, 10, 7)], [1, 0], 0.7) == [0, 1]
    assert suppress([(0, 0, 10, 10), (0, 0, 10, 8)], [1, 0], 0.7) == [0]


def test_masks_one_pixel_wide_are_suppressed_too() -> None:
    assert suppress([(5, 0, 5, 9), (5, 0, 5, 8), (6, 0, 6, 9)], [3, 2, 1], 0.7) == [0, 2]


def test_nothing_to_suppress() -> None:
    assert suppress([], [], 0.7) == []


@QUICK
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
        elements=st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]),
    ),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_measures(logits: npt.NDArray[np.float32], offset: float) -> None:
    measures = measure(torch.from_numpy(logits), offset)
    for k, single in enumerate(logits):
        assert measures.stability[k] == reference.stability(single, offset)
        assert measures.areas[k] == (single > 0).sum()
        assert tuple(measures.boxes[k]) == reference.inclusive_box(single > 0)


@QUICK
@given(masks, st.integers(1, 12))
def test_cleaning(mask: BoolArray, smallest: int) -> None:
    before = mask.copy()
    islands = sorted(len(region) for region in reference.regions(reference.filled(mask, smallest)))
    assume(
        not (len(islands) > 1 and smallest > islands[-1] == islands[-2])
    )  # which of the largest stays is open
    cleaned = clean(mask, smallest)
    assert np.array_equal(mask, before)
    assert np.array_equal(cleaned, reference.clean(mask, smallest))
    assert (cleaned is mask) == np.array_equal(cleaned, mask)


def test_holes_at_the_border_are_filled_and_the_largest_island_stays() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:4, 2:4] = mask[10:13, 10:13] = True
    assert clean(mask, 20).sum() == 9
    full = np.ones((20, 20), bool)
    full[0, 0] = full[8:10, 8:10] = False
    assert clean(full, 5).all()


@QUICK
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)), st.integers(0, 3), st.sampled_from([0.0, 0.34, 0.9])
)
def test_crops(size: tuple[int, int], layers: int, overlap: float) -> None:
    crops = make_crops(size, layers, overlap)
    assert [(crop.box, crop.layer) for crop in crops] == reference.crops(size, layers, overlap)
    for layer in {crop.layer for crop in crops if crop.area > 1}:
        seen = np.zeros(size, bool)
        for crop in crops:
            if crop.layer <= layer:
                seen[crop.place] = True
        assert seen.all()


def test_crops_as_released() -> None:
    boxes = [crop.box for crop in make_crops((200, 300), 1, 512 / 1500)]
    assert boxes == [
        (0, 0, 300, 200), (0, 0, 184, 134), (0, 66, 184, 200), (116, 0, 300, 134), (116, 66, 300, 200),
    ]  # fmt: skip


def test_a_crop_shares_the_images_pixels() -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    crop = make_crops((40, 60), 1, 0.3)[-1]
    assert np.shares_memory(crop.cut(Image(pixels)).pixels, pixels)
    assert crop.cut(Image(pixels)).size == crop.size == crop.xywh[:1:-1]


def test_grid() -> None:
    assert point_grid(2, (40, 80)).tolist() == [[20, 10], [60, 10], [20, 30], [60, 30]]
    assert point_grid(1, (1, 1)).tolist() == [[0.5, 0.5]]


def test_what_a_crops_edge_cuts_is_left_out_but_not_what_the_images_does() -> None:
    crop, size = (0, 100, 200, 300), (400, 500)
    boxes = np.array([
        [0, 150, 100, 250],  # at the image's left edge
        [30, 115, 100, 250],  # near the crop's top
        [30, 150, 185, 250],  # near its right
        [30, 121, 100, 279],  # inside
    ])  # fmt: skip
    assert cut_off(boxes, crop, size).tolist() == [False, True, True, False]
    assert not cut_off(boxes, (0, 0, 500, 400), size).any()


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (64, 33)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_run_lengths_by_their_ends(shape: tuple[int, int], share: float) -> None:
    """What a GPU does, done here."""
    mask = np.random.default_rng(0).random(shape) < share
    assert encode_by_ends(torch.from_numpy(mask)) == RLE.encode(mask)
    assert encode(torch.from_numpy(mask)) == RLE.encode(mask)
