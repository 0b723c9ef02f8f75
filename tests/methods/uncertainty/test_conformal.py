"""Conformal rules against their slow twins, and their promises kept on average over many calibrations.

The simulations know the true risk of a threshold, so all their noise is that of the calibrations; each also
shows that a rule that is nearly the same breaks the promise.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import conformal as twin

from maskwright.errors import InputError
from maskwright.methods.uncertainty.conformal import (
    cover_margin,
    expected_coverage,
    keep_threshold,
    lower_bound,
)
from maskwright.methods.uncertainty.learn_then_test import images_needed, p_value
from maskwright.methods.uncertainty.margins import GRID, CoverNeed
from maskwright.metrics.ranking import Floats

# Few levels, so that there are ties.
level = st.integers(0, 8).map(lambda number: number / 8)
masks = st.lists(st.tuples(level, level, st.integers(0, 9)), min_size=10, max_size=30)
RUNS = 400


def within(figures: list[float]) -> tuple[float, float]:
    """A mean and three of its standard errors."""
    return float(np.mean(figures)), 3 * float(np.std(figures)) / math.sqrt(len(figures))


@given(masks, st.sampled_from([0.2, 0.3, 0.5, 0.8]))
@settings(max_examples=60, deadline=None)
def test_equals_twin(drawn: list[tuple[float, float, int]], alpha: float) -> None:
    quality, truth, groups = (list(column) for column in zip(*drawn, strict=True))
    if len(set(groups)) < 1 / alpha - 1:
        with pytest.raises(InputError, match="at least"):
            keep_threshold(quality, truth, alpha, groups)
        return
    kept = keep_threshold(quality, truth, alpha, groups)
    assert kept.threshold == twin.keep_threshold(quality, truth, groups, alpha)
    assert (kept.images, kept.masks) == (len(set(groups)), len(quality))
    bound = lower_bound(quality, truth, alpha, groups)
    scores = [one - other for one, other in zip(quality, truth, strict=True)]
    assert bound.offset == twin.conformal_quantile(scores, groups, alpha)
    assert lower_bound(quality, truth, alpha).offset == twin.split_quantile(scores, alpha)
    needs = [CoverNeed(value, np.full(len(GRID), value, np.float32)) for value in truth]
    assert cover_margin(needs, alpha, groups).margin == twin.conformal_quantile(truth, groups, alpha)


@given(masks, st.sampled_from([0.2, 0.5]))
@settings(max_examples=50, deadline=None)
def test_promises_hold_on_the_calibration_itself(drawn: list[tuple[float, float, int]], alpha: float) -> None:
    quality, truth, _ = (list(column) for column in zip(*drawn, strict=True))
    assert keep_threshold(quality, truth, alpha).measured(quality, truth) <= alpha
    assert lower_bound(quality, truth, alpha).measured(quality, truth) >= 1 - alpha
    needs = [CoverNeed(value, (GRID < value).astype(np.float32)) for value in truth]
    assert cover_margin(needs, alpha).measured(needs) >= 1 - alpha
    assert cover_margin(needs, alpha, cover="pixels").measured(needs) >= 1 - alpha


def draw(rng: np.random.Generator, n: int, binary: bool = True) -> tuple[Floats, Floats]:
    """Quality is uniform, and a mask's expected loss 1 - quality."""
    quality = rng.random(n)
    if binary:
        return quality, (rng.random(n) > quality).astype(np.float64)
    return quality, rng.beta(4 * (1 - quality) + 1e-9, 4 * quality + 1e-9)


def marginal_risk(threshold: float | None) -> float:
    return 0.0 if threshold is None else (1 - threshold) ** 2 / 2


@pytest.mark.parametrize("binary", [True, False])
def test_the_marginal_risk_is_kept(binary: bool) -> None:
    rng, alpha, n = np.random.default_rng(0), 0.1, 30
    risks, naive = [], []
    for _ in range(RUNS):
        quality, loss = draw(rng, n, binary)
        risks.append(marginal_risk(keep_threshold(quality, loss, alpha).threshold))
        # The share of the loss that the calibration's own order allows, without the price of looking.
        order = np.argsort(-quality)
        few = int((np.cumsum(loss[order]) <= alpha * n).sum())
        naive.append(marginal_risk(float(quality[order[few]]) if few < n else 0.0))
    mean, noise = within(risks)
    assert alpha - 2 / (n + 1) - noise < mean < alpha + noise
    if binary:  # the loss that the noise moves most
        mean, noise = within(naive)
        assert mean > alpha + noise


@pytest.mark.parametrize("binary", [True, False])
def test_the_selective_risk_is_kept_by_most_calibrations(binary: bool) -> None:
    rng, alpha, delta = np.random.default_rng(1), 0.2, 0.1
    n = 1000 if binary else 400
    limit = 1 - 2 * alpha  # the mean loss above t is (1 - t) / 2
    found, naive = [], []
    for _ in range(40):
        quality, loss = draw(rng, n, binary)
        found.append(keep_threshold(quality, loss, alpha, risk="selective", delta=delta).threshold)
        means = [loss[quality >= t].mean() for t in np.arange(0.99, 0, -0.01) if (quality >= t).any()]
        naive.append(0.99 - 0.01 * int(np.flatnonzero(np.array(means) <= alpha)[-1]))
    broken = [threshold is not None and threshold < limit - 1e-9 for threshold in found]
    assert np.mean(broken) <= delta
    assert np.median([1.0 if threshold is None else threshold for threshold in found]) < limit + 0.2
    assert np.mean(np.array(naive) < limit - 1e-9) > 2 * delta


def test_a_selective_risk_of_images_with_many_masks() -> None:
    rng, alpha, delta = np.random.default_rng(2), 0.2, 0.1
    images = np.repeat(np.arange(80), 10).tolist()
    found, alone = [], []
    for _ in range(40):
        # All masks of an image are alike, and the risk is just too high at every threshold.
        quality = np.repeat(rng.random(80), 10)
        loss = np.repeat(rng.random(80) < alpha + 0.01, 10)
        found.append(keep_threshold(quality, loss, alpha, images, risk="selective", delta=delta).threshold)
        alone.append(keep_threshold(quality, loss, alpha, risk="selective", delta=delta).threshold)
    assert np.mean([threshold is not None for threshold in found]) <= delta
    assert np.mean([threshold is not None for threshold in alone]) > 3 * delta


def test_the_lower_bound_holds() -> None:
    rng, alpha, n = np.random.default_rng(3), 0.1, 20
    shares, naive = [], []
    for _ in range(RUNS):
        error = rng.random(n)  # what the quality promises too much: P(error <= q) is q
        shares.append(lower_bound(error, np.zeros(n), alpha).offset)
        naive.append(float(np.sort(error)[math.ceil(n * (1 - alpha)) - 1]))
    mean, noise = within(shares)
    assert 1 - alpha - noise < mean < 1 - alpha + 1 / (n + 1) + noise
    mean, noise = within(naive)
    assert mean < 1 - alpha - noise


def test_the_lower_bound_holds_for_images_with_many_masks() -> None:
    rng, alpha, n = np.random.default_rng(4), 0.1, 11
    images = np.repeat(np.arange(n), 10).tolist()
    shares, naive = [], []
    for _ in range(RUNS):
        error = np.repeat(rng.random(n), 10)
        shares.append(lower_bound(error, 0 * error, alpha, images).offset)
        naive.append(lower_bound(error, 0 * error, alpha).offset)
    mean, noise = within(shares)
    assert mean > 1 - alpha - noise
    mean, noise = within(naive)
    assert mean < 1 - alpha - noise


def test_margins_cover() -> None:
    rng, alpha, n = np.random.default_rng(5), 0.1, 25
    margins = rng.exponential(0.2, size=3000)
    missed = (0.7 * margins[:, None] > GRID).astype(np.float32)
    population = [CoverNeed(float(margin), row) for margin, row in zip(margins, missed, strict=True)]
    objects, pixels, naive = [], [], []
    for _ in range(RUNS):
        drawn = [population[index] for index in rng.integers(len(population), size=n)]
        whole, part = cover_margin(drawn, alpha), cover_margin(drawn, alpha, cover="pixels")
        assert part.margin < whole.margin
        objects.append(float((margins <= whole.margin).mean()))
        step = int(np.flatnonzero(part.margin == GRID)[0])
        pixels.append(1 - float(missed[:, step].mean()))
        # The first margin that misses little enough on these masks.
        few = np.mean([need.missed_J for need in drawn], axis=0) <= alpha
        naive.append(1 - float(missed[:, int(np.flatnonzero(few)[0])].mean()))
    for shares in (objects, pixels):
        mean, noise = within(shares)
        assert mean > 1 - alpha - noise
    assert np.mean(objects) < 1 - alpha + 0.05
    mean, noise = within(naive)
    assert mean < 1 - alpha - noise
    assert whole.measured(population) == pytest.approx(objects[-1])
    assert part.measured(population) == pytest.approx(pixels[-1], abs=1e-4)


def test_the_range_of_held_out_coverage() -> None:
    rng, alpha, n, tests = np.random.default_rng(6), 0.1, 60, 80
    low, high = expected_coverage(n, tests, alpha)
    shares = []
    for _ in range(RUNS):
        limit = lower_bound(rng.random(n), np.zeros(n), alpha).offset
        shares.append(float((rng.random(tests) <= limit).mean()))
    inside = np.mean([low <= share <= high for share in shares])
    assert 0.93 < inside < 0.99
    assert np.quantile(shares, [0.025, 0.975]) == pytest.approx([low, high], abs=0.03)


@given(st.lists(level, max_size=30), st.sampled_from([0.05, 0.3]))
@settings(max_examples=60, deadline=None)
def test_p_values_equal_twin(losses: list[float], alpha: float) -> None:
    mixed = np.random.default_rng(0).permutation(losses).tolist()
    found = p_value(np.array(losses, np.float64), alpha, binary=False)
    assert found == pytest.approx(twin.betting_p_value(mixed, alpha))
    failures = np.array([value > 0.5 for value in losses], np.float64)
    tail = twin.binomial_tail(int(failures.sum()), len(losses), alpha)
    assert p_value(failures, alpha, binary=True) == pytest.approx(tail)


def test_p_values_are_valid_and_of_use() -> None:
    rng, alpha = np.random.default_rng(7), 0.2
    for losses, binary in (
        (rng.beta(1, 4, (1500, 100)), False),
        (rng.random((1500, 100)) < alpha, False),
        (rng.random((1500, 100)) < alpha, True),
    ):
        values = np.array([p_value(row.astype(np.float64), alpha, binary) for row in losses])
        for level in (0.01, 0.1, 0.3):
            assert (values <= level).mean() <= level + 3 * math.sqrt(level / 1500)
    # Losses that vary little tell more than as many of 0 and 1 with their mean.
    steady = p_value(rng.beta(7.5, 42.5, 100), alpha, binary=False)
    assert steady < 0.03 < 0.1 < p_value(np.repeat([1.0, 0.0], [15, 85]), alpha, binary=True)


def test_nothing_may_be_kept_where_all_is_lost() -> None:
    quality = np.linspace(0, 1, 200)
    nothing = keep_threshold(quality, np.ones(200), 0.1, risk="selective")
    assert nothing.threshold is None
    assert not nothing.keeps(quality).any()
    assert math.isnan(nothing.measured(quality, np.ones(200)))
    assert keep_threshold(quality[:19], np.ones(19), 0.05).threshold is None
    # A marginal risk is small where few are kept, however bad those are.
    assert keep_threshold(quality, np.ones(200), 0.1).keeps(quality).mean() == pytest.approx(0.095)
    assert keep_threshold(quality, np.zeros(200), 0.1, risk="selective").threshold == 0
    assert keep_threshold(quality, np.zeros(200), 0.1).keeps(quality).all()


def test_too_few_images_are_refused_with_the_number_needed() -> None:
    one = np.full(18, 0.5)
    with pytest.raises(InputError, match="18 images: at least 19 are needed"):
        keep_threshold(one, one, 0.05)
    with pytest.raises(InputError, match="9 images: at least 19 are needed"):
        lower_bound(one, one, 0.05, [number // 2 for number in range(18)])
    with pytest.raises(InputError, match="0 images: at least 9 are needed"):
        cover_margin([], 0.1)
    lower_bound(np.full(19, 0.5), np.full(19, 0.5), 0.05)
    needed = images_needed(0.1, 0.1)
    with pytest.raises(InputError, match=f"at least {needed} are needed"):
        keep_threshold(np.ones(needed - 1), np.zeros(needed - 1), 0.1, risk="selective")
    assert keep_threshold(np.ones(needed), np.zeros(needed), 0.1, risk="selective").threshold is not None


def test_masks_that_no_margin_helps_are_refused() -> None:
    needs = [
        CoverNeed(math.inf if number < 4 else 0.1, np.zeros(len(GRID), np.float32)) for number in range(20)
    ]
    with pytest.raises(InputError, match="no margin covers enough"):
        cover_margin(needs, 0.1)
    assert cover_margin(needs, 0.3).margin == 0.1
    with pytest.raises(InputError, match="no margin covers enough"):
        cover_margin([CoverNeed(99.0, np.ones(len(GRID), np.float32))] * 20, 0.1, cover="pixels")


def test_refuses_settings_that_do_not_fit() -> None:
    one = np.full(30, 0.5)
    for alpha in (0.0, 1.0, 10, math.nan):
        with pytest.raises(InputError, match="alpha must lie"):
            lower_bound(one, one, alpha)
    with pytest.raises(InputError, match="delta must lie"):
        keep_threshold(one, one, 0.1, risk="selective", delta=0)
    with pytest.raises(InputError, match="losses must lie"):
        keep_threshold(one, one + 1, 0.1)
