"""Linear layers for prediction on the CPU, on matrix kernels that want their weights laid out for them.

`nn.Linear` hands its weight to the processor's library as it lies, and the library arranges it anew in every
call. Here that is done once per weight, in the arithmetic that is asked for, and the activation is applied
while the product is still in the cache. The kernels are oneDNN's, as torch's own compiler uses them; where
they are not there, or gradients are wanted, the plain layer runs.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Tokens whose hidden values are held at once: some megabytes, which the allocator keeps.
ROWS = 1024
# A layer's weight as the kernels want it, and what it was made of, so that a changed weight is noticed.
_packed: WeakKeyDictionary[nn.Linear, tuple[tuple[object, ...], Tensor, Tensor | None]] = WeakKeyDictionary()


def linear(layer: nn.Linear, x: Tensor, gelu: bool = False) -> Tensor:
    """`layer(x)`, or GELU of it, for x (…, C); under autocast in its arithmetic, as `nn.Linear`."""
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if type(layer) is not nn.Linear or not _usable(x, kind):
        result: Tensor = layer(x)
        return F.gelu(result) if gelu else result
    weight, bias = _pack(layer, kind)
    activation, algorithm = ("gelu", "none") if gelu else ("none", "")
    result = torch.ops.mkldnn._linear_pointwise(x.to(kind), weight, bias, activation, [], algorithm)
    return result


def product(x_TC: Tensor, rows_NC: Tensor) -> Tensor:
    """Multiply x with rowsᵀ on the same kernels, for matrices that are no parameters: (T, N)."""
    if not _usable(x_TC, x_TC.dtype):
        return x_TC @ rows_NC.t()
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x_TC, rows_NC, None, "none", [], "")
    return result


def feed_forward(mlp: Any, x_BHWC: Tensor) -> Tensor:  # noqa: ANN401
    """`mlp(x)` of transformers' SAM blocks; for prediction on the CPU some rows of the map at a time."""
    if not for_prediction(x_BHWC):
        result: Tensor = mlp(x_BHWC)
        return result
    rows = max(1, ROWS * x_BHWC.shape[1] // x_BHWC[..., 0].numel())
    parts = [linear(mlp.lin2, linear(mlp.lin1, some, gelu=True)) for some in x_BHWC.split(rows, dim=1)]
    return torch.cat(parts, dim=1)


def for_prediction(x: Tensor) -> bool:
    """Whether x is on the CPU, nothing is learned from it and no graph is made."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not is_traced()


def is_traced() -> bool:
    """Whether torch follows what is done, to make a graph of it: then nothing may depend on sizes."""
    return (
        torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch.onnx.is_in_onnx_export()
        or torch.compiler.is_compiling()
    )


def _usable(x: Tensor, kind: torch.dtype) -> bool:
    return (
        for_prediction(x) and kind in (torch.float32, torch.bfloat16) and torch.backends.mkldnn.is_available()
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


def _state(tensor: Tensor | None) -> tuple[int, int]:
    """Where a tensor lies and how often it was changed, as far as torch counts that."""
    if tensor is None:
        return 0, 0
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version
