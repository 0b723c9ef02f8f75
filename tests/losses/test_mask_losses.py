"""Mask losses against their slow twins, at the edges (empty, full, all ignored), and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import mask_losses as twin
from torch import Tensor

from maskwright.losses import masks as losses

Array = npt.NDArray[np.float64]
Case = tuple[Array, Array, Array | None]

KINDS = ("empty", "full", "pixel", "binary", "soft")


def _target(draw: st.DrawFn, kind: str, shape: tuple[int, int]) -> Array:
    if kind == "binary":
        return draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0])))
    if kind == "soft":
        return draw(hnp.arrays(np.float64, shape, elements=st.floats(0, 1)))
    target = np.full(shape, 1.0 if kind == "full" else 0.0)
    if kind == "pixel":
        target[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = 1
    return target


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Logits, targets and weights (none, any, or all zero) of one mask."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    logits = draw(hnp.arrays(np.float64, shape, elements=st.floats(-80, 80)))
    target = _target(draw, draw(st.sampled_from(KINDS)), shape)
    weighting = draw(st.sampled_from(["none", "some", "ignored"]))
    if weighting == "none":
        return logits, target, None
    element = st.sampled_from([0.0, 0.25, 1.0]) if weighting == "some" else st.just(0.0)
    return logits, target, draw(hnp.arrays(np.float64, shape, elements=element))


def tensors(case: Case, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor | None]:
    logits, targets, weights = case
    return (
        torch.from_numpy(logits).to(dtype),
        torch.from_numpy(targets),
        None if weights is None else torch.from_numpy(weights),
    )


@pytest.mark.parametrize("name", ["bce", "focal", "dice", "actual_iou"])
@given(case=cases())
@settings(max_examples=120, deadline=None)
def test_equals_twin(name: str, case: Case) -> None:
    fast = getattr(losses, name)(*tensors(case))
    assert fast.shape == ()
    assert float(fast) == pytest.approx(getattr(twin, name)(*case), rel=1e-9, abs=1e-12)


@given(case=cases(), alpha=st.floats(0, 1), gamma=st.floats(0, 5))
@settings(max_examples=60, deadline=None)
def test_focal_settings_equal_twin(case: Case, alpha: float, gamma: float) -> None:
    fast = losses.focal(*tensors(case), alpha=alpha, gamma=gamma)
    # At logits of 80 the probability rounds to 1, and small powers of 1 - p amplify that rounding.
    assert float(fast) == pytest.approx(twin.focal(*case, alpha, gamma), rel=1e-6, abs=1e-9)


@given(case=cases(), predicted=st.floats(-1, 2))
@settings(max_examples=80, deadline=None)
def test_iou_head_equals_twin(case: Case, predicted: float) -> None:
    fast = losses.iou_head(torch.tensor(predicted, dtype=torch.float64), *tensors(case))
    assert float(fast) == pytest.approx(twin.iou_head(predicted, *case), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("loss", [losses.bce, losses.focal, losses.dice])
@given(case=cases())
@settings(max_examples=60, deadline=None)
def test_value_and_gradient_are_finite(loss: Callable[..., Tensor], case: Case) -> None:
    logits, targets, weights = tensors(case, torch.float32)
    logits.requires_grad_()
    value = loss(logits, targets, weights)
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    if weights is not None:
        assert (gradient[weights == 0] == 0).all()
        if not weights.any():
            assert float(value.detach()) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", [losses.bce, losses.focal, losses.dice])
def test_half_precision_is_computed_in_float32(loss: Callable[..., Tensor], dtype: torch.dtype) -> None:
    # 1024 * 1024 pixels: a sum in float16 would be infinite, in bfloat16 wrong in the second digit.
    logits = torch.linspace(-6, 6, 1024 * 1024).reshape(1, 1024, 1024).to(dtype).requires_grad_()
    targets = torch.zeros(1, 1024, 1024, dtype=torch.bool)
    targets[:, 300:] = True
    value = loss(logits, targets)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.dtype == torch.float32
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(value, loss(logits.detach().double(), targets).float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", [losses.bce, losses.focal, losses.dice])
def test_gradient_is_that_of_the_value(loss: Callable[..., Tensor]) -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(2, 3, 4, generator=rng, dtype=torch.float64)
    weights = torch.rand(2, 3, 4, generator=rng, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets, weights), logits)


def test_any_leading_axes() -> None:
    logits, targets = torch.randn(2, 3, 5, 4), torch.rand(2, 3, 5, 4) > 0.5
    for loss in (losses.bce, losses.focal, losses.dice, losses.actual_iou):
        value = loss(logits, targets)
        assert value.shape == (2, 3)
        torch.testing.assert_close(value[1, 2], loss(logits[1, 2], targets[1, 2]))
    assert losses.iou_head(torch.rand(2, 3), logits, targets).shape == (2, 3)
    assert losses.bce(logits[:0], targets[:0]).shape == (0, 3)


def test_iou_head_teaches_the_head_alone() -> None:
    logits = torch.randn(2, 4, 4, requires_grad=True)
    predicted = torch.tensor([0.2, 0.9], requires_grad=True)
    error = losses.iou_head(predicted, logits, torch.ones(2, 4, 4, dtype=torch.bool)).sum()
    gradients = torch.autograd.grad(error, [predicted, logits], allow_unused=True)
    assert [gradient is None for gradient in gradients] == [False, True]
    assert (gradients[0] != 0).all()


@given(
    values=hnp.arrays(
        np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(-9, 9, width=32)
    ),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_reading_points_equals_twin(values: Array, x: float, y: float) -> None:
    read = losses.read_points(torch.from_numpy(values)[None], torch.tensor([[[x, y]]], dtype=torch.float64))
    assert float(read) == pytest.approx(twin.read_point(values, x, y), abs=1e-6)


@given(
    values=hnp.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 6))),
    places=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5),
)
@settings(max_examples=150, deadline=None)
def test_reading_points_of_bool_equals_twin(
    values: npt.NDArray[np.bool_], places: list[tuple[float, float]]
) -> None:
    coords = torch.tensor([places], dtype=torch.float64)
    expected = [twin.read_point(values.astype(float), *place) for place in places]
    assert losses.read_points(torch.from_numpy(values)[None], coords)[0].tolist() == pytest.approx(expected)


class TestSampling:
    def test_points_lie_where_the_prediction_is_undecided(self) -> None:
        ramp = torch.linspace(-10, 10, 64).expand(1, 64, 64)
        coords = losses.sample_points(ramp, 1000, [torch.Generator().manual_seed(1)])
        assert coords.shape == (1, 1000, 2)
        assert coords.min() >= 0
        assert coords.max() <= 1
        from_middle = (coords[0, :, 0] - 0.5).abs()
        # 750 of 3000 candidates: the middle quarter of the ramp. The other 250 are anywhere.
        assert from_middle[:750].max() < 0.15
        assert from_middle[750:].max() > 0.4

    def test_is_repeatable(self) -> None:
        logits = torch.randn(3, 8, 8)
        first, second = (
            losses.sample_points(logits, 40, [torch.Generator().manual_seed(5)]) for _ in range(2)
        )
        assert torch.equal(first, second)
        assert not torch.equal(first[0], first[1])

    def test_points_of_a_mask_do_not_depend_on_those_beside_it(self) -> None:
        logits = torch.randn(4, 8, 8)

        def drawn(masks: slice, *seeds: int) -> Tensor:
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            return losses.sample_points(logits[masks], 40, generators)

        together = drawn(slice(0, 4), 5, 6)
        assert torch.equal(together, torch.cat([drawn(slice(0, 2), 5), drawn(slice(2, 4), 6)]))
        with pytest.raises(AssertionError):
            drawn(slice(0, 3), 5, 6)

    def test_loss_equals_twin_at_its_points(self) -> None:
        rng = torch.Generator().manual_seed(3)
        logits = torch.randn(2, 4, 4, generator=rng, dtype=torch.float64)
        targets = torch.rand(2, 8, 12, generator=rng) > 0.5
        weights = torch.rand(2, 8, 12, generator=rng, dtype=torch.float64)
        fast = losses.sampled_bce_dice(
            logits, targets, weights, points=30, generators=[torch.Generator().manual_seed(7)]
        )
        coords = losses.sample_points(logits, 30, [torch.Generator().manual_seed(7)]).numpy()
        for mask in range(2):
            x, t, w = (
                np.array([[twin.read_point(m, *place) for place in coords[mask].tolist()]])
                for m in (logits[mask].numpy(), targets[mask].double().numpy(), weights[mask].numpy())
            )
            assert float(fast.bce_N[mask]) == pytest.approx(twin.bce(x, t, w), rel=1e-5)
            assert float(fast.dice_N[mask]) == pytest.approx(twin.dice(x, t, w), rel=1e-5)

    def test_agrees_with_the_whole_mask_where_points_are_uniform_in_value(self) -> None:
        logits, targets = torch.full((1, 16, 16), 2.0), torch.ones(1, 64, 64, dtype=torch.bool)
        sampled = losses.sampled_bce_dice(logits, targets)
        torch.testing.assert_close(sampled.bce_N, losses.bce(torch.full((1, 64, 64), 2.0), targets))

    @pytest.mark.parametrize("kind", ["empty", "full", "pixel"])
    @pytest.mark.parametrize("ignored", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_edges_are_finite(self, kind: str, ignored: bool, dtype: torch.dtype) -> None:
        logits = (torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0)) * 30).to(dtype)
        logits.requires_grad_()
        targets = torch.full((1, 64, 64), kind == "full")
        targets[0, 5, 5] |= kind == "pixel"
        weights = torch.zeros(1, 64, 64) if ignored else None
        terms = losses.sampled_bce_dice(logits, targets, weights, points=200)
        value = sum(term.sum() for term in terms)
        assert isinstance(value, Tensor)
        (gradient,) = torch.autograd.grad(value, logits)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()
        if ignored:
            assert float(value.detach()) == 0
            assert not gradient.any()

    def test_no_masks(self) -> None:
        terms = losses.sampled_bce_dice(torch.zeros(0, 8, 8), torch.zeros(0, 16, 16), points=10)
        assert terms.bce_N.shape == terms.dice_N.shape == (0,)


def test_shapes_that_do_not_fit_are_refused() -> None:
    arguments: Any = (torch.zeros(1, 4, 4), torch.zeros(1, 4, 5))
    with pytest.raises(AssertionError):
        losses.bce(*arguments)
    with pytest.raises(AssertionError):
        losses.dice(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), torch.ones(1, 1, 1))
