"""Ranking figures against their slow twins, closed forms, and what chance gives."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import ranking as twin
from scipy.stats import rankdata

from maskwright.errors import InputError
from maskwright.metrics import ranking

# Few levels, so that there are ties.
level = st.sampled_from([0.0, 0.1, 0.5, 0.75, 1.0])
rows = st.lists(st.tuples(level, level, level), min_size=1, max_size=6)
many = st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=50)


def columns(drawn: list[tuple[float, float, float]]) -> tuple[list[float], list[float], list[float]]:
    one, two, three = (list(column) for column in zip(*drawn, strict=True))
    return one, two, three


@given(st.lists(level, min_size=1, max_size=12))
def test_ranks_are_scipys(values: list[float]) -> None:
    assert ranking.ranks(np.array(values)).tolist() == rankdata(values).tolist()


@given(rows)
@settings(max_examples=60, deadline=None)
def test_relative_auc_equals_twin(drawn: list[tuple[float, float, float]]) -> None:
    score, simple, refined = columns(drawn)
    result = ranking.relative_auc(score, simple, refined)
    value, *areas = twin.relative_auc(score, simple, refined)
    assert (result.auc, result.oracle, result.worst) == pytest.approx(areas)
    assert result.value == pytest.approx(value, abs=1e-9, nan_ok=True)
    shares, means = ranking.replacement_curve(score, simple, refined)
    assert means == pytest.approx(twin.mean_curve(score, simple, refined))
    assert np.trapezoid(means, shares) == pytest.approx(result.auc)


@given(many)
@settings(max_examples=40, deadline=None)
def test_relative_auc_of_chance_reversal_and_oracle(drawn: list[tuple[float, float, float]]) -> None:
    score, simple, refined = (np.array(column) for column in columns(drawn))
    assume(np.ptp(refined - simple) > 1e-3)
    found = ranking.relative_auc(score, simple, refined)
    assert ranking.relative_auc(np.zeros(len(score)), simple, refined).value == 0.5
    assert ranking.relative_auc(refined - simple, simple, refined).value == pytest.approx(1)
    assert ranking.relative_auc(-score, simple, refined).value == pytest.approx(1 - found.value)
    assert ranking.relative_auc(np.exp(score), simple, refined).value == pytest.approx(found.value)
    # The worst curve is the oracle's, reflected in a point.
    assert found.oracle + found.worst == pytest.approx(simple.mean() + refined.mean())
    assert -1e-9 <= found.value <= 1 + 1e-9


def test_relative_auc_where_every_order_is_as_good() -> None:
    assert math.isnan(ranking.relative_auc([1, 2, 3], [0.5, 0.6, 0.7], [0.5, 0.6, 0.7]).value)
    assert math.isnan(ranking.relative_auc([1], [0.5], [1.0]).value)


@given(rows, level)
@settings(max_examples=40, deadline=None)
def test_figures_of_failures_equal_twin(drawn: list[tuple[float, float, float]], tau: float) -> None:
    quality, iou, _ = columns(drawn)
    for ours, slow in (
        (ranking.failure_auroc, twin.failure_auroc),
        (ranking.failure_fpr95, twin.failure_fpr95),
    ):
        assert ours(quality, iou, tau) == pytest.approx(slow(quality, iou, tau), nan_ok=True)


@given(rows)
@settings(max_examples=60, deadline=None)
def test_risks_equal_twin(drawn: list[tuple[float, float, float]]) -> None:
    quality, loss, _ = columns(drawn)
    curve = ranking.risk_coverage(quality, loss)
    slow, best = twin.mean_risks(quality, loss), twin.risks(np.argsort(loss).tolist(), loss)
    assert curve.risk == pytest.approx(slow)
    assert curve.aurc == pytest.approx(sum(slow) / len(slow))
    assert curve.e_aurc == pytest.approx((sum(slow) - sum(best)) / len(slow))
    general = [0.0, *(risk * (k + 1) / len(slow) for k, risk in enumerate(slow))]
    assert curve.augrc == pytest.approx(twin.area(general))
    assert curve.e_aurc >= -1e-12
    assert ranking.risk_coverage([-value for value in loss], loss).e_aurc == pytest.approx(0, abs=1e-12)


@given(many)
@settings(max_examples=60, deadline=None)
def test_augrc_has_its_closed_form(drawn: list[tuple[float, float, float]]) -> None:
    quality, iou, _ = (np.array(column) for column in columns(drawn))
    failed = iou < 0.5
    assume(0 < failed.sum() < len(failed))
    rate, auroc = failed.mean(), ranking.failure_auroc(quality, iou)
    expected = (1 - auroc) * rate * (1 - rate) + rate**2 / 2
    assert ranking.risk_coverage(quality, failed).augrc == pytest.approx(expected)


@given(many)
@settings(max_examples=60, deadline=None)
def test_correlations_equal_twin(drawn: list[tuple[float, float, float]]) -> None:
    _, one, other = columns(drawn)
    assume(np.ptp(one) > 1e-3 and np.ptp(other) > 1e-3)
    assert ranking.pearson(one, other) == pytest.approx(twin.pearson(one, other), abs=1e-9)
    assert ranking.spearman(one, other) == pytest.approx(twin.pearson(twin.ranks(one), twin.ranks(other)))


def test_correlation_with_a_constant_is_none() -> None:
    # The mean of many equal floats need not be that float.
    assert math.isnan(ranking.pearson([0.1] * 1000, np.arange(1000)))
    assert math.isnan(ranking.spearman([1, 2], [3, 3]))
    assert ranking.pearson([1, 2, 3], [1e-300, 2e-300, 3e-300]) == pytest.approx(1)


@pytest.mark.parametrize("figure", [ranking.pearson, ranking.failure_auroc, ranking.risk_coverage])
def test_refuses_what_has_no_order(figure: Callable[[object, object], object]) -> None:
    for values in ([], [math.nan], [[1.0]]):
        with pytest.raises(InputError, match="finite values"):
            figure(values, [1.0])
    with pytest.raises(InputError, match=r"same length: .* 2, .* 1"):
        figure([1, 2], [1])
