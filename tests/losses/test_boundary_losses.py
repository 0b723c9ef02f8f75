"""Boundary losses: their slow twin, the published one, what is ignored, and degenerate images."""

from __future__ import annotations

from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import boundary_losses as twin
from torch import Tensor

from maskwright.losses.boundaries import BoundaryLoss, boundary_loss, enlarge

Array = npt.NDArray[np.float64]
KINDS: tuple[BoundaryLoss, ...] = get_args(BoundaryLoss)


class Case(NamedTuple):
    logits: Array
    fraction: Array
    ignore: Array

    def tensors(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
        logits, fraction = (torch.from_numpy(part)[None].to(dtype) for part in self[:2])
        return logits[None], fraction, torch.from_numpy(self.ignore)[None] > 0


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Labels of several annotators, of one, of none; ignored pixels of any number; logits of any size."""
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    small = draw(st.sampled_from([size, (1, 1), (2, 3)]))
    bits = st.sampled_from([0.0, 1.0])
    shares = st.sampled_from([0.0, 0.2, 0.5, 0.6, 1.0])
    kinds = [shares, bits, st.just(0.0), st.just(1.0)]
    return Case(
        draw(hnp.arrays(np.float64, small, elements=st.floats(-60, 60))),
        draw(hnp.arrays(np.float64, size, elements=draw(st.sampled_from(kinds)))),
        draw(hnp.arrays(np.float64, size, elements=draw(st.sampled_from([bits, *kinds[2:]])))),
    )


@pytest.mark.parametrize("kind", KINDS)
@given(case=cases(), eta=st.sampled_from([0.2, 0.5]), lambda_=st.sampled_from([1.0, 1.1]))
@settings(max_examples=30, deadline=None)
def test_every_kind_equals_its_twin(kind: BoundaryLoss, case: Case, eta: float, lambda_: float) -> None:
    for dice in (0.0, 0.5):
        fast = boundary_loss(*case.tensors(), kind, eta=eta, lambda_=lambda_, dice=dice)
        assert fast.shape == (1,)
        slow = twin.boundary_loss(*case, kind, eta, lambda_, dice)
        assert float(fast) == pytest.approx(slow, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@given(case=cases())
@settings(max_examples=30, deadline=None)
def test_ignored_pixels_send_no_gradient_and_all_is_finite(kind: BoundaryLoss, case: Case) -> None:
    _, fraction, ignore = case.tensors(torch.float32)
    logits = (
        torch.from_numpy(np.resize(case.logits, case.fraction.shape)).float()[None, None].requires_grad_()
    )
    loss = boundary_loss(logits, fraction, ignore, kind, dice=1.0)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()
    assert (gradient[:, 0][ignore] == 0).all()
    if ignore.all():
        assert float(loss.detach()) == 0


def test_the_published_loss_is_that_of_transformers() -> None:
    from transformers.models.segformer import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    config = SegformerConfig(
        num_labels=1,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
    )
    model = SegformerForSemanticSegmentation(config).eval()
    pixels, labels = torch.randn(2, 3, 32, 32), (torch.rand(2, 32, 32) > 0.8).long()
    labels[:, :3] = config.semantic_loss_ignore_index
    theirs = model(pixels, labels=labels.clone())
    ours = boundary_loss(theirs.logits, (labels == 1).float(), labels == 255, "bce")
    torch.testing.assert_close(ours.mean(), theirs.loss)


def test_agreement_decides_what_counts() -> None:
    logits = torch.zeros(1, 1, 1, 4, requires_grad=True)
    fraction = torch.tensor([[[0.0, 0.4, 0.5, 0.6]]])
    loss = boundary_loss(logits, fraction, torch.zeros(1, 1, 4, dtype=torch.bool), "consensus")
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert (gradient.flatten() != 0).tolist() == [True, False, False, True]


def test_balance_gives_both_sides_equal_weight() -> None:
    fraction = torch.zeros(1, 10, 10)
    fraction[0, 0, :3] = 1
    logits = torch.zeros(1, 1, 10, 10, requires_grad=True)
    loss = boundary_loss(logits, fraction, fraction > 1, "balanced")
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert float(gradient.sum()) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_one_value_an_image_in_half_precision_too(kind: BoundaryLoss) -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 4, 5, generator=rng).bfloat16()
    fraction = torch.randint(0, 6, (3, 16, 20), generator=rng) / 5
    ignore = torch.rand(3, 16, 20, generator=rng) > 0.8
    value = boundary_loss(logits, fraction, ignore, kind)
    assert value.shape == (3,)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, boundary_loss(logits.float(), fraction, ignore, kind))
    alone = boundary_loss(logits[1:2], fraction[1:2], ignore[1:2], kind)
    torch.testing.assert_close(value[1:2], alone)
    assert boundary_loss(logits[:0], fraction[:0], ignore[:0], kind).shape == (0,)


def test_gradient_is_that_of_the_value() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 1, 2, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    fraction = torch.rand(1, 4, 6, generator=rng, dtype=torch.float64).round(decimals=1)
    for kind in KINDS:
        assert torch.autograd.gradcheck(
            lambda x, kind=kind: boundary_loss(x, fraction, fraction == 0.2, kind, dice=0.3), logits
        )


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AssertionError):
        boundary_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4), torch.zeros(1, 4, 4) > 0)
    with pytest.raises(AssertionError):
        boundary_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4), torch.zeros(1, 4, 5) > 0)


def test_equal_sizes_are_not_resized() -> None:
    logits = torch.randn(2, 1, 3, 4)
    assert torch.equal(enlarge(logits, (3, 4)), logits[:, 0])
