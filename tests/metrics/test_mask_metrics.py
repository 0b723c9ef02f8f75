"""IoU, Dice and boundary IoU against their slow twins, at every edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import mask_metrics as twin

from maskwright.errors import InputError
from maskwright.metrics import boundaries, regions
from maskwright.types import BoolArray


@st.composite
def pairs(draw: st.DrawFn, side: int = 12) -> tuple[BoolArray, BoolArray]:
    """Two masks of one size: empty, full, one pixel, a rectangle, or noise."""
    shape = draw(st.tuples(st.integers(1, side), st.integers(1, side)))
    return _mask(draw, shape), _mask(draw, shape)


def _mask(draw: st.DrawFn, shape: tuple[int, int]) -> BoolArray:
    kind = draw(st.sampled_from(["empty", "full", "pixel", "rectangle", "noise"]))
    if kind == "noise":
        return draw(hnp.arrays(np.bool_, shape))
    mask = np.full(shape, kind == "full")
    if kind in {"pixel", "rectangle"}:
        top, left = (draw(st.integers(0, side - 1)) for side in shape)
        height, width = (1, 1) if kind == "pixel" else (draw(st.integers(1, side)) for side in shape)
        mask[top : top + height, left : left + width] = True
    return mask


@pytest.mark.parametrize("name", ["iou", "dice", "precision", "recall"])
@given(pair=pairs())
@settings(max_examples=150, deadline=None)
def test_regions_equal_twin(name: str, pair: tuple[BoolArray, BoolArray]) -> None:
    assert float(getattr(regions, name)(*pair)) == pytest.approx(getattr(twin, name)(*pair), abs=1e-15)


@given(pair=pairs(), width=st.integers(1, 9))
@settings(max_examples=300, deadline=None)
def test_boundary_equals_repeated_erosions(pair: tuple[BoolArray, BoolArray], width: int) -> None:
    assert np.array_equal(boundaries.boundary(pair[0], width), twin.boundary(pair[0], width))


@given(pair=pairs(side=30), ratio=st.sampled_from([0.01, 0.02, 0.1, 1.0]))
@settings(max_examples=100, deadline=None)
def test_boundary_iou_equals_twin(pair: tuple[BoolArray, BoolArray], ratio: float) -> None:
    assert float(boundaries.boundary_iou(*pair, ratio)) == pytest.approx(
        twin.boundary_iou(*pair, ratio), abs=1e-15
    )


def test_boundary_of_a_large_mask_equals_repeated_erosions() -> None:
    y, x = np.mgrid[:321, :481]
    disc = (x - 200) ** 2 + (y - 40) ** 2 < 120**2  # cut off by the upper border
    disc[100:110, 150:300] = False
    width = boundaries.boundary_width(*disc.shape)
    assert width == 12
    assert np.array_equal(boundaries.boundary(disc, width), twin.boundary(disc, width))


@pytest.mark.parametrize(
    ("size", "expected"), [((1, 1), 1), ((321, 481), 12), ((480, 854), 20), ((1080, 1920), 44)]
)
def test_boundary_width(size: tuple[int, int], expected: int) -> None:
    assert boundaries.boundary_width(*size) == expected


def test_known_values() -> None:
    target, shifted = np.zeros((2, 50, 50), np.bool_)
    target[10:40, 10:40] = True
    shifted[10:40, 11:41] = True
    assert float(regions.iou(shifted, target)) == pytest.approx(29 / 31)
    assert float(regions.dice(shifted, target)) == pytest.approx(29 / 30)
    # d = 1: two rings of 116 pixels share the top and bottom edges, 29 pixels each.
    assert float(boundaries.boundary_iou(shifted, target)) == pytest.approx(58 / (116 + 116 - 58))


def test_leading_axes_are_kept() -> None:
    rng = np.random.default_rng(0)
    predicted, target = rng.random((2, 2, 3, 20, 30)) > 0.4
    for metric in (regions.iou, regions.dice, boundaries.boundary_iou):
        scores = metric(predicted, target)
        assert scores.shape == (2, 3)
        assert scores[1, 2] == metric(predicted[1, 2], target[1, 2])
        assert metric(predicted[:0], target[:0]).shape == (0, 3)


def test_ignored_pixels_are_left_out() -> None:
    target = np.zeros((4, 4), np.bool_)
    target[:2] = True
    predicted = np.ones((4, 4), np.bool_)
    assert float(regions.iou(predicted, target)) == 0.5
    ignore = ~target
    assert float(regions.iou(predicted, target, ignore)) == 1
    assert float(regions.iou(predicted, target, np.ones_like(ignore))) == 1


def test_wrong_arguments_say_so() -> None:
    mask = np.zeros((4, 4), np.bool_)
    with pytest.raises(InputError, match=r"\(4, 4\).*\(4, 5\)"):
        regions.iou(mask, np.zeros((4, 5), np.bool_))
    with pytest.raises(InputError, match=r"\(0, 1\]"):
        boundaries.boundary_iou(mask, mask, 0)
    with pytest.raises(InputError, match="mask must have shape"):
        boundaries.boundary(mask[None], 1)
