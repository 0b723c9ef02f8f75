"""Token measures against their slow twins, and what each of them rewards."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import tokens as twin

from maskwright.errors import InputError
from maskwright.metrics import tokens
from maskwright.types import BoolArray


def noise(rng: np.random.Generator, size: tuple[int, int], share: float) -> BoolArray:
    """Blobs and lines that cover about a share of the image."""
    small = rng.random((size[0] // 3 + 1, size[1] // 3 + 1), np.float32)
    return np.asarray(cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR) < share)


def regions(rng: np.random.Generator, size: tuple[int, int], count: int) -> tokens.Labels:
    """A label map of cells around random points, with some pixels of none."""
    points = rng.random((count, 2)) * size
    grid = np.moveaxis(np.indices(size), 0, -1)
    labels: tokens.Labels = ((grid[:, :, None] - points) ** 2).sum(axis=-1).argmin(axis=-1) + 1
    labels[noise(rng, size, 0.1)] = 0
    return labels


cases = st.tuples(
    st.integers(0, 1 << 30),
    st.tuples(st.integers(12, 30), st.integers(12, 30)),
    st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.1]),
    st.sampled_from([0.0, 0.1, 0.3]),
)


@given(case=cases, tolerance=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_token_recall_equals_its_twin(
    case: tuple[int, tuple[int, int], float, float], tolerance: int
) -> None:
    seed, size, predicted, known = case
    rng = np.random.default_rng(seed)
    truth, guess = noise(rng, size, known), noise(rng, size, predicted)
    found = tokens.token_recall(truth, guess, tolerance)
    assert (found.recall, found.tokens) == pytest.approx(twin.token_recall(truth, guess, tolerance))


@given(case=cases, tolerance=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_effective_recall_equals_its_twin(
    case: tuple[int, tuple[int, int], float, float], tolerance: int
) -> None:
    seed, size, predicted, known = case
    rng = np.random.default_rng(seed)
    truth, guess = noise(rng, size, known), noise(rng, size, predicted)
    found = tokens.effective_recall(truth, guess, tolerance)
    expected = twin.effective_recall(truth, guess, tolerance)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.recall, found.tokens) == pytest.approx(expected)


@given(case=cases, count=st.integers(1, 6))
@settings(max_examples=12, deadline=None)
def test_the_papers_measures_equal_their_twin(
    case: tuple[int, tuple[int, int], float, float], count: int
) -> None:
    seed, size, _, known = case
    rng = np.random.default_rng(seed)
    truth, labels = noise(rng, size, known), regions(rng, size, count)
    found = tokens.token_scores(truth, labels)
    values = (found.precision, found.recall, found.f1, found.monosemanticity, found.tokens)
    assert values == pytest.approx(twin.token_scores(truth, labels))


def test_monosemanticity_forgives_what_is_near_the_border_of_a_token() -> None:
    labels = np.ones((120, 120), np.int32)
    labels[:, 60:] = 2
    truth = np.zeros((120, 120), bool)
    truth[:, 60:80] = True  # within 25 pixels of the border
    assert tokens.token_scores(truth, labels).monosemanticity == 1
    truth[:, 90] = True
    assert tokens.token_scores(truth, labels).monosemanticity == 0.5
    assert tokens.token_scores(truth, np.zeros_like(labels)).monosemanticity == 1


def test_a_right_partition_has_full_recall_and_the_precision_of_its_width() -> None:
    labels = np.ones((64, 64), np.int32)
    labels[:, 32:] = 2
    truth = np.zeros((64, 64), bool)
    truth[:, 31:33] = True
    found = tokens.token_scores(truth, labels)
    assert found.recall == pytest.approx(1, abs=1e-4)
    assert found.precision == pytest.approx(0.5, abs=1e-4)
    assert found.tokens == 2


def test_the_published_tolerance_is_odd() -> None:
    assert [tokens.default_tolerance(side) for side in (64, 384, 768, 1024, 1800)] == [1, 3, 7, 11, 19]


def test_open_lines_are_found_but_not_effective() -> None:
    truth = np.zeros((100, 100), bool)
    truth[50, 20:80] = True
    assert tokens.token_recall(truth, truth).recall == 1
    dangling = tokens.effective_recall(truth, truth, 3)
    assert dangling is not None
    assert dangling.recall == 0
    closed = truth.copy()
    closed[20:51, 20] = closed[20:51, 80] = closed[20, 20:81] = closed[50, 80] = True
    enclosing = tokens.effective_recall(truth, closed, 3)
    assert enclosing is not None
    assert enclosing.recall == 1


def test_nothing_to_find() -> None:
    nothing = np.zeros((40, 40), bool)
    assert tokens.token_recall(nothing, ~nothing).recall == 1
    assert tokens.token_recall(nothing, nothing).tokens == 2
    assert tokens.effective_recall(nothing, ~nothing) is None
    scores = tokens.token_scores(nothing, np.ones((40, 40), np.int32))
    assert (scores.precision, scores.recall, scores.f1, scores.monosemanticity) == (0, 0, 0, 1)


def test_token_sizes_fall_and_are_filled_up_with_zeros() -> None:
    sizes = tokens.token_sizes(np.array([10, 60, 30]), 100, most=5)
    assert sizes.tolist() == pytest.approx([0.6, 0.3, 0.1, 0, 0])
    assert tokens.token_sizes(np.array([1, 2, 3]), 6, most=2).tolist() == pytest.approx([0.5, 1 / 3])


def test_maps_of_different_shapes_are_refused() -> None:
    truth = np.zeros((40, 40), bool)
    for measure in (tokens.token_recall, tokens.effective_recall, tokens.token_scores):
        with pytest.raises(InputError, match="must have shape"):
            measure(truth, truth[:, 1:])
