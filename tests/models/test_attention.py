"""Our attention equals transformers' own: same parameters, same numbers, no bias matrix."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionAttention, SamVisionLayer
from work import TensorBytes

from maskwright.models import attention, cpu_attention, packed
from maskwright.models.attention import (
    FoldedAttention,
    add_attention,
    biased_attention,
    folded_attention,
    relative_table,
)

# Both are up to half of this off what float64 gives.
CLOSE = 1e-5

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]


def make_layer(window: int, *, qkv_bias: bool = True, use_rel_pos: bool = True) -> SamVisionLayer:
    torch.manual_seed(window)
    config = SamVisionConfig(
        hidden_size=80, num_attention_heads=2, image_size=160, qkv_bias=qkv_bias, use_rel_pos=use_rel_pos
    )
    config._attn_implementation = "eager"
    layer = SamVisionLayer(config, window).eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return layer


def theirs(layer: SamVisionLayer, x_BHWC: Tensor) -> Tensor:
    """The attention branch of transformers' layer, windows included."""
    if not layer.window_size:
        out: Tensor = layer.attn(x_BHWC)[0]
        return out
    windows, padded = layer.window_partition(x_BHWC, layer.window_size)
    whole: Tensor = layer.window_unpartition(
        layer.attn(windows)[0], layer.window_size, padded, tuple(x_BHWC.shape[1:3])
    )
    return whole


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("kernels", ["none", "torch's", "packed"])
@pytest.mark.parametrize("grid", [(10, 10), (7, 12), (12, 7), (14, 4)])
@pytest.mark.parametrize("window", [0, 4, 7])
def test_equals_transformers(
    window: int, grid: tuple[int, int], kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the kernels of prediction on a CPU and without them."""
    if kernels == "none":
        monkeypatch.setattr(attention, "has_kernels", lambda _: False)
    for module in (packed, cpu_attention):
        monkeypatch.setattr(module, "is_packing_quicker", lambda: kernels == "packed")
    monkeypatch.setattr(cpu_attention, "TILE_ELEMENTS", 500)  # several tiles even at this size
    layer = make_layer(window)
    x_BHWC = torch.randn(2, *grid, 80)
    with torch.no_grad():
        expected = theirs(layer, x_BHWC)
        actual = FoldedAttention(layer.attn, window)(x_BHWC)[0]
        assert actual.shape == x_BHWC.shape
        assert relative_error(actual, expected) < CLOSE
        expected = x_BHWC + theirs(layer, layer.layer_norm1(x_BHWC))
        layer.attn = FoldedAttention(layer.attn, window)
        assert relative_error(add_attention(layer, x_BHWC), expected) < CLOSE


@pytest.mark.parametrize("kernel", [folded_attention, cpu_attention.cpu_attention])
def test_bfloat16_is_as_good_as_transformers(kernel: Kernel) -> None:
    """Both round; ours must not be further from the float32 result than a little more than theirs."""
    layer = make_layer(0).attn
    query, key, value = torch.randn(3, 1, 2, 9, 6, 40, generator=torch.Generator().manual_seed(0))
    tables = relative_table(layer.rel_pos_h, 9), relative_table(layer.rel_pos_w, 6)
    with torch.no_grad():
        exact = kernel(query, key, value, *tables, layer.scale)
        low_query, low_key, low_value = torch.stack([query, key, value]).bfloat16()
        rounded = kernel(low_query, low_key, low_value, *tables, layer.scale)
        their_query, their_key, their_value = (
            part.flatten(2, 3).flatten(0, 1) for part in (low_query, low_key, low_value)
        )
        bias = layer.get_decomposed_rel_pos(
            their_query, layer.rel_pos_h.bfloat16(), layer.rel_pos_w.bfloat16(), (9, 6), (9, 6)
        )
        logits = (their_query * layer.scale) @ their_key.transpose(-2, -1) + bias.flatten(3, 4).flatten(1, 2)
        theirs = (logits.float().softmax(-1).bfloat16() @ their_value).view_as(exact)
    error, their_error = relative_error(rounded.float(), exact), relative_error(theirs.float(), exact)
    assert error < max(1.5 * their_error, 0.02), (error, their_error)


def test_without_relative_positions_and_bias() -> None:
    for window in (0, 4):
        layer = make_layer(window, qkv_bias=False, use_rel_pos=False)
        x_BHWC = torch.randn(1, 6, 9, 80)
        with torch.no_grad():
            actual = FoldedAttention(layer.attn, window)(x_BHWC)[0]
            assert relative_error(actual, theirs(layer, x_BHWC)) < CLOSE


@pytest.mark.parametrize("window", [0, 4])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_stays_so(bad: float, window: int) -> None:
    """As with transformers: no error here, and no masks of it later."""
    layer = make_layer(window)
    layer.attn = FoldedAttention(layer.attn, window)
    x_BHWC = torch.randn(1, 8, 8, 80)
    x_BHWC[0, 1, 1, 3] = bad
    with torch.no_grad():
        result = add_attention(layer, x_BHWC)
    assert not result[0, 1, 1].isfinite().any()
    assert result[0, 7, 7].isfinite().all() == bool(window)


@pytest.mark.parametrize("window", [0, 4])
def test_gradients_equal_transformers(window: int) -> None:
    layer = make_layer(window)
    x_BHWC = torch.randn(1, 6, 9, 80, requires_grad=True)
    weights = torch.randn(1, 6, 9, 80)
    parameters = [x_BHWC, *layer.attn.parameters()]
    expected = torch.autograd.grad((theirs(layer, x_BHWC) * weights).sum(), parameters)
    ours = FoldedAttention(layer.attn, window)
    actual = torch.autograd.grad((ours(x_BHWC)[0] * weights).sum(), parameters)
    for mine, other in zip(actual, expected, strict=True):
        assert relative_error(mine, other) < 2e-5


@pytest.mark.parametrize("window", [0, 4])
def test_keys_are_transformers(window: int) -> None:
    original: SamVisionAttention = make_layer(window).attn
    names = set(original.state_dict())
    assert set(FoldedAttention(original, window).state_dict()) == names


def test_already_cut_windows_are_left_alone() -> None:
    """So transformers' own layer, which cuts windows itself, may call it too."""
    layer = make_layer(4)
    windows = torch.randn(6, 4, 4, 80)
    with torch.no_grad():
        expected = layer.attn(windows)[0]
        assert relative_error(FoldedAttention(layer.attn, 4)(windows)[0], expected) < CLOSE


@pytest.mark.parametrize("kernel", [cpu_attention.cpu_attention, biased_attention])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.bfloat16, 0.05)])
def test_other_forms_equal_the_fused_kernel(kernel: Kernel, dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(1)
    query, key, value = torch.randn(3, 2, 3, 5, 8, 16, generator=generator).to(dtype)
    tables = (
        (torch.randn(5, 5, 16, generator=generator) * 0.2).to(dtype),
        (torch.randn(8, 8, 16, generator=generator) * 0.2).to(dtype),
    )
    fused = folded_attention(query, key, value, *tables, 0.25)
    threads = torch.get_num_threads()
    assert relative_error(kernel(query, key, value, *tables, 0.25), fused) < tolerance
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("threads", [1, 2])
def test_work_in_threads_is_predicted_as_outside(threads: int) -> None:
    """Threads know of no mode that is set outside; results come in the order of the items."""

    def run(item: int) -> tuple[int, torch.dtype, bool, bool]:
        product = torch.ones(1, 1) @ torch.ones(1, 1)
        return item, product.dtype, torch.is_grad_enabled(), product.is_inference()

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found = cpu_attention.in_threads(run, range(5))
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found == [(item, torch.bfloat16, False, True) for item in range(5)]


def test_threads_begun_meanwhile_compute_with_all_cores() -> None:
    """Those that work alone keep it to themselves: another request of a server may begin at any moment."""

    def run(_: int) -> tuple[int, int]:
        with ThreadPoolExecutor(1) as another:
            return torch.get_num_threads(), another.submit(torch.get_num_threads).result()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert cpu_attention.in_threads(run, range(6)) == [(1, 3)] * 6
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_product(kind: torch.dtype, heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = torch.randn(heads, 5, 8).to(kind), torch.randn(heads, 7, 8).to(kind)
    tolerance = 1e-2 if kind == torch.bfloat16 else 1e-5
    for packing in (False, True):
        for module in (packed, cpu_attention):
            monkeypatch.setattr(module, "is_packing_quicker", lambda packing=packing: packing)
        for place in (None, one.new_empty(heads, 5, 7)):
            found = cpu_attention.product(one, two, place)
            torch.testing.assert_close(found, one @ two.transpose(1, 2), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("window", [0, 4])
def test_what_threads_make_is_watched(window: int) -> None:
    """A mode of this thread sees as much work with two threads as with one."""
    layer = make_layer(window)
    layer.attn = FoldedAttention(layer.attn, window)
    before, made = torch.get_num_threads(), []
    with torch.no_grad():
        add_attention(layer, torch.randn(1, 8, 12, 80))  # weights are laid out once
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with torch.no_grad(), TensorBytes() as held:
                add_attention(layer, torch.randn(1, 8, 12, 80))
            made.append(held.peak)
    finally:
        torch.set_num_threads(before)
    assert made[0] == made[1] > 8 * 12 * 80 * 4
