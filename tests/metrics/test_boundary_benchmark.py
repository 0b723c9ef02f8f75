"""The parts of the BSDS500 benchmark against slow twins, by hand, and against the Matlab code's results."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import boundary_benchmark as twin

from maskwright.data.bsds import read_boundaries
from maskwright.data.thinning import thin
from maskwright.errors import InputError
from maskwright.metrics.boundary_scores import (
    BoundaryCounts,
    BoundaryScores,
    count_boundaries,
    even_thresholds,
    thinned,
)
from maskwright.metrics.matching import Matching, match
from maskwright.metrics.suppression import suppress
from maskwright.types import BoolArray, FloatArray

SHAPES = st.tuples(st.integers(1, 14), st.integers(1, 14))


@st.composite
def masks(draw: st.DrawFn, shape: tuple[int, int] | None = None) -> BoolArray:
    """Noise of any density, or thick strokes."""
    size = shape or draw(st.tuples(st.integers(1, 20), st.sampled_from([1, 2, 7, 20, 63, 64, 65, 70])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask: BoolArray = rng.random(size) < draw(st.sampled_from([0.0, 0.05, 0.3, 0.7, 0.95, 1.0]))
    for _ in range(draw(st.integers(0, 3))):
        top, left = rng.integers(0, size)
        mask[top : top + rng.integers(1, 9), left : left + rng.integers(1, 40)] = True
    return mask


@given(mask=masks())
@example(mask=np.ones((20, 130), np.bool_))
@settings(max_examples=60, deadline=None)
def test_thinning_equals_twin(mask: BoolArray) -> None:
    before = mask.copy()
    thinned_mask = thin(mask)
    np.testing.assert_array_equal(thinned_mask, twin.thin(mask))
    np.testing.assert_array_equal(mask, before)
    np.testing.assert_array_equal(thin(thinned_mask), thinned_mask)


def cost(predicted: BoolArray, target: BoolArray, radius: float) -> tuple[int, int]:
    """How many are paired, and what the pairing costs if its pixels are paired as the twin pairs them."""
    found, found_targets = match(predicted, target, radius)
    assert found.sum() == found_targets.sum()
    assert not (found & ~predicted).any()
    assert not (found_targets & ~target).any()
    # Paired pixels alone can all be paired, at what the pairs of the whole cost.
    again, _, total = twin.match(found, found_targets, radius)
    assert again.sum() == found.sum()
    return int(found.sum()), total + math.ceil(1e4 * radius) * int((predicted & ~found).sum())


@given(
    data=st.data(),
    shape=SHAPES,
    radius=st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.9, 4.34]),
)
@settings(max_examples=100, deadline=None)
def test_matching_equals_twin(data: st.DataObject, shape: tuple[int, int], radius: float) -> None:
    predicted, target = data.draw(masks(shape)), data.draw(masks(shape))
    theirs, _, total = twin.match(predicted, target, radius)
    assert cost(predicted, target, radius) == (int(theirs.sum()), total)


@given(data=st.data(), shape=SHAPES)
@settings(max_examples=40, deadline=None)
def test_matching_stays_optimal_while_pixels_come_and_go(data: st.DataObject, shape: tuple[int, int]) -> None:
    target, radius = data.draw(masks(shape)), 2.5
    matching, before = Matching(target, radius), np.zeros(shape, np.bool_)
    for _ in range(4):
        after = data.draw(masks(shape))
        gone, come = (matching.numbers(np.flatnonzero(a & ~b)) for a, b in ((before, after), (after, before)))
        matching.update(gone, come)
        found = np.zeros(shape, np.bool_)
        found[after] = matching.matched(matching.numbers(np.flatnonzero(after)))
        theirs, _, total = twin.match(after, target, radius)
        assert found.sum() == theirs.sum()
        left_out = math.ceil(1e4 * radius) * int((after & ~found).sum())
        assert twin.match(found, matching.matched_targets(), radius)[2] + left_out == total
        before = after


def test_matching_is_one_to_one_and_nearest() -> None:
    predicted, target = np.zeros((2, 5, 9), np.bool_)
    predicted[2, 1:8] = True
    target[3, 3:5] = True
    found, found_targets = match(predicted, target, 1.0)
    assert np.argwhere(found).tolist() == [[2, 3], [2, 4]]
    np.testing.assert_array_equal(found_targets, target)
    assert not match(predicted, target, 0.5)[0].any()


@pytest.mark.parametrize("radius", [0.0, math.inf, math.nan])
def test_matching_refuses_a_radius_that_is_none(radius: float) -> None:
    with pytest.raises(InputError, match="largest distance"):
        match(np.ones((2, 2), np.bool_), np.ones((2, 2), np.bool_), radius)


def test_matching_refuses_other_sizes() -> None:
    with pytest.raises(InputError, match="predicted"):
        match(np.ones((2, 3), np.bool_), np.ones((2, 2), np.bool_), 1.0)


@given(probability=hnp.arrays(np.float32, SHAPES, elements=st.integers(0, 255).map(lambda k: k / 255)))
@settings(max_examples=60, deadline=None)
def test_suppression_equals_twin(probability: FloatArray) -> None:
    ours, theirs = suppress(probability), twin.suppress(probability)
    assert ours.dtype == np.float32
    # On random maps a pixel may equal its neighbour up to rounding, and then either is right.
    assert (np.abs(ours - theirs) < 1e-6).mean() >= 1 - 2 / ours.size


def test_suppression_leaves_the_crest() -> None:
    x = np.arange(40, dtype=np.float32)
    ridge = np.tile(np.exp(-((x - 20) ** 2) / 18), (40, 1)).astype(np.float32)
    for values in (ridge, np.ascontiguousarray(ridge.T)):
        found = suppress(values)
        crest = found[20] if values is ridge else found[:, 20]
        assert np.flatnonzero(crest).tolist() == [20]
    assert not suppress(np.ones((9, 9), np.float32))[0].any()


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_suppression_refuses_what_is_no_probability(value: float) -> None:
    with pytest.raises(InputError, match="probabilities"):
        suppress(np.full((3, 3), value, np.float32))


@given(data=st.data(), shape=SHAPES)
@settings(max_examples=40, deadline=None)
def test_counts_equal_twin(data: st.DataObject, shape: tuple[int, int]) -> None:
    probability = data.draw(hnp.arrays(np.uint8, shape)).astype(np.float32) / np.float32(255)
    targets = [data.draw(masks(shape)) for _ in range(data.draw(st.integers(1, 3)))]
    levels = even_thresholds(9)
    found = count_boundaries(list(thinned(probability, levels)), targets, levels, max_dist=0.1)
    theirs = twin.counts(probability, targets, levels, 0.1)
    for ours, column in zip((found.recalled, found.true, found.predicted), theirs.T[[0, 1, 3]], strict=True):
        np.testing.assert_array_equal(ours, column)
    # Of equally good matchings either may be found, and they need not leave out the same predicted pixels.
    assert (found.hit <= found.predicted).all()
    if len(targets) == 1:
        np.testing.assert_array_equal(found.hit, theirs[:, 2])


def test_counts_refuse_no_annotator_and_a_distance_that_is_none() -> None:
    lines, levels = [np.ones((3, 3), np.bool_)], even_thresholds(1)
    with pytest.raises(InputError, match="annotator"):
        count_boundaries(lines, [], levels)
    with pytest.raises(InputError, match="share of the diagonal"):
        count_boundaries(lines, lines, levels, max_dist=1.0)


def test_scores_by_hand() -> None:
    levels = even_thresholds(2)
    one = counts(levels, [(6, 8, 6, 12), (4, 8, 4, 4)])
    two = counts(levels, [(2, 8, 2, 2), (0, 8, 0, 0)])
    scores = BoundaryScores([one, two])
    np.testing.assert_allclose(scores.recall, [8 / 16, 4 / 16])
    np.testing.assert_allclose(scores.precision, [8 / 14, 1])
    # Image one is best at its second threshold (2/3 above 3/5), two at its first.
    assert (scores.ois.recall, scores.ois.precision) == (6 / 16, 1)
    line = [(8 / 16 * (1 - k) + 4 / 16 * k, 8 / 14 * (1 - k) + k) for k in np.linspace(0, 1, 100)]
    assert scores.ods.f == pytest.approx(max(2 * r * p / (r + p) for r, p in line))
    assert 1 / 3 < (scores.ods.threshold or 0) < 2 / 3
    # From recall 0.25 to 0.5 in 26 steps, precision falls from 1 to 4/7.
    assert scores.ap == pytest.approx(0.01 * 26 * (1 + 4 / 7) / 2)
    assert scores.r50 == 0.5
    # Between its two thresholds, image one is better still: at recall and precision of about 0.6 and 0.8.
    assert [round(best.f, 3) for best in scores.per_image] == [0.686, 0.4]


def test_scores_of_nothing_predicted_are_zero() -> None:
    levels = even_thresholds(3)
    scores = BoundaryScores([counts(levels, [(0, 5, 0, 0)] * 3)])
    assert (scores.ods.f, scores.ois.f, scores.ap, scores.r50) == (0, 0, 0, 0)
    with pytest.raises(InputError, match="different thresholds"):
        BoundaryScores([counts(levels, [(0, 5, 0, 0)] * 3), counts(even_thresholds(1), [(0, 5, 0, 0)])])


def counts(levels: npt.NDArray[np.float64], rows: list[tuple[int, int, int, int]]) -> BoundaryCounts:
    found = BoundaryCounts(levels, *np.array(rows).T)
    again = BoundaryCounts.from_json(found.to_json())
    for name, values in vars(found).items():
        np.testing.assert_array_equal(getattr(again, name), values)
    return again


def test_scores_equal_the_published_ones_of_hed(data_root: Path) -> None:
    """From the counts that the Matlab code left for each of the 200 photos."""
    folder = data_root / "BSDS500/expected/hed_eval"
    tables = [np.loadtxt(path)[:, 1:].astype(np.int64) for path in sorted(folder.glob("*_ev1.txt"))]
    scores = BoundaryScores([BoundaryCounts(even_thresholds(), *table.T) for table in tables])
    ods, ois = scores.ods, scores.ois
    figures = [
        ods.threshold or 0.0,
        ods.recall,
        ods.precision,
        ods.f,
        ois.recall,
        ois.precision,
        ois.f,
        scores.ap,
    ]
    np.testing.assert_allclose(figures, np.loadtxt(folder / "eval_bdry.txt"), atol=1e-6)
    by_level = np.stack([scores.thresholds, scores.recall, scores.precision, scores.f], axis=1)
    np.testing.assert_allclose(by_level, np.loadtxt(folder / "eval_bdry_thr.txt"), atol=1e-6)


@pytest.mark.parametrize("name", ["100007", "102062"])
def test_counts_of_hed_equal_those_of_the_matlab_code(data_root: Path, name: str) -> None:
    from maskwright.methods.everything.predictions import BoundaryMap, read_boundary_map

    root = data_root / "BSDS500"
    probability = read_boundary_map(root / f"predictions/hed/{name}.png")
    levels = even_thresholds()
    targets = read_boundaries(root / f"groundTruth/test/{name}.mat")
    found = count_boundaries(list(BoundaryMap(probability, suppressed=False).lines(levels)), targets, levels)
    _, recalled, true, hit, predicted = np.loadtxt(root / f"expected/hed_eval/{name}_ev1.txt").T
    np.testing.assert_array_equal(found.true, true)
    np.testing.assert_array_equal(found.predicted, predicted)
    # Their matching is not exact: it misses some 0.1 % of the pairs.
    np.testing.assert_allclose(found.recalled, recalled, rtol=3e-3, atol=3)
    np.testing.assert_allclose(found.hit, hit, rtol=3e-3, atol=4)
