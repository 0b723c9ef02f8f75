"""Packed linear layers say what the layers say, and notice when a weight changes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maskwright.models import packed
from maskwright.models.biased_exponential import exponential_bfloat16, exponential_float32
from maskwright.models.packed import linear


@pytest.fixture(autouse=True, params=[False, True])
def packing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With packed weights and without, whatever is quicker here."""
    monkeypatch.setattr(packed, "is_packing_quicker", lambda: request.param)


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(24, 40)


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("shape", [(1, 24), (2, 3, 5, 24), (0, 24)])
def test_equals_the_layer(layer: nn.Linear, shape: tuple[int, ...], gelu: bool) -> None:
    x = torch.randn(shape)
    with torch.no_grad():
        expected = F.gelu(layer(x)) if gelu else layer(x)
        torch.testing.assert_close(linear(layer, x, gelu), expected)


def test_bfloat16_under_autocast(layer: nn.Linear) -> None:
    x = torch.randn(7, 24)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        result = linear(layer, x)
        torch.testing.assert_close(result, layer(x), atol=0.02, rtol=0.02)
    assert result.dtype == torch.bfloat16


def test_bfloat16_without_kernels(layer: nn.Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "computes", lambda *_: False)
    x = torch.randn(7, 24)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(linear(layer, x), layer(x))


def test_no_bias() -> None:
    layer = nn.Linear(4, 6, bias=False)
    x = torch.randn(3, 4)
    with torch.no_grad():
        torch.testing.assert_close(linear(layer, x), layer(x))


def test_changed_weight_is_noticed(layer: nn.Linear) -> None:
    x = torch.randn(3, 24)
    with torch.no_grad():
        before = linear(layer, x)
        layer.weight.mul_(2)
        torch.testing.assert_close(linear(layer, x), layer(x))
        layer.bias.add_(1)
        torch.testing.assert_close(linear(layer, x), layer(x))
        with torch.autocast("cpu", torch.bfloat16):
            linear(layer, x)
            layer.bias.add_(100)
            torch.testing.assert_close(linear(layer, x), layer(x))
        layer.load_state_dict(nn.Linear(24, 40).state_dict())
        torch.testing.assert_close(linear(layer, x), layer(x))
        assert not torch.equal(before, linear(layer, x))
        layer.weight.data.copy_(layer.weight * 3)  # which torch does not count as a change
        torch.testing.assert_close(linear(layer, x), layer(x))


def test_copies_and_state_dicts_know_nothing_of_it(layer: nn.Linear) -> None:
    x = torch.randn(3, 24)
    names = set(layer.state_dict())
    with torch.no_grad():
        linear(layer, x)
        other = copy.deepcopy(layer)
        other.weight.zero_()
        assert torch.equal(linear(other, x), other.bias.expand(3, -1))
        torch.testing.assert_close(linear(layer, x), layer(x))
    assert set(layer.state_dict()) == names


def test_inference_mode_and_gradients(layer: nn.Linear) -> None:
    x = torch.randn(3, 24)
    with torch.inference_mode():
        inferred = linear(layer, x)
    learned = linear(layer, x)
    torch.testing.assert_close(inferred.clone(), learned)
    learned.sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("scale", [0.1, 5.0, 1e4])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 16), (7, 33)])
def test_exponential_is_that_of_numpy(size: tuple[int, int], scale: float) -> None:
    rng = np.random.default_rng(0)
    height, width = size
    logits = (scale * rng.standard_normal((6, height * width))).astype(np.float32)
    rows, columns = (rng.standard_normal((6, side)).astype(np.float32) for side in size)
    exact = (
        (logits.reshape(6, height, width) + rows[:, :, None] + columns[:, None]).reshape(6, -1).astype(float)
    )
    exact = 2 ** (exact - exact.max(axis=1, keepdims=True))
    found, sums = logits.copy(), np.empty(6, np.float32)
    exponential_float32(found, rows, columns, sums)
    np.testing.assert_allclose(found, exact, rtol=1e-3 if scale > 100 else 3e-6, atol=1e-30)
    np.testing.assert_allclose(sums, found.sum(axis=1), rtol=1e-5)
    low = torch.from_numpy(logits).bfloat16()
    bits = low.view(torch.int16).numpy()
    wide = low.float().numpy()
    exponential_bfloat16(bits, rows, columns, sums)
    exponential_float32(wide, rows, columns, np.empty(6, np.float32))
    np.testing.assert_allclose(low.float().numpy(), wide, rtol=2**-8, atol=1e-30)
