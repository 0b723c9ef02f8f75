"""DAVIS's J and F: against slow twins, by hand, and against the public evaluation's figures on real masks."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import video_metrics as twin

from maskwright.errors import InputError
from maskwright.io.masks import read_mask
from maskwright.metrics.regions import iou
from maskwright.metrics.video import contour, contour_f, over_frames
from maskwright.types import BoolArray

# The public davis2017-evaluation's figures where the first mask is repeated in all frames: mean, recall and
# decay of J, then of F, without the first and the last frame.
PUBLIC = {
    "blackswan": (
        (0.5450234891585568, 0.7291666666666666, 0.1018571151482639),
        (0.3340332154724177, 0.0625, 0.2681473902818827),
    ),
    "goat": (
        (0.21021365054713997, 0.03409090909090909, -0.006956043731672357),
        (0.14657888819129183, 0.011363636363636364, -0.016614427583239832),
    ),
    "breakdance": (
        (0.2074448655548188, 0.05263157894736842, -0.00523232980385907),
        (0.18075742654439023, 0.0, 0.005556507224979773),
    ),
    "bmx-trees": (
        (0.0882710366355457, 0.05555555555555555, 0.29212289160902943),
        (0.23289766437384551, 0.2222222222222222, 0.616567701075146),
    ),
}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[BoolArray, BoolArray]:
    shape = draw(st.tuples(st.integers(1, 14), st.integers(1, 14)))
    masks = []
    for _ in range(2):
        kind = draw(st.sampled_from(["empty", "full", "noise", "rectangle"]))
        mask = draw(hnp.arrays(np.bool_, shape)) if kind == "noise" else np.full(shape, kind == "full")
        if kind == "rectangle":
            top, left = (draw(st.integers(0, side - 1)) for side in shape)
            mask[top : top + draw(st.integers(1, 9)), left : left + draw(st.integers(1, 9))] = True
        masks.append(mask)
    return masks[0], masks[1]


@given(pair=pairs())
@settings(max_examples=100, deadline=None)
def test_contour_equals_twin(pair: tuple[BoolArray, BoolArray]) -> None:
    found = {(int(y), int(x)) for y, x in np.argwhere(contour(pair[0]))}
    assert found == set(twin.contour(pair[0]))


@given(pair=pairs(), tolerance=st.sampled_from([0.008, 0.1, 0.3]))
@settings(max_examples=200, deadline=None)
def test_contour_f_equals_twin(pair: tuple[BoolArray, BoolArray], tolerance: float) -> None:
    assert float(contour_f(*pair, tolerance)) == pytest.approx(twin.contour_f(*pair, tolerance), abs=1e-15)


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_over_frames_equals_twin(scores: list[float]) -> None:
    found = over_frames(scores)
    assert (found.mean, found.recall, found.decay) == pytest.approx(twin.over_frames(scores), abs=1e-12)


@given(pair=pairs())
@settings(max_examples=100, deadline=None)
def test_f_is_symmetric_and_one_for_equal_masks(pair: tuple[BoolArray, BoolArray]) -> None:
    assert float(contour_f(*pair)) == pytest.approx(float(contour_f(*pair[::-1])), abs=1e-15)
    assert float(contour_f(pair[0], pair[0])) == 1
    assert 0 <= float(contour_f(*pair)) <= 1


def square(left: int, side: int = 40) -> BoolArray:
    mask = np.zeros((100, 100), np.bool_)
    mask[30 : 30 + side, left : left + side] = True
    return mask


def test_a_shift_within_the_tolerance_costs_nothing() -> None:
    # The diagonal is 141.4 pixels, so that 0.8 % of it is 1.13 and the radius 2.
    assert float(contour_f(square(20), square(22))) == 1
    assert float(contour_f(square(20), square(23))) < 1


def test_by_hand() -> None:
    # The outline of a single pixel is the pixel and three to its upper left.
    one, other = np.zeros((2, 10, 10), np.bool_)
    one[5, 5] = True
    other[5, 6] = True
    assert sorted(map(tuple, np.argwhere(contour(one)).tolist())) == [(4, 4), (4, 5), (5, 4), (5, 5)]
    assert float(contour_f(one, other)) == 1  # the radius is 1
    far = np.zeros((10, 10), np.bool_)
    far[5, 8] = True
    assert float(contour_f(one, far)) == 0


def test_empty_masks_and_whole_images_have_no_outline() -> None:
    empty, full = np.zeros((20, 30), np.bool_), np.ones((20, 30), np.bool_)
    part = empty.copy()
    part[4:9, 4:9] = True
    for nothing in (empty, full):
        assert float(contour_f(nothing, empty)) == 1
        assert float(contour_f(nothing, part)) == float(contour_f(part, nothing)) == 0


def test_objects_are_scored_one_by_one() -> None:
    ours, theirs = np.stack([square(20), square(30)]), np.stack([square(20), square(60)])
    scores = contour_f(ours, theirs)
    assert scores.shape == (2,)
    assert scores.tolist() == [float(contour_f(*pair)) for pair in zip(ours, theirs, strict=True)]


def test_decay_is_the_first_quarter_minus_the_last() -> None:
    # Of eight frames, quarters end at 1, 2.75, 4.5, 6.25 and 8, rounded: 1 to 3 and 6 to 8.
    found = over_frames([1.0, 0.9, 0.8, 0.5, 0.5, 0.4, 0.2, 0.0])
    assert found.decay == pytest.approx(0.9 - 0.2)
    assert found.recall == 3 / 8
    assert over_frames([0.7]).decay == 0


def test_decay_of_a_long_video_has_no_overflow() -> None:
    assert over_frames(np.linspace(1, 0, 1000)).decay == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("scores", [[], [0.5, float("nan")], [[0.5]]])
def test_scores_that_cannot_be_summed_up_are_refused(scores: list[float]) -> None:
    with pytest.raises(InputError):
        over_frames(scores)


def test_mistakes_are_refused() -> None:
    with pytest.raises(InputError, match="target"):
        contour_f(np.zeros((3, 4), np.bool_), np.zeros((4, 3), np.bool_))
    with pytest.raises(InputError, match="tolerance"):
        contour_f(square(1), square(1), 2)


@pytest.mark.parametrize("name", list(PUBLIC))
def test_figures_are_those_of_the_public_evaluation(name: str, data_root: Path) -> None:
    files = sorted((data_root / "DAVIS2016/Annotations/480p" / name).glob("*.png"))
    masks = np.stack([read_mask(path, threshold=0) for path in files])
    target = masks[1:-1]
    predicted = np.broadcast_to(masks[0], target.shape)
    for scores, public in zip(
        (iou(predicted, target), contour_f(predicted, target)), PUBLIC[name], strict=True
    ):
        found = over_frames(scores)
        assert (found.mean, found.recall, found.decay) == pytest.approx(public, abs=1e-12)


def test_a_frame_takes_milliseconds() -> None:
    y, x = np.mgrid[:480, :854]
    masks = [(x - left) ** 2 + (y - 240) ** 2 < 150**2 for left in (400, 420)]
    contour_f(*masks)
    taken = []
    for _ in range(5):
        start = time.process_time()
        contour_f(*masks)
        taken.append(time.process_time() - start)
    assert min(taken) < 0.05  # 0.005 on an idle machine
