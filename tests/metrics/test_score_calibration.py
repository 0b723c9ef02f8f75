"""Calibration of predicted quality against its slow twin and against known predictions."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import score_calibration as twin

from maskwright.errors import InputError
from maskwright.metrics.calibration import pixel_calibration
from maskwright.metrics.score_calibration import Binning, event_brier, score_calibration

prediction = st.one_of(st.floats(-0.2, 1.2), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
masks = st.lists(st.tuples(prediction, st.floats(0, 1)), min_size=1, max_size=40)


@given(masks, st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=60, deadline=None)
def test_equals_twin(drawn: list[tuple[float, float]], bins: int) -> None:
    predicted, actual = (list(column) for column in zip(*drawn, strict=True))
    kinds: tuple[Binning, ...] = ("width", "mass")
    for binning, slow in zip(kinds, (twin.width_gaps, twin.mass_gaps), strict=True):
        result = score_calibration(predicted, actual, bins, binning)
        gaps = slow(predicted, actual, bins)
        assert result.ece == pytest.approx(twin.expected_error(gaps), abs=1e-9)
        assert result.mce == pytest.approx(twin.maximum_error(gaps), abs=1e-9)
        assert [part.n for part in result.bins] == [n for n, _ in gaps]
        assert abs(result.bias) <= result.ece + 1e-12 <= result.mce + 2e-12
        assert result.n == len(drawn)
        assert result.mse + 1e-12 >= result.bias**2


@given(masks)
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_masks_does_not_matter(drawn: list[tuple[float, float]]) -> None:
    rows = np.array(drawn)
    mixed = np.random.default_rng(0).permutation(rows)
    one, other = (
        score_calibration(table[:, 0], table[:, 1], bins=5, binning="mass") for table in (rows, mixed)
    )
    assert [part.n for part in one.bins] == [part.n for part in other.bins]
    assert one.ece == pytest.approx(other.ece, abs=1e-12)


def test_of_events_it_is_the_calibration_of_pixels() -> None:
    rng = np.random.default_rng(0)
    certainty, right = rng.random(500), rng.random(500) < 0.5
    pixels, scores = pixel_calibration(certainty, right, bins=10), score_calibration(certainty, right, 10)
    assert scores.ece == pytest.approx(pixels.ece)
    assert scores.mse == pytest.approx(event_brier(certainty, right))


def test_of_calibrated_and_of_promising_predictions() -> None:
    rng = np.random.default_rng(1)
    predicted = rng.random(40_000)
    actual = rng.beta(5 * predicted + 1e-9, 5 * (1 - predicted) + 1e-9)
    binning: Binning
    for binning in ("width", "mass"):
        good = score_calibration(predicted, actual, binning=binning)
        assert good.ece < 0.01
        promising = score_calibration(predicted / 2 + 0.5, actual, binning=binning)
        assert promising.ece == pytest.approx(0.25, abs=0.01)
        assert promising.bias == pytest.approx(0.25, abs=0.01)
        assert promising.mce == pytest.approx(0.5, abs=0.05)
        assert len(promising.bins) == (8 if binning == "width" else 15)
    assert {part.n for part in good.bins} <= {2666, 2667}
    # Expected IoU and the chance of a good mask are different things.
    assert event_brier(predicted, actual, 0.9) > event_brier(predicted > 0.9, actual, 0.9) > 0


def test_json_has_the_figures() -> None:
    result = score_calibration([0.2, 0.4, 1.0], [0.2, 0.5, 0.5], bins=2)
    value = json.loads(json.dumps(result.to_json()))
    assert value["bins"][1] == {"low": 0.5, "high": 1.0, "n": 1, "predicted": 1.0, "actual": 0.5}
    assert (value["n"], value["mce"]) == (3, 0.5)


def test_refuses_what_is_no_quality() -> None:
    with pytest.raises(InputError, match=r"true values must lie in \[0, 1\], not \[0.5, 1.2\]"):
        score_calibration([0.5, 0.5], [0.5, 1.2])
    with pytest.raises(InputError, match="predicted must be"):
        score_calibration([math.nan], [0.5])
    with pytest.raises(InputError, match="bin"):
        score_calibration([0.5], [0.5], bins=0)
