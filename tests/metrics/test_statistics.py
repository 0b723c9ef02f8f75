"""Bootstrap intervals: against the slow twin, against theory, clustered by image, repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import mask_metrics as twin

from maskwright.errors import InputError
from maskwright.metrics.statistics import bootstrap_interval


def test_equals_twin_within_its_own_noise() -> None:
    rng = np.random.default_rng(0)
    groups = [int(group) for group in rng.integers(0, 12, size=30)]
    values = rng.random(30).tolist()
    fast = bootstrap_interval(values, groups, resamples=20_000)
    slow = np.percentile(twin.bootstrap_means(values, groups, 4000, rng), [2.5, 97.5])
    assert fast == pytest.approx(slow, abs=0.01)


def test_width_is_that_of_theory() -> None:
    values = np.random.default_rng(1).normal(size=1000)
    low, high = bootstrap_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(1000), rel=0.05)


def test_masks_of_one_image_are_drawn_together() -> None:
    image_values = np.random.default_rng(2).random(50)
    copies = np.repeat(image_values, 8)
    names = [f"image {index}" for index in np.repeat(np.arange(50), 8)]
    alone = bootstrap_interval(image_values)
    # Eight identical masks an image say no more than one does; taken as independent they would seem to.
    assert bootstrap_interval(copies, names) == pytest.approx(alone)
    low, high = bootstrap_interval(copies)
    assert high - low < 0.5 * (alone[1] - alone[0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_is_repeatable_and_inside_the_range(values: list[float], seed: int) -> None:
    low, high = bootstrap_interval(values, resamples=200, seed=seed)
    assert (low, high) == bootstrap_interval(values, resamples=200, seed=seed)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


def test_many_groups_are_drawn_in_parts() -> None:
    values = np.random.default_rng(3).random(3000)
    low, high = bootstrap_interval(values, resamples=3000)  # 9 million counts, more than are held at a time
    assert low < values.mean() < high


@pytest.mark.parametrize("values", [[], [float("nan")], [[1.0]]])
def test_refuses_what_has_no_mean(values: list[float]) -> None:
    with pytest.raises(InputError, match="finite values"):
        bootstrap_interval(values)


def test_refuses_settings_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="confidence"):
        bootstrap_interval([1.0], confidence=95)
    with pytest.raises(InputError, match="2 groups"):
        bootstrap_interval([1.0], ["a", "b"])
