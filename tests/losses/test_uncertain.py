"""Losses under doubt: their slow twins, the plain losses as a special case, and what is not learned from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import uncertain_losses as twin
from torch import Tensor

from maskwright.losses import masks as plain
from maskwright.losses import uncertain as losses

Array = npt.NDArray[np.float64]
LOSSES: list[Callable[..., Tensor]] = [losses.uncertain_focal, losses.uncertain_dice]


class Case(NamedTuple):
    logits: Array
    targets: Array
    certainty: Array

    def tensors(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
        logits, targets, certainty = (torch.from_numpy(part).to(dtype) for part in self)
        return logits, targets, certainty


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Soft, binary, empty and full targets; certainty of any kind, none at all among them."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))

    def values(*choices: st.SearchStrategy[float]) -> Array:
        return draw(hnp.arrays(np.float64, shape, elements=draw(st.sampled_from(choices))))

    nothing, everything, bits = st.just(0.0), st.just(1.0), st.sampled_from([0.0, 1.0])
    return Case(
        values(st.floats(-80, 80)),
        values(bits, st.floats(0, 1), nothing, everything),
        values(st.floats(0, 1, width=32), bits, st.sampled_from([0.25, 0.5, 0.75]), nothing, everything),
    )


@given(case=cases())
@settings(max_examples=30, deadline=None)
def test_focal_equals_twin(case: Case) -> None:
    fast = losses.uncertain_focal(*case.tensors())
    assert fast.shape == ()
    assert float(fast) == pytest.approx(twin.focal(*case), rel=1e-9, abs=1e-12)


@given(case=cases(), theta=st.sampled_from([0.0, 0.25, 0.5, 0.6, 0.75]))
@settings(max_examples=40, deadline=None)
def test_dice_equals_twin_and_a_certainty_of_theta_is_too_little(case: Case, theta: float) -> None:
    fast = losses.uncertain_dice(*case.tensors(), theta)
    assert fast.shape == ()
    assert float(fast) == pytest.approx(twin.dice(*case, theta), rel=1e-9, abs=1e-12)


@given(case=cases(), theta=st.floats(0, 0.99))
@settings(max_examples=20, deadline=None)
def test_full_certainty_gives_the_plain_losses(case: Case, theta: float) -> None:
    logits, targets, _ = case.tensors()
    for certainty in (torch.ones_like(logits), None):
        focal = losses.uncertain_focal(logits, targets, certainty)
        torch.testing.assert_close(focal, plain.focal(logits, targets))
        dice = losses.uncertain_dice(logits, targets, certainty, theta)
        torch.testing.assert_close(dice, plain.dice(logits, targets))


@pytest.mark.parametrize("loss", LOSSES)
@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_pixels_in_doubt_send_no_gradient_and_all_is_finite(loss: Callable[..., Tensor], case: Case) -> None:
    logits, targets, certainty = case.tensors(torch.float32)
    logits.requires_grad_()
    value = loss(logits, targets, certainty)
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    learned = certainty > (0.6 if loss is losses.uncertain_dice else 0)
    assert (gradient[~learned] == 0).all()
    if not learned.any():
        assert float(value.detach()) == 0


def test_the_focal_divisor_is_the_number_of_pixels_not_the_sum_of_certainties() -> None:
    logits, targets = torch.randn(1, 8, 8), torch.rand(1, 8, 8)
    half = losses.uncertain_focal(logits, targets, torch.full((1, 8, 8), 0.5))
    torch.testing.assert_close(half, plain.focal(logits, targets) / 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_any_leading_axes_bool_targets_and_half_precision(loss: Callable[..., Tensor]) -> None:
    rng = torch.Generator().manual_seed(0)
    logits, certainty = torch.randn(2, 3, 5, 4, generator=rng), torch.rand(2, 3, 5, 4, generator=rng)
    targets = torch.rand(2, 3, 5, 4, generator=rng) > 0.5
    value = loss(logits, targets, certainty)
    assert value.shape == (2, 3)
    torch.testing.assert_close(value[1, 2], loss(logits[1, 2], targets[1, 2], certainty[1, 2]))
    assert loss(logits[:0], targets[:0], certainty[:0]).shape == (0, 3)
    half = loss(logits.bfloat16(), targets, certainty)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(logits.bfloat16().float(), targets, certainty))


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_that_of_the_value(loss: Callable[..., Tensor]) -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    targets, certainty = torch.rand(2, 2, 3, 4, generator=rng, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets, certainty), logits)


def test_the_iou_head_learns_on_the_whole_label_or_on_its_trusted_pixels() -> None:
    logits = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]]])
    targets = torch.tensor([[[True, False], [False, False]]])
    certainty = torch.tensor([[[1.0, 0.3], [1.0, 1.0]]])
    predicted = torch.zeros(1)
    assert float(plain.iou_head(predicted, logits, targets)) == pytest.approx(0.25)
    sure = certainty > 0.6
    assert float(plain.iou_head(predicted, logits, targets, sure)) == pytest.approx(1)


def test_shapes_that_do_not_fit_are_refused() -> None:
    logits = torch.zeros(1, 4, 4)
    for loss in LOSSES:
        with pytest.raises(AssertionError):
            loss(logits, logits, torch.ones(1, 1, 1))
    with pytest.raises(AssertionError):
        losses.uncertain_dice(logits, logits, logits, theta=1.0)
