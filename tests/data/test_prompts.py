from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.data.prompts import (
    center_point,
    corrective_point,
    degrade_mask,
    edge_point,
    jitter_box,
    random_points,
    scale_box,
    tight_box,
)
from maskwright.errors import InputError

Mask = npt.NDArray[np.bool_]

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
full_masks = masks.filter(lambda mask: bool(mask.any()))


def disk(size: int, x: float, y: float, radius: float) -> Mask:
    rows, columns = np.mgrid[:size, :size]
    result: Mask = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    return result


@given(full_masks)
def test_the_tight_box_holds_the_mask_and_nothing_more(mask: Mask) -> None:
    x0, y0, x1, y1 = tight_box(mask).astype(int)
    inside = np.zeros_like(mask)
    inside[y0:y1, x0:x1] = True
    assert not (mask & ~inside).any()
    cut = mask[y0:y1, x0:x1]
    assert cut[0].any()
    assert cut[-1].any()
    assert cut[:, 0].any()
    assert cut[:, -1].any()


@pytest.mark.parametrize(
    "draw", [tight_box, center_point, lambda mask: random_points(mask, np.random.default_rng())]
)
def test_an_empty_mask_gives_no_prompt(draw: Callable[[Mask], Any]) -> None:
    with pytest.raises(InputError, match=r"\(4, 5\) is empty"):
        draw(np.zeros((4, 5), bool))


@given(full_masks, st.integers(0, 1000))
def test_noisy_boxes_stay_valid_and_inside(mask: Mask, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = mask.shape
    box = tight_box(mask)
    for noisy in (jitter_box(box, mask.shape, rng, deviation=2.0), scale_box(box, mask.shape, rng, 2.0)):
        assert noisy.dtype == np.float32
        assert (noisy[:2] >= 0).all()
        assert (noisy[2:] <= [width, height]).all()
        assert (noisy[2:] - noisy[:2] >= 1 - 1e-5).all()


def test_jitter_has_sams_spread_on_each_coordinate_alone() -> None:
    rng = np.random.default_rng(0)
    box, size = np.array([400, 300, 500, 340], np.float32), (1000, 1000)
    shifts = np.stack([jitter_box(box, size, rng) - box for _ in range(4000)])
    np.testing.assert_allclose(shifts.std(axis=0), [10, 4, 10, 4], rtol=0.05)
    np.testing.assert_allclose(shifts.mean(axis=0), 0, atol=0.6)
    assert np.abs(np.corrcoef(shifts.T) - np.eye(4)).max() < 0.06
    large = np.array([100, 100, 900, 900], np.float32)
    shifts = np.stack([jitter_box(large, size, rng) - large for _ in range(500)])
    assert np.abs(shifts).max() == 20


def test_scale_noise_moves_the_middle_and_the_sides_within_bounds() -> None:
    rng = np.random.default_rng(0)
    box = np.array([400, 300, 500, 340], np.float32)
    noisy = np.stack([scale_box(box, (1000, 1000), rng, 0.4) for _ in range(2000)])
    middle, sides = (noisy[:, :2] + noisy[:, 2:]) / 2, noisy[:, 2:] - noisy[:, :2]
    np.testing.assert_allclose(np.abs(middle - [450, 320]).max(axis=0), [20, 8], rtol=0.02)
    np.testing.assert_allclose(sides.min(axis=0), [60, 24], rtol=0.02)
    np.testing.assert_allclose(sides.max(axis=0), [140, 56], rtol=0.02)
    assert (scale_box(box, (1000, 1000), rng, 0.0) == box).all()


@given(full_masks, st.integers(1, 30), st.integers(0, 1000))
def test_random_points_lie_on_the_mask_and_differ_while_they_can(mask: Mask, count: int, seed: int) -> None:
    points = random_points(mask, np.random.default_rng(seed), count).astype(int)
    assert points.shape == (count, 2)
    assert mask[points[:, 1], points[:, 0]].all()
    if count <= mask.sum():
        assert len({tuple(point) for point in points}) == count


def test_random_points_are_uniform_and_repeatable() -> None:
    mask = np.zeros((3, 3), bool)
    mask[[0, 1, 2, 2], [1, 0, 0, 2]] = True
    rng = np.random.default_rng(0)
    points = np.concatenate([random_points(mask, rng) for _ in range(4000)]).astype(int)
    counts = np.zeros((3, 3))
    np.add.at(counts, (points[:, 1], points[:, 0]), 1)
    np.testing.assert_allclose(counts[mask], 1000, rtol=0.1)
    first, second = (random_points(mask, np.random.default_rng(5), 3) for _ in range(2))
    assert (first == second).all()


@given(full_masks)
@settings(deadline=None)
def test_the_center_is_the_pixel_farthest_from_the_outside(mask: Mask) -> None:
    outside = np.argwhere(~np.pad(mask, 1)) - 1
    inside = np.argwhere(mask)
    distance = ((inside[:, None] - outside[None]) ** 2).sum(axis=2).min(axis=1)
    x, y = center_point(mask).astype(int)
    assert mask[y, x]
    assert distance[(inside == [y, x]).all(axis=1)][0] == distance.max()


def test_the_center_of_a_disk_is_its_middle_and_the_images_edge_counts() -> None:
    assert center_point(disk(41, 25, 18, 9)).tolist() == [25, 18]
    assert center_point(np.ones((9, 21), bool)).tolist()[1] == 4


def test_the_corrective_click_goes_to_the_larger_error() -> None:
    truth, prediction = disk(64, 20, 20, 12), disk(64, 20, 20, 12)
    missed, spilled = disk(64, 50, 12, 5), disk(64, 45, 45, 9)
    found = corrective_point(truth | missed, prediction | spilled)
    assert found is not None
    assert found[0].tolist() == [45, 45]
    assert found[1] == 0
    found = corrective_point(truth | spilled, prediction | missed)
    assert found is not None
    assert found[0].tolist() == [45, 45]
    assert found[1] == 1
    assert corrective_point(truth, truth) is None


@given(hnp.arrays(bool, (2, 12, 9)), st.one_of(st.none(), st.integers(0, 1000)))
def test_a_corrective_click_is_on_an_error_and_says_which(pair: Mask, seed: int | None) -> None:
    truth, prediction = pair
    found = corrective_point(truth, prediction, None if seed is None else np.random.default_rng(seed))
    assert (found is None) == (truth == prediction).all()
    if found is not None:
        (x, y), label = found[0].astype(int), found[1]
        assert truth[y, x] != prediction[y, x]
        assert label == truth[y, x]


def test_degrading_changes_only_fine_detail() -> None:
    mask = disk(256, 120, 130, 60)
    degraded = degrade_mask(mask, np.random.default_rng(0))
    rows, columns = np.nonzero(degraded != mask)
    distance = np.abs(np.hypot(columns - 120, rows - 130) - 60)
    assert 500 < len(rows) < 20000
    assert distance.max() < 16
    assert not degrade_mask(np.zeros((256, 256), bool), np.random.default_rng(0)).any()
    assert degrade_mask(np.ones((3, 5), bool), np.random.default_rng(0)).all()


@given(full_masks, st.sampled_from([1.0, 2.0, 10.0]))
def test_an_edge_click_is_on_the_mask_and_near_its_outline(mask: Mask, reach: float) -> None:
    x, y = edge_point(mask, reach).astype(int)
    assert mask[y, x]
    rows, columns = np.nonzero(~np.pad(mask, 1))
    assert np.hypot(rows - y - 1, columns - x - 1).min() <= reach


def test_an_edge_click_is_far_from_the_middle_of_a_large_object() -> None:
    mask = disk(201, 100, 100, 90)
    x, y = edge_point(mask)
    assert 80 <= np.hypot(x - 100, y - 100) <= 90
    assert (edge_point(mask) == [x, y]).all()


def test_corrections_may_go_to_the_edge_of_the_error() -> None:
    truth = disk(201, 100, 100, 90)
    answer = corrective_point(truth, np.zeros_like(truth), point_of=edge_point)
    assert answer is not None
    assert (answer[0] == edge_point(truth)).all()
    assert answer[1] == 1
