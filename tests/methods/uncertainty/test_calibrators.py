"""Calibrators against their slow twins, and on known distortions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import calibrators as twin

from maskwright.errors import InputError
from maskwright.methods.uncertainty.calibrators import (
    IdentityCalibrator,
    IsotonicCalibrator,
    TemperatureCalibrator,
    fit_calibrator,
)
from maskwright.methods.uncertainty.settings import CalibrationKind
from maskwright.metrics.score_calibration import score_calibration

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


def test_refuses_targets_outside() -> None:
    with pytest.raises(InputError, match="targets must lie"):
        fit_calibrator("isotonic", [0.5], [-0.1])
    with pytest.raises(InputError, match="finite"):
        fit_calibrator("temperature", [math.nan], [0.1])


def test_kinds_by_name() -> None:
    assert isinstance(fit_calibrator("none", [0.5], [0.5]), IdentityCalibrator)
    assert isinstance(fit_calibrator("isotonic", [0.5], [0.5]), IsotonicCalibrator)
