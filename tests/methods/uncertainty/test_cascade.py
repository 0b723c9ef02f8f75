"""The cascade's choice of prompts against trying every choice."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.cascade import best_gain
from tiny import save_tiny_model

from maskwright.errors import InputError
from maskwright.methods.uncertainty.cascade import (
    PER_PROMPT,
    Costs,
    choose_prompts,
    measure_costs,
    online_threshold,
)
from maskwright.models.registry import load
from maskwright.types import Image, Prompts

GAINS = st.lists(
    st.tuples(st.floats(-0.5, 0.5).map(lambda value: round(value, 2)), st.integers(0, 3)), max_size=8
)


def spent(chosen: np.ndarray, images: list[int], costs: Costs) -> float:
    return costs.of(len({images[k] for k in np.flatnonzero(chosen)}), int(chosen.sum()))


@given(GAINS, st.sampled_from([Costs(0, 1), Costs(1, 0)]), st.integers(0, 8))
def test_a_share_of_prompts_or_images_is_spent_in_the_best_way(
    rows: list[tuple[float, int]], costs: Costs, budget: int
) -> None:
    gains, images = [gain for gain, _ in rows], [image for _, image in rows]
    chosen = choose_prompts(gains, images, costs, budget)
    assert spent(chosen, images, costs) <= budget
    expected = best_gain(gains, images, costs.image, costs.prompt, budget)
    assert sum(np.array(gains)[chosen]) == pytest.approx(expected)


@given(GAINS, st.floats(0, 5), st.floats(0.01, 2), st.floats(0, 12))
def test_a_budget_of_time_gains_at_least_half_of_the_best_choice(
    rows: list[tuple[float, int]], per_image: float, per_prompt: float, budget: float
) -> None:
    gains, images = [gain for gain, _ in rows], [image for _, image in rows]
    costs = Costs(per_image, per_prompt)
    chosen = choose_prompts(gains, images, costs, budget)
    assert spent(chosen, images, costs) <= budget * (1 + 1e-6)
    assert not chosen[np.array(gains) <= 0].any()
    best = best_gain(gains, images, per_image, per_prompt, budget * (1 - 1e-6))
    assert sum(np.array(gains)[chosen]) >= best / 2 - 1e-9


def test_an_image_that_is_encoded_anyway_takes_its_other_prompts_along() -> None:
    gains, images = [0.3, 0.1, 0.2, -0.1], ["a", "a", "b", "a"]
    chosen = choose_prompts(gains, images, Costs(10, 1), budget=13)
    assert chosen.tolist() == [True, True, False, False]


def test_one_good_image_beats_many_small_gains_that_are_cheap() -> None:
    # By gain per cost the cheap one comes first, and then the good one does not fit any more.
    chosen = choose_prompts([0.02, 0.5, 0.5, 0.5], [0, 1, 1, 1], Costs(1, 30), budget=91)
    assert chosen.tolist() == [False, True, True, True]


@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=40), st.floats(0, 1))
def test_a_threshold_lets_at_most_the_share_through(gains: list[float], share: float) -> None:
    threshold = online_threshold(gains, share)
    passed = sum(gain > threshold for gain in gains)
    assert threshold >= 0
    assert passed <= share * len(gains) + 1e-6
    allowed = math.floor(share * len(gains) + 1e-9)
    distinct = len(set(gains)) == len(gains)
    if distinct:
        assert passed == min(allowed, sum(gain > 0 for gain in gains))


def test_without_ties_the_threshold_chooses_what_the_batch_does() -> None:
    gains = np.random.default_rng(0).normal(0.1, 0.2, 50)
    threshold = online_threshold(gains, 0.3)
    chosen = choose_prompts(gains, range(50), PER_PROMPT, 15)
    assert np.array_equal(gains > threshold, chosen)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="one for each of the 1 prompts"):
        choose_prompts([0.1, 0.2], [0], PER_PROMPT, 1)
    with pytest.raises(InputError, match="finite"):
        choose_prompts([math.nan], [0], PER_PROMPT, 1)
    with pytest.raises(InputError, match="at least 0, not -1"):
        choose_prompts([0.1], [0], PER_PROMPT, -1)
    with pytest.raises(InputError, match="not both 0"):
        Costs(0, 0)
    with pytest.raises(InputError, match="at least one"):
        online_threshold([], 0.5)
    with pytest.raises(InputError, match="between 0 and 1"):
        online_threshold([0.1], 30)


def test_costs_are_measured(tmp_path: Path) -> None:
    segmenter = load(save_tiny_model(tmp_path), device="cpu")
    image = Image(np.zeros((40, 60, 3), np.uint8))
    prompts = Prompts(torch.full((3, 1, 2), 10.0), torch.ones(3, 1, dtype=torch.long))
    costs = measure_costs(segmenter, image, prompts)
    assert costs.image > 0
    assert costs.prompt > 0
    with pytest.raises(InputError, match="at least one prompt"):
        measure_costs(segmenter, image, Prompts(torch.zeros(0, 1, 2), torch.zeros(0, 1, dtype=torch.long)))
