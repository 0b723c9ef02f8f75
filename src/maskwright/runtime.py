"""Where and how to compute: device and precision with the reason, seeds, and the out-of-memory ladder."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
import torch

from maskwright.errors import InputError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Choice(Generic[Value]):
    """A value that was chosen, and why, to be shown to the user."""

    value: Value
    reason: str


class EmulatedArithmeticWarning(UserWarning):
    """The processor would only emulate the arithmetic that is asked for; the message says what is used."""


def choose_device(name: str = "auto") -> Choice[torch.device]:
    """Choose the device: the one that is named, else CUDA, else Apple's GPU, else the CPU.

    Raises:
        InputError: the name is no device, or the device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            device = torch.device("cuda", torch.cuda.current_device())
            return Choice(device, f"a CUDA GPU is there ({torch.cuda.get_device_name(device)})")
        if torch.backends.mps.is_available():
            return Choice(torch.device("mps"), "an Apple GPU is there")
        return Choice(torch.device("cpu"), "no GPU that this torch can use is there")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device {name!r} is unknown: use auto, cpu, cuda, cuda:1 or mps.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        have = torch.cuda.device_count()
        raise InputError(
            f"device {name!r}: this torch sees {have} CUDA GPUs. Use --device cpu, or check the driver."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("device 'mps': no Apple GPU is available here. Use --device cpu.")
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"device {name!r} is not supported: use auto, cpu, cuda, cuda:1 or mps.")
    return Choice(device, "asked for")


def choose_precision(name: str, device: torch.device) -> Choice[Precision]:
    """Choose the arithmetic of the forward pass.

    `auto` takes bf16 only where the GPU computes it itself (compute capability 8.0 or newer):
    `torch.cuda.is_bf16_supported` also says yes to slow emulation, and fp16 overflows on some older cards.

    bf16 on a processor that would emulate it becomes fp32.

    Raises:
        InputError: the name is unknown, or fp16 is asked for without a CUDA GPU.
    """
    if name == "auto":
        if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
            return Choice("bf16", "this GPU computes bfloat16 itself")
        return Choice("fp32", f"exact, and safe on this {device.type} device")
    if name == "fp16" and device.type != "cuda":
        raise InputError(f"precision fp16 needs a CUDA GPU, not {device.type}: use bf16 or fp32.")
    if name == "fp32":
        return Choice("fp32", "asked for")
    if name == "bf16":
        if not computes(torch.bfloat16, device):
            return Choice("fp32", "this processor computes bfloat16, asked for, only by slow emulation")
        return Choice("bf16", "asked for")
    if name == "fp16":
        return Choice("fp16", "asked for")
    raise InputError(f"precision {name!r} is unknown: use auto, fp32, bf16 or fp16.")


def parse_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """The arithmetic of prediction by its name; float32 by default.

    Raises:
        InputError: it is none of `DTYPES`.
    """
    if dtype is None:
        return torch.float32
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is not supported: use {', '.join(DTYPES)}.")
    return DTYPES[name]


def choose_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The arithmetic of prediction as asked for; but float32 for what a processor would only emulate.

    That is exacter and many times faster; a warning says so.
    """
    if computes(dtype, device):
        return dtype
    name = str(dtype).removeprefix("torch.")
    message = f"this processor computes {name} only by slow emulation; float32 is used."
    warnings.warn(message, EmulatedArithmeticWarning, stacklevel=3)
    return torch.float32


def computes(kind: torch.dtype, device: torch.device) -> bool:
    """Whether a processor has fast matrix products in a type; true for GPUs, whatever they emulate."""
    if device.type != "cpu" or kind == torch.float32:
        return True
    told = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
    return torch.backends.mkldnn.is_available() and bool(getattr(torch.ops.mkldnn, told[kind])())


def name_arithmetic(backend: str, dtype: torch.dtype) -> str:
    """What computes, and in what if not in float32: "torch bfloat16", "onnx int8"."""
    return backend if dtype == torch.float32 else f"{backend} {str(dtype).removeprefix('torch.')}"


def arithmetic_record(backend: str, dtype: torch.dtype) -> dict[str, str]:
    """For the record of a run, how it computes: {"arithmetic": "onnx int8"}; {} for torch in float32."""
    name = name_arithmetic(backend, dtype)
    return {} if name == "torch" else {"arithmetic": name}


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global random states (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out, on the GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # The CPU allocator raises a plain RuntimeError.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def in_chunks(
    function: Callable[[Sequence[Item]], list[Result]],
    items: Sequence[Item],
    chunk: int,
    on_shrink: Callable[[int], None] = lambda chunk: None,
) -> list[Result]:
    """Run a function over items in chunks; when memory runs out, halve the chunk and try that part again.

    Args:
        function: gives one result per item.
        items: anything that can be sliced.
        chunk: items per call to begin with.
        on_shrink: told the new chunk size, for a message to the user.

    Raises:
        Any error of the function; running out of memory with a single item is one of them.
    """
    assert chunk > 0
    results: list[Result] = []
    while len(results) < len(items):
        part = items[len(results) : len(results) + chunk]
        try:
            results.extend(function(part))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(part) == 1:
                raise
        else:
            continue
        # Outside the handler, so that the failed call's tensors are no longer held by the traceback.
        chunk = len(part) // 2
        free_cache()
        on_shrink(chunk)
    return results


def free_cache() -> None:
    """Give memory that torch keeps for reuse back to the GPU."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
