"""2^(logit + bias of its key's row + bias of its key's column), in place, with the sum of each query.

The largest logit of a query is taken off first, so nothing overflows. Written so that the compiler takes
sixteen values at a time: no branch, and the largest value is found per column first.

Axes: T queries, L = H·W keys.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from maskwright.compiled import compiled
from maskwright.types import FloatArray

LEAST = np.finfo(np.float32).min  # nothing may be infinite, as the compiler is told so
LOWEST = np.float32(-125.0)  # next to the smallest normal power of two softmax gives nothing
# 2^x on [-½, ½] with the least relative error, which is at most 8e-8.
C0, C1, C2, C3, C4, C5 = (
    np.float32(c)
    for c in (1.0000000716, 0.6931469671, 0.2402211979, 0.0555071332, 0.0096755377, 0.0013276444)
)
# Added to a small number it leaves its nearest whole number in the last bits; and the bits it has itself.
ROUNDING = np.float32(1.5 * 2**23)
ROUNDING_BITS = ROUNDING.view(np.int32)
MANTISSA = np.int32(23)  # bits of a float32 below its exponent
HALF, LOW = np.int32(0x8000), np.int32(16)  # half of bfloat16's last place in a float32; bits below it


@intrinsic  # type: ignore[untyped-decorator]
def as_float(_: Any, value: Any) -> Any:  # noqa: ANN401
    """The float32 of the same bits as an int32."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:  # noqa: ANN401
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic  # type: ignore[untyped-decorator]
def as_bits(_: Any, value: Any) -> Any:  # noqa: ANN401
    """The int32 of the same bits as a float32."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:  # noqa: ANN401
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


fast = partial(compiled, reordered=True)


@fast
def exponentials(logits_L: FloatArray, top: np.float32) -> np.float32:
    """2^(logit - top) replaces each logit, which must be a number; gives their sum."""
    total = np.float32(0)
    for i in range(len(logits_L)):
        power = max(logits_L[i] - top, LOWEST)
        # Through its bits, as the compiler would take the sum and the difference of the same number away.
        whole = np.int32(as_bits(power + ROUNDING) - ROUNDING_BITS)
        part = power - np.float32(whole)
        factor = C0 + part * (C1 + part * (C2 + part * (C3 + part * (C4 + part * C5))))
        value = as_float(np.int32(as_bits(factor) + (whole << MANTISSA)))  # into the exponent
        logits_L[i] = value
        total += value
    return total


@fast
def exponential_row(
    logits_L: FloatArray, rows_H: FloatArray, columns_W: FloatArray, top_W: FloatArray
) -> np.float32:
    """One query: the exponentials replace the logits; gives their sum. `top_W` is room to work in."""
    width = len(columns_W)
    top_W[:] = LEAST
    for y in range(len(rows_H)):
        for x in range(width):
            logit = logits_L[y * width + x] + rows_H[y] + columns_W[x]
            logits_L[y * width + x] = logit
            top_W[x] = max(top_W[x], logit)
    return exponentials(logits_L, top_W.max())


@fast
def exponential_float32(
    logits_TL: FloatArray, rows_TH: FloatArray, columns_TW: FloatArray, sums_T: FloatArray
) -> None:
    """All queries of a tile."""
    top_W = np.empty(columns_TW.shape[1], np.float32)
    for t in range(len(logits_TL)):
        sums_T[t] = exponential_row(logits_TL[t], rows_TH[t], columns_TW[t], top_W)


@fast
def exponential_bfloat16(
    logits_TL: NDArray[np.int16], rows_TH: FloatArray, columns_TW: FloatArray, sums_T: FloatArray
) -> None:
    """The same on the bits of bfloat16, the upper half of a float32's; sums are of the unrounded."""
    top_W = np.empty(columns_TW.shape[1], np.float32)
    row_L = np.empty(logits_TL.shape[1], np.float32)
    for t in range(len(logits_TL)):
        for i in range(len(row_L)):
            row_L[i] = as_float(np.int32(logits_TL[t, i]) << LOW)
        sums_T[t] = exponential_row(row_L, rows_TH[t], columns_TW[t], top_W)
        for i in range(len(row_L)):
            logits_TL[t, i] = np.int16((as_bits(row_L[i]) + HALF) >> LOW)
