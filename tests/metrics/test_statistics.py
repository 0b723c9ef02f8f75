"""Bootstrap intervals: against the slow twin, against theory, clustered by image, repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import mask_metrics as twin

from maskwright.errors import InputError
from maskwright.metrics.ranking import failure_auroc, pearson, relative_auc
from maskwright.metrics.statistics import (
    Columns,
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_statistic,
)


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


def mean(sample: Columns) -> float:
    return float(sample["x"].mean())


def test_a_statistic_has_the_interval_of_its_twin() -> None:
    rng = np.random.default_rng(4)
    groups = [int(group) for group in rng.integers(0, 12, size=30)]
    values = rng.random(30)
    found = bootstrap_statistic(mean, {"x": values}, groups, resamples=3000)
    slow = np.percentile(twin.bootstrap_means(values.tolist(), groups, 4000, rng), [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx(slow, abs=0.02)
    assert (found.value, found.defined) == pytest.approx((values.mean(), 1))
    assert found == bootstrap_statistic(mean, {"x": values}, groups, resamples=3000)


def test_the_interval_of_a_correlation_is_that_of_theory() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=2000)
    columns = {"x": x, "y": x + rng.normal(size=2000)}
    found = bootstrap_statistic(lambda sample: pearson(sample["x"], sample["y"]), columns, resamples=500)
    # Fisher: the standard error of a correlation is about (1 − r²) / √n.
    assert found.high - found.low == pytest.approx(2 * 1.96 * (1 - found.value**2) / np.sqrt(2000), rel=0.12)


def test_a_difference_is_known_better_than_its_parts() -> None:
    rng = np.random.default_rng(6)
    gain = rng.random(300) ** 2
    columns = {"simple": 1 - gain, "one": gain + rng.normal(size=300), "two": gain + rng.normal(size=300)}
    columns["two"] = 0.9 * columns["one"] + 0.1 * columns["two"]

    def area(name: str, sample: Columns) -> float:
        return relative_auc(sample[name], sample["simple"], np.ones(len(sample[name]))).value

    parts = [
        bootstrap_statistic(lambda sample, name=name: area(name, sample), columns, resamples=200)  # type: ignore[misc]
        for name in ("one", "two")
    ]
    found = bootstrap_difference(
        lambda sample: area("one", sample), lambda sample: area("two", sample), columns, resamples=200
    )
    assert found.value == pytest.approx(parts[0].value - parts[1].value)
    assert found.high - found.low < 0.5 * min(part.high - part.low for part in parts)
    same = bootstrap_difference(mean, mean, {"x": gain}, resamples=20)
    assert (same.low, same.high) == (0, 0)


def test_resamples_without_a_figure_are_counted() -> None:
    columns = {"quality": np.array([0.1, 0.9, 0.8, 0.7]), "iou": np.array([0.0, 1.0, 1.0, 1.0])}

    def auroc(sample: Columns) -> float:
        return failure_auroc(sample["quality"], sample["iou"])

    found = bootstrap_statistic(auroc, columns, resamples=600)
    # Without the one failure, or with nothing else, there is none.
    assert found.defined == pytest.approx(1 - 0.75**4 - 0.25**4, abs=0.06)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    never = bootstrap_statistic(lambda sample: float("nan"), columns, resamples=10)
    assert np.isnan([never.value, never.low, never.high]).all()
    assert never.defined == 0


def test_refuses_tables_that_do_not_fit() -> None:
    for columns in ({}, {"x": np.ones(0)}, {"x": np.ones(2), "y": np.ones(3)}):
        with pytest.raises(InputError, match="same length"):
            bootstrap_statistic(mean, columns)
    with pytest.raises(InputError, match="3 groups"):
        bootstrap_statistic(mean, {"x": np.ones(2)}, ["a", "b", "c"])
