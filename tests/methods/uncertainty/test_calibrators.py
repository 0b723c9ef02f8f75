"""Calibrators against their slow twins, on known distortions, grouped, saved and read again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import calibrators as twin

from maskwright.errors import InputError, WeightsError
from maskwright.methods.uncertainty.calibrators import CalibrationKind, fit_calibrator
from maskwright.metrics.score_calibration import score_calibration
from maskwright.models.calibration import (
    GroupedCalibrator,
    IdentityCalibrator,
    IsotonicCalibrator,
    TemperatureCalibrator,
    calibrator_from_state,
)

# Sixteenths are exact in float32, so that equal knots are equal on both sides.
share = st.integers(0, 16).map(lambda number: number / 16)
masks = st.lists(st.tuples(share, share), min_size=1, max_size=30)


@given(masks)
@settings(max_examples=60, deadline=None)
def test_isotonic_equals_twin(drawn: list[tuple[float, float]]) -> None:
    predicted, target = (list(column) for column in zip(*drawn, strict=True))
    calibrator = fit_calibrator("isotonic", predicted, target)
    knots = twin.centred_isotonic(predicted, target)
    asked = np.linspace(-0.1, 1.1, 101)
    slow = [twin.interpolate(value, knots) for value in asked]
    found = calibrator(torch.from_numpy(asked)).numpy()
    assert found == pytest.approx(slow, abs=1e-5)
    assert (np.diff(found) >= -1e-6).all()


@given(st.lists(st.tuples(st.floats(0.02, 0.98), share), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_temperature_is_where_its_twin_is_least(drawn: list[tuple[float, float]]) -> None:
    predicted, target = (list(column) for column in zip(*drawn, strict=True))
    calibrator = fit_calibrator("temperature", predicted, target)
    assert isinstance(calibrator, TemperatureCalibrator)
    slope, bias = 1 / float(calibrator.temperature), float(calibrator.bias)
    least = twin.cross_entropy(predicted, target, slope, bias)
    for step in (-0.01, 0.01):
        assert least <= twin.cross_entropy(predicted, target, slope, bias + step) + 1e-6
        if slope + step > 0.01:
            assert least <= twin.cross_entropy(predicted, target, slope + step, bias) + 1e-6
    values = torch.tensor(predicted)
    assert calibrator(values).numpy() == pytest.approx(
        [twin.scaled(value, slope, bias) for value in predicted], abs=1e-4
    )


def distorted(n: int) -> tuple[np.ndarray, np.ndarray]:
    """What a head says that promises too much, and the truth, with noise."""
    rng = np.random.default_rng(0)
    truth = rng.beta(4, 2, n)
    said = 1 / (1 + np.exp(-(np.log(truth / (1 - truth)) * 0.5 + 1.0)))
    return said, np.clip(truth + rng.normal(scale=0.05, size=n), 0, 1)


def test_a_known_distortion_is_undone() -> None:
    said, truth = distorted(4000)
    before = score_calibration(said[2000:], truth[2000:]).ece
    assert before > 0.1
    kind: CalibrationKind
    for kind in ("isotonic", "temperature"):
        calibrator = fit_calibrator(kind, said[:2000], truth[:2000])
        after = calibrator(torch.from_numpy(said[2000:])).numpy()
        assert score_calibration(after, truth[2000:]).ece < 0.012
    assert isinstance(calibrator, TemperatureCalibrator)
    assert float(calibrator.temperature) == pytest.approx(0.5, abs=0.03)
    assert float(calibrator.bias) == pytest.approx(-2, abs=0.1)
    assert fit_calibrator("none", said, truth)(torch.from_numpy(said)).numpy() == pytest.approx(said)


def test_temperatures_stay_finite_and_positive() -> None:
    for target in ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.5, 0.0]):
        calibrator = fit_calibrator("temperature", [0.0, 0.5, 1.0], target)
        values = calibrator(torch.tensor([0.0, 0.5, 1.0]))
        assert values.isfinite().all()
        assert (values.diff() > 0).all()


@pytest.mark.parametrize("kinds", ["it-", "--", "t", "i", "iiit-t", ""])
def test_in_a_group_each_has_its_own(kinds: str) -> None:
    names: dict[str, CalibrationKind] = {"i": "isotonic", "t": "temperature", "-": "none"}
    said, truth = distorted(300)
    parts = [
        fit_calibrator(names[kind], said[: 20 * number + 2], truth[: 20 * number + 2])
        for number, kind in enumerate(kinds)
    ]
    values_AK = torch.cat([torch.rand(50, len(kinds)), torch.zeros(1, len(kinds)), torch.ones(1, len(kinds))])
    grouped = GroupedCalibrator(parts)
    found_AK = grouped(values_AK)
    assert found_AK.shape == values_AK.shape
    for number, part in enumerate(parts):
        torch.testing.assert_close(found_AK[:, number], part(values_AK[:, number]))
    assert not grouped.state_dict()
    assert grouped(values_AK[:0]).shape == (0, len(kinds))


@pytest.mark.parametrize("kind", ["none", "isotonic", "temperature"])
def test_a_saved_calibrator_is_the_same(kind: CalibrationKind) -> None:
    said, truth = distorted(100)
    calibrator = fit_calibrator(kind, said, truth)
    again = calibrator_from_state(calibrator.to_state())
    values = torch.linspace(0, 1, 33)
    assert type(again) is type(calibrator)
    assert torch.equal(again(values), calibrator(values))


@pytest.mark.parametrize(
    "state",
    [
        {"knots": [0.0, 1.0]},
        {"knots": [0.0, 0.5], "heights": [0.0, 1.0]},
        {"knots": [0.0, 0.5, 0.5, 1.0], "heights": [0.0, 0.1, 0.2, 1.0]},
        {"knots": [0.0, 1.0], "heights": [0.5, 0.1]},
        {"knots": [0.0, 1.0], "heights": [0.0, 2.0]},
        {"knots": [0.0, math.nan, 1.0], "heights": [0.0, 0.5, 1.0]},
        {"knots": [0.0], "heights": [0.0]},
        {"temperature": 0.0, "bias": 0.0},
        {"temperature": [1.0], "bias": [0.0]},
        {"weight": 1.0},
    ],
)
def test_refuses_a_state_that_is_no_calibration(state: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="calibration"):
        calibrator_from_state({name: torch.tensor(value) for name, value in state.items()})


def test_refuses_targets_outside() -> None:
    with pytest.raises(InputError, match="targets must lie"):
        fit_calibrator("isotonic", [0.5], [-0.1])
    with pytest.raises(InputError, match="finite"):
        fit_calibrator("temperature", [math.nan], [0.1])


def test_kinds_by_name() -> None:
    assert isinstance(fit_calibrator("none", [0.5], [0.5]), IdentityCalibrator)
    assert isinstance(fit_calibrator("isotonic", [0.5], [0.5]), IsotonicCalibrator)
