"""Counts of work: what a piece of code does, however fast the machine is that does it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from maskwright.models.nano import Nano


class ModelCalls:
    """How often a nano model's encoder and decoder are called, and with how many images and prompts.

    Args:
        monkeypatch: puts itself between the models and their callers.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.encoded: list[int] = []
        self.decoded: list[int] = []
        self._count(monkeypatch, "encode", lambda pixels: self.encoded.append(len(pixels)))
        self._count(monkeypatch, "decode", lambda _, prompts: self.decoded.append(prompts.shape[1]))

    def _count(self, monkeypatch: pytest.MonkeyPatch, name: str, note: Callable[..., None]) -> None:
        real = getattr(Nano, name)

        def counted(model: Nano, *arguments: Any) -> Any:
            note(*arguments)
            return real(model, *arguments)

        monkeypatch.setattr(Nano, name, counted)


class TensorBytes(TorchDispatchMode):
    """Within it, bytes of the tensors that torch's operators make: `live` now, `peak` at most at one time.

    The numbers are those of the tensors, not of an allocator, and so the same on every machine.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            # What a kernel has laid out for itself has no storage to be asked for.
            if not isinstance(made, Tensor) or made.layout is not torch.strided:
                continue
            if made.untyped_storage() not in self._known:
                self._note(made.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        self._known.add(storage)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, count: int) -> None:
        self.live -= count
