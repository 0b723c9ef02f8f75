"""Linear layers for prediction on the CPU, on matrix kernels that want their weights laid out for them.

`nn.Linear` hands its weight to the processor's library as it lies, and the library arranges it anew in every
call. Here that is done once per weight, in the arithmetic that is asked for, and the activation is applied
while the product is still in the cache. The kernels are oneDNN's, as torch's own compiler uses them. Where
they are not there or not the quickest, as on a processor without AVX-512, or gradients are wanted, the plain
layer runs.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.runtime import computes

KINDS = (torch.float32, torch.bfloat16)
# Tokens whose hidden values are held at once: some megabytes, which the allocator keeps.
ROWS = 1024
SAMPLED = 16  # numbers of a weight that are looked at
# A layer's weight as the kernels want it, and what it was made of, so that a changed weight is noticed.
_packed: WeakKeyDictionary[nn.Linear, tuple[tuple[object, ...], Tensor, Tensor | None]] = WeakKeyDictionary()


def linear(layer: nn.Linear, x: Tensor, gelu: bool = False) -> Tensor:
    """`layer(x)`, or GELU of it, for x (…, C); under autocast in its arithmetic, as `nn.Linear`."""
    if type(layer) is not nn.Linear or not (has_kernels(x) and is_packing_quicker()):
        result: Tensor = layer(x)
        return gelu_of(result) if gelu else result
    kind = arithmetic(x)
    weight, bias = _pack(layer, kind)
    activation, algorithm = ("gelu", "none") if gelu else ("none", "")
    result = torch.ops.mkldnn._linear_pointwise(x.to(kind), weight, bias, activation, [], algorithm)
    return result


def gelu_of(x: Tensor) -> Tensor:
    """GELU of what nothing else needs: for prediction on the CPU in its place, as fresh memory costs time."""
    result: Tensor = torch.ops.aten.gelu_(x) if for_prediction(x) else F.gelu(x)
    return result


def plain_linear(x: Tensor, weight_NC: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """Give x (…, C) times weightᵀ on the kernels that are quickest, for what is no layer: (…, N)."""
    weight_NC, bias_N = weight_NC.to(x.dtype), None if bias_N is None else bias_N.to(x.dtype)
    if not is_packing_quicker():
        return F.linear(x, weight_NC, bias_N)
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight_NC, bias_N, "none", [], "")
    return result


def add_feed_forward(layer: Any, x_BHWC: Tensor) -> Tensor:  # noqa: ANN401
    """`x + mlp(norm(x))` of transformers' SAM blocks; for prediction on the CPU in place, by rows."""
    if not for_prediction(x_BHWC):
        result: Tensor = x_BHWC + layer.mlp(layer.layer_norm2(x_BHWC))
        return result
    rows = max(1, ROWS * x_BHWC.shape[1] // x_BHWC[..., 0].numel())
    for some in x_BHWC.split(rows, dim=1):
        hidden = linear(layer.mlp.lin1, layer.layer_norm2(some), gelu=True)
        some += linear(layer.mlp.lin2, hidden)
    return x_BHWC


def for_prediction(x: Tensor) -> bool:
    """Whether x is on the CPU, nothing is learned from it and no graph is made."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not is_traced()


def has_kernels(x: Tensor) -> bool:
    """Whether prediction of x runs on the kernels of this module and of `cpu_attention`."""
    kind = arithmetic(x)
    return for_prediction(x) and kind in KINDS and computes(kind, x.device)


def is_packing_quicker() -> bool:
    """Whether oneDNN's kernels are quicker than those that torch calls by itself, usually MKL's.

    They are where they have AVX-512, as they must to compute bfloat16.
    """
    return computes(torch.bfloat16, torch.device("cpu"))


def arithmetic(x: Tensor) -> torch.dtype:
    """What products with x are computed in: its own type, or autocast's."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def is_traced() -> bool:
    """Whether torch follows what is done, to make a graph of it: then nothing may depend on sizes."""
    return (
        torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch.onnx.is_in_onnx_export()
        or torch.compiler.is_compiling()
    )


def _pack(layer: nn.Linear, kind: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in that arithmetic, laid out; from memory if the layer is as it was."""
    state = (kind, *_state(layer.weight), *_state(layer.bias))
    found = _packed.get(layer)
    if found is None or found[0] != state:
        weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to(kind))
        bias = None if layer.bias is None else layer.bias.detach().to(kind)
        found = _packed[layer] = (state, weight, bias)
    return found[1:]


def _state(tensor: Tensor | None) -> tuple[object, ...]:
    """Where a tensor lies, how often it was changed, and some numbers: torch counts no change of `.data`."""
    if tensor is None:
        return ()
    some = tensor.detach().flatten()[:: max(1, tensor.numel() // SAMPLED)].tolist()
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version, *some
