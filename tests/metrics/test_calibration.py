"""Pixel calibration against its slow twin, against known maps, and added over images."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import calibration as twin

from maskwright.cli.common import plain
from maskwright.errors import InputError
from maskwright.metrics import calibration
from maskwright.metrics.calibration import PixelCalibration, pixel_calibration

pixels = st.lists(
    st.tuples(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.6, 1.0])), st.booleans()),
    min_size=1,
    max_size=40,
)


def measured(drawn: list[tuple[float, bool]], **options: float) -> PixelCalibration:
    certainty, correct = zip(*drawn, strict=True)
    return pixel_calibration(np.array(certainty), np.array(correct), **options)  # type: ignore[arg-type]


@given(pixels, st.sampled_from([0.0, 0.5, 0.6, 1.0]), st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_equals_twin(drawn: list[tuple[float, bool]], threshold: float, bins: int) -> None:
    certainty, correct = ([*values] for values in zip(*drawn, strict=True))
    result = measured(drawn, threshold=threshold, bins=bins)
    above, below = (
        rule(certainty, correct, threshold) for rule in (twin.accuracy_above, twin.accuracy_below)
    )
    assert result.accuracy_above == pytest.approx(above, nan_ok=True)
    assert result.accuracy_below == pytest.approx(below, nan_ok=True)
    error = twin.expected_calibration_error(certainty, correct, bins)
    assert result.ece == pytest.approx(error, abs=1e-12)


@given(pixels, pixels)
@settings(max_examples=50, deadline=None)
def test_images_are_added(one: list[tuple[float, bool]], other: list[tuple[float, bool]]) -> None:
    whole, added = measured(one + other), measured(one) + measured(other)
    assert added.certainty == pytest.approx(whole.certainty)
    assert (added.pixels, added.correct, added.n) == (whole.pixels, whole.correct, len(one) + len(other))
    assert (added.accuracy_above, added.accuracy_below) == pytest.approx(
        (whole.accuracy_above, whole.accuracy_below), nan_ok=True
    )


def test_known_maps() -> None:
    certainty = np.array([[0.9, 0.9, 0.9, 0.6], [0.2, 0.2, 1.0, 0.0]])
    correct = np.array([[True, True, False, True], [False, False, True, False]])
    result = pixel_calibration(certainty, correct)
    assert (result.accuracy_above, result.accuracy_below) == (0.75, 0.25)
    assert (result.share_above, result.accuracy, result.n) == (0.5, 0.5, 8)
    # |2 − 2.7| + |1 − 0.6| + |0 − 0.4| + 0 + 0, over eight pixels.
    assert result.ece == pytest.approx((0.7 + 0.4 + 0.4) / 8)
    assert [row["pixels"] for row in result.bins()] == [1, 2, 1, 3, 1]


def test_what_is_as_certain_as_it_is_right_has_no_error() -> None:
    rng = np.random.default_rng(0)
    certainty = rng.random((3, 200, 300), np.float32)
    correct = rng.random(certainty.shape) < certainty
    result = pixel_calibration(certainty, correct)
    assert result.ece < 0.005
    assert result.accuracy_above == pytest.approx(0.8, abs=0.01)
    assert pixel_calibration(certainty, ~correct).ece == pytest.approx(0.5, abs=0.01)


def test_many_pixels_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    certainty, correct = rng.random((50, 70)), rng.random((50, 70)) < 0.5
    whole = pixel_calibration(certainty, correct)
    monkeypatch.setattr(calibration, "_CHUNK", 333)
    parts = pixel_calibration(certainty, correct)
    assert (parts.pixels, parts.correct_above) == (whole.pixels, whole.correct_above)
    assert parts.ece == pytest.approx(whole.ece)


def test_no_pixels_have_no_accuracy_and_json_says_so() -> None:
    result = pixel_calibration(np.zeros((0, 4)), np.zeros((0, 4), np.bool_))
    assert math.isnan(result.accuracy_above)
    assert json.loads(json.dumps(plain(result.to_json())))["ece"] is None


def test_refuses_what_is_no_certainty() -> None:
    correct = np.ones((2, 2), np.bool_)
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="certainty must lie in"):
            pixel_calibration(np.full((2, 2), value), correct)
    with pytest.raises(InputError, match=r"\(2, 3\)"):
        pixel_calibration(np.zeros((2, 3)), correct)
    with pytest.raises(InputError, match="bin"):
        pixel_calibration(np.zeros((2, 2)), correct, bins=0)
    with pytest.raises(InputError, match="same threshold"):
        pixel_calibration(np.zeros((2, 2)), correct) + pixel_calibration(np.zeros((2, 2)), correct, 0.8)
