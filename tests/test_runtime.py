"""Device and precision are chosen with a reason; memory that runs out halves the chunk, other errors pass."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from maskwright import runtime
from maskwright.errors import InputError
from maskwright.runtime import choose_device, choose_precision, in_chunks, is_out_of_memory, seed_everything

CPU = torch.device("cpu")


def test_device_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu").value == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    chosen = choose_device()
    assert chosen.value == CPU
    assert "no GPU" in chosen.reason
    for name in ("cuda", "cuda:3", "mps", "gpu", "tpu", "meta", ""):
        with pytest.raises(InputError, match="device"):
            choose_device(name)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device().value == torch.device("mps")


def test_precision_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda", 0)
    assert choose_precision("auto", CPU).value == "fp32"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert choose_precision("auto", cuda).value == "fp32"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    chosen = choose_precision("auto", cuda)
    assert chosen.value == "bf16"
    assert "bfloat16" in chosen.reason
    assert choose_precision("fp16", cuda).value == "fp16"
    monkeypatch.setattr(runtime, "computes", lambda *_: True)
    assert choose_precision("bf16", CPU).value == "bf16"
    monkeypatch.setattr(runtime, "computes", lambda *_: False)
    emulated = choose_precision("bf16", CPU)
    assert emulated.value == "fp32"
    assert "emulation" in emulated.reason
    with pytest.raises(InputError, match="fp16 needs a CUDA GPU"):
        choose_precision("fp16", CPU)
    with pytest.raises(InputError, match="'fp8' is unknown"):
        choose_precision("fp8", CPU)


def test_arithmetic_that_a_processor_would_emulate_becomes_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.computes(torch.float32, CPU)
    assert runtime.computes(torch.float16, torch.device("cuda", 0))
    assert runtime.choose_dtype(torch.float32, CPU) == torch.float32
    monkeypatch.setattr(runtime, "computes", lambda *_: True)
    assert runtime.choose_dtype(torch.bfloat16, CPU) == torch.bfloat16
    monkeypatch.setattr(runtime, "computes", lambda *_: False)
    with pytest.warns(
        runtime.EmulatedArithmeticWarning, match="computes bfloat16 only by slow emulation; float32 is used"
    ):
        assert runtime.choose_dtype(torch.bfloat16, CPU) == torch.float32


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_what_a_processor_is_said_to_compute_has_a_kernel(kind: torch.dtype) -> None:
    """The kernel of linear layers refuses what it has not."""
    weight = torch.ones(16, 16, dtype=kind)
    try:
        torch.ops.mkldnn._linear_pointwise(weight, weight, None, "none", [], "")
        there = True
    except RuntimeError:
        there = False
    assert runtime.computes(kind, CPU) == there


def test_seeding_covers_all_states() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first
    seed_everything(8)
    assert not set(draw()) & set(first)


class Limited:
    """Doubles numbers, but has memory for `limit` at once."""

    def __init__(self, limit: int, error: Exception) -> None:
        self.limit, self.error = limit, error
        self.calls: list[int] = []

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(len(items))
        if len(items) > self.limit:
            raise self.error
        return [2 * item for item in items]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 16])
def test_the_ladder_gives_every_result_once(limit: int, error: Exception) -> None:
    shrunk: list[int] = []
    function = Limited(limit, error)
    items = list(range(11))
    assert in_chunks(function, items, 16, shrunk.append) == [2 * item for item in items]
    assert shrunk == sorted(shrunk, reverse=True)
    assert all(chunk >= 1 for chunk in shrunk)
    assert bool(shrunk) == (limit < len(items))


def test_one_item_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        in_chunks(Limited(0, torch.OutOfMemoryError("no")), [1, 2, 3], 2)


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("shape mismatch"), KeyError("k")])
def test_other_errors_are_raised_at_once(error: Exception) -> None:
    function = Limited(1, error)
    with pytest.raises(type(error)):
        in_chunks(function, [1, 2, 3, 4], 4)
    assert function.calls == [4]
    assert not is_out_of_memory(error)


def test_no_items_no_calls() -> None:
    assert in_chunks(Limited(0, ValueError()), [], 4) == []
