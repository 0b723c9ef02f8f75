"""What is advised for which values, and where to click."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from methods.uncertainty.answers import answered

from maskwright.errors import ConfigError, InputError
from maskwright.methods.uncertainty.advice import advise, doubtful_pixel
from maskwright.methods.uncertainty.settings import AdviceSettings


def told(quality: float, model: float = 0.0, prompt: float = 0.0, task: float = 0.0) -> dict[str, float]:
    return {"quality": quality, "model_gap": model, "prompt_gap": prompt, "task_gap": task}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (told(0.95, model=0.4, prompt=0.4, task=0.4), "accept"),
        (told(0.7), "accept"),
        (told(0.7, prompt=0.2), "click"),
        (told(0.7, prompt=0.2, task=0.25), "choose"),
        (told(0.7, prompt=0.2, task=0.25, model=0.3), "larger-model"),
        (told(0.7, prompt=0.04, task=0.04, model=0.04), "accept"),
        (told(0.3, prompt=0.04), "abstain"),
        (told(0.3, prompt=0.4), "click"),
    ],
)
def test_what_gains_most_is_advised(values: dict[str, float], expected: str) -> None:
    assert advise(answered([[values]]))[0][0].action == expected


def test_of_equal_gains_the_cheapest_is_advised() -> None:
    values = told(0.5, model=0.25, prompt=0.25, task=0.25)
    assert advise(answered([[values]]))[0][0].action == "larger-model"
    del values["model_gap"]
    assert advise(answered([[values]]))[0][0].action == "choose"


def test_every_threshold_counts() -> None:
    masks = answered([[told(0.6, model=0.1, prompt=0.2, task=0.3)]])
    settings = AdviceSettings(choose_gain=0.35)
    assert advise(masks, settings)[0][0].action == "click"
    assert advise(masks, settings)[0][0].gain == pytest.approx(0.2)
    settings = replace(settings, click_gain=0.35)
    assert advise(masks, settings)[0][0].action == "larger-model"
    settings = replace(settings, larger_gain=0.35)
    assert advise(masks, settings)[0][0].action == "accept"
    assert advise(masks, replace(settings, abstain_below=0.7))[0][0].action == "abstain"
    assert advise(masks, replace(settings, abstain_below=0.7, accept_from=0.6))[0][0].action == "accept"
    with pytest.raises(ConfigError, match=r"--click-gain\) lies between 0 and 1, not at 5"):
        AdviceSettings(click_gain=5)


def test_proposals_are_ordered_by_quality() -> None:
    ambiguous = [told(0.4, task=0.3), told(0.7, task=0.2), told(0.2, task=0.4)]
    advice = advise(answered([ambiguous, [told(0.95)] * 3]))
    assert [one.proposals for one in advice[0]] == [(1, 0, 2)] * 3
    assert [one.action for one in advice[1]] == ["accept"] * 3
    assert advice[0][0].to_json() == {
        "advice": "choose",
        "advice_gain": pytest.approx(0.3),
        "advice_click": None,
        "advice_proposals": [1, 0, 2],
    }


def disc(x: int, y: int, radius: float) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def test_the_click_goes_into_the_widest_doubt() -> None:
    logits = torch.full((16, 16), -6.0)
    logits[2:14, 2:6] = 6
    logits[disc(11, 8, 2.5)] = 0.1
    logits[0, :] = 0.0  # a longer, but thin region
    masks = answered([[told(0.6, prompt=0.3)]], logits[None, None])
    advice = advise(masks)[0][0]
    assert advice.click == (11, 8)
    assert advice.to_json()["advice_click"] == [11, 8]


def test_the_click_goes_where_proposals_disagree() -> None:
    small, large = torch.full((16, 16), -9.0), torch.full((16, 16), -9.0)
    small[disc(4, 4, 2)] = 9
    large[disc(4, 4, 2)] = 9
    large[disc(11, 11, 3)] = 9
    masks = answered([[told(0.5)] * 2], torch.stack([small, large])[None])
    assert doubtful_pixel(masks, 0) == (11, 11)


@given(st.integers(3, 40), st.integers(3, 40))
def test_the_click_is_in_the_image_even_without_doubt(height: int, width: int) -> None:
    masks = answered([[told(0.5)]], torch.full((1, 1, 16, 16), 30.0), (height, width))
    x, y = doubtful_pixel(masks, 0)
    assert 0 <= x < width
    assert 0 <= y < height


def test_masks_of_a_model_without_heads_are_refused() -> None:
    masks = replace(answered([[told(0.5)]]), extras={})
    with pytest.raises(InputError, match="train heads"):
        advise(masks)
