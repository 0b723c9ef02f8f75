"""Clicks ∝ certainty: their probabilities and labels, what is never drawn, and masks without a choice."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chisquare

from maskwright.data.clicks import certain_points, next_clicks, sample_clicks

Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.float32]
Counter = Callable[[Mask, Map | None, int], npt.NDArray[np.int64]]

# Not square, with sure, doubtful and worthless pixels inside the region and outside it.
REGION = np.array([[1, 1, 0, 1, 1], [0, 1, 1, 1, 0], [1, 0, 0, 0, 1]], bool)
CERTAINTY = np.array([[1, 0, 1, 0.5, 0.1], [1, 0.75, 0.25, 0, 1], [0.9, 1, 0, 1, 0.02]], np.float32)


@st.composite
def frames(draw: st.DrawFn) -> tuple[Mask, Mask, Map | None]:
    """A target, a prediction and a certainty of one shape."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    target, prediction = (draw(hnp.arrays(bool, shape)) for _ in range(2))
    values = st.sampled_from([0.0, 0.25, 1.0]) | st.floats(0, 1, width=32)
    return target, prediction, draw(st.none() | hnp.arrays(np.float32, shape, elements=values))


def counts_of_single(region: Mask, certainty: Map | None, draws: int) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng(7)
    counts = np.zeros(region.shape, np.int64)
    for _ in range(draws):
        points = certain_points(region, certainty, rng, 1)
        assert points is not None
        counts[int(points[0, 1]), int(points[0, 0])] += 1
    return counts


def counts_of_batch(region: Mask, certainty: Map | None, draws: int) -> npt.NDArray[np.int64]:
    maps = [
        None if part is None else torch.from_numpy(part).expand(draws, -1, -1) for part in (region, certainty)
    ]
    assert maps[0] is not None
    points, found = sample_clicks(maps[0], maps[1], torch.Generator().manual_seed(7))
    assert found.all()
    counts = np.zeros(region.shape, np.int64)
    np.add.at(counts, tuple(points.long().numpy().T[::-1]), 1)
    return counts


@pytest.mark.parametrize("count", [counts_of_single, counts_of_batch])
@pytest.mark.parametrize("certainty", [CERTAINTY, None], ids=["certainty", "none"])
def test_each_pixel_of_the_region_is_drawn_as_often_as_it_is_certain(
    count: Counter, certainty: Map | None
) -> None:
    weights = REGION * (1.0 if certainty is None else certainty.astype(np.float64))
    counts = count(REGION, certainty, 6000)
    assert not counts[weights == 0].any()
    possible = weights > 0
    expected = weights[possible] / weights.sum() * counts.sum()
    assert chisquare(counts[possible], expected).pvalue > 0.01


def test_a_batch_draws_evenly_over_a_large_region() -> None:
    # In single precision a running sum over a whole image would miss pixels.
    region = torch.ones(1, 1, 1, dtype=torch.bool).expand(16, 256, 1024)
    points = torch.cat(
        [sample_clicks(region, None, torch.Generator().manual_seed(seed))[0] for seed in range(24)]
    )
    for axis, side in enumerate((1024, 256)):
        counts = torch.bincount(points[:, axis].long() * 16 // side, minlength=16).numpy()
        assert chisquare(counts).pvalue > 0.01
    odd = (points.long() % 2).double().mean(dim=0)
    assert (odd - 0.5).abs().max() < 0.1


def test_several_points_are_drawn_one_after_the_other_without_replacement() -> None:
    region, certainty = np.ones((1, 4), bool), np.array([[1, 0.5, 0.25, 0.75]], np.float32)
    rng = np.random.default_rng(3)
    draws, weights = 6000, certainty[0].astype(np.float64)
    pairs = {frozenset(pair): 0 for pair in permutations(range(4), 2)}
    for _ in range(draws):
        points = certain_points(region, certainty, rng, 2)
        assert points is not None
        pairs[frozenset(points[:, 0].astype(int).tolist())] += 1
    expected = dict.fromkeys(pairs, 0.0)
    for first, second in permutations(range(4), 2):
        left = weights.sum() - weights[first]
        expected[frozenset((first, second))] += weights[first] / weights.sum() * weights[second] / left
    assert chisquare(list(pairs.values()), [draws * expected[pair] for pair in pairs]).pvalue > 0.01


@given(frames(), st.integers(1, 30), st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_several_points_are_distinct_while_they_can_be(
    frame: tuple[Mask, Mask, Map | None], count: int, seed: int
) -> None:
    region, _, certainty = frame
    usable = region if certainty is None else region & (certainty > 0)
    points = certain_points(region, certainty, np.random.default_rng(seed), count)
    assert (points is None) == (not usable.any())
    if points is None:
        return
    assert points.shape == (count, 2)
    assert points.dtype == np.float32
    x, y = points.astype(int).T
    assert usable[y, x].all()
    assert len({*zip(x, y, strict=True)}) == min(count, usable.sum())


@given(frames(), st.booleans(), st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_a_click_is_in_its_region_and_says_what_the_target_is_there(
    frame: tuple[Mask, Mask, Map | None], first: bool, seed: int
) -> None:
    target, prediction, certainty = frame
    region = target if first else target ^ prediction
    usable = region if certainty is None else region & (certainty > 0)
    known = None if certainty is None else torch.from_numpy(certainty)[None]
    seen = np.zeros_like(target) if first else prediction
    wanted, found = (torch.from_numpy(mask)[None] for mask in (target, seen))
    points, labels = next_clicks(wanted, found, known, torch.Generator().manual_seed(seed))
    assert points.dtype == torch.float32
    if not usable.any():
        assert (points.tolist(), labels.tolist()) == ([[0, 0]], [-1])
        return
    x, y = points[0].int().tolist()
    assert usable[y, x]
    assert labels.tolist() == [target[y, x]]


def test_a_mask_without_a_choice_does_not_disturb_the_others() -> None:
    target = torch.zeros(4, 3, 5, dtype=torch.bool)
    target[0, 2, 3] = target[1, 1, 1] = target[3, 0, 4] = True
    certainty = torch.ones(4, 3, 5)
    certainty[1] = 0
    nothing = torch.zeros_like(target)
    points, labels = next_clicks(target, nothing, certainty, torch.Generator().manual_seed(0))
    assert points.tolist() == [[3, 2], [0, 0], [0, 0], [4, 0]]
    assert labels.tolist() == [1, -1, -1, 1]
    points, labels = next_clicks(target, target, None, torch.Generator().manual_seed(0))
    assert labels.tolist() == [-1] * 4
    assert sample_clicks(target[:0], certainty[:0], None)[0].shape == (0, 2)


def test_clicks_are_repeatable_and_differ_between_masks() -> None:
    region = torch.ones(8, 40, 30, dtype=torch.bool)
    first, second = (sample_clicks(region, None, torch.Generator().manual_seed(5))[0] for _ in range(2))
    assert torch.equal(first, second)
    assert len({tuple(point) for point in first.tolist()}) == 8
    mask = np.ones((40, 30), bool)
    one, other = (certain_points(mask, None, np.random.default_rng(5), 3) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_masks_and_certainty_of_different_frames_are_refused() -> None:
    mask, square = np.ones((3, 5), bool), np.ones((5, 5), np.float32)
    rng = np.random.default_rng(0)
    with pytest.raises(AssertionError):
        certain_points(mask, square, rng, 1)
    with pytest.raises(AssertionError):
        sample_clicks(torch.from_numpy(mask)[None], torch.from_numpy(square)[None], None)
    with pytest.raises(AssertionError):
        next_clicks(torch.from_numpy(mask)[None], torch.ones(1, 5, 5, dtype=torch.bool), None, None)
    with pytest.raises(AssertionError):
        sample_clicks(torch.ones(1, 3, 5), None, None)
