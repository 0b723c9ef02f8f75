"""Where a model's memory goes: weights, tensors made in a pass, and what training adds, by module and layer.

Every tensor that an operation makes is seen as it is made and as it is freed, so the figures are those of the
pass that ran, on the device it ran on. What a kernel takes for itself, and gives back, is not seen, nor are
the copies of an encoder's weights that prediction keeps on a processor with AVX-512 (`models.packed`): with
them, these weights count twice.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from maskwright.models.base import MaskModel, PromptBatch

# Adam's two moments.
ADAM_SLOTS = 2


@dataclass(frozen=True)
class ModuleMemory:
    """One module with all below it; bytes unless said otherwise.

    Args:
        name: of the module in the model, "" for the whole.
        kind: its class.
        parameters: their number; one that several modules share counts where it is met first.
        weights: of parameters and buffers.
        made: of all tensors that its operations made in the forward pass.
        peak: most that was alive at once while it ran, with what others held then, without weights.
        held: of what it had made and was still alive after the forward pass: outputs, and in training what
            the backward pass needs.
        gradients: of its parameters.
        optimizer: Adam's state of its parameters.
    """

    name: str
    kind: str
    parameters: int
    weights: int
    made: int
    peak: int
    held: int
    gradients: int = 0
    optimizer: int = 0

    @property
    def depth(self) -> int:
        """How far below the model it lies."""
        return self.name.count(".") + bool(self.name)


@dataclass(frozen=True)
class MemoryReport:
    """What `measure` found.

    Args:
        modules: each after the one that holds it; the first is the whole model. What a module has or makes
            itself is in its row and in no other row below it.
        peak: most bytes of tensors alive at once over the whole pass, backward included, without weights.
        training: whether a backward pass was run.
    """

    modules: tuple[ModuleMemory, ...]
    peak: int
    training: bool

    @property
    def total(self) -> int:
        """Bytes needed at the worst moment: weights, tensors, and Adam's state in training."""
        whole = self.modules[0]
        return whole.weights + self.peak + whole.optimizer


def measure(model: MaskModel, *, images: int = 1, prompts: int = 1, training: bool = False) -> MemoryReport:
    """Encode images and decode boxes of them once, and see what memory each module takes.

    Args:
        model: left as it was, but for its gradients, which are gone.
        images: in the batch.
        prompts: of each image.
        training: with gradients, and the backward pass of a sum of all outputs.
    """
    recorder = _Recorder()
    parameter = next(model.parameters())
    side = model.image_size
    pixels = torch.zeros(images, 3, side, side, device=parameter.device)
    corners = torch.tensor([0.25, 0.25, 0.75, 0.75], device=parameter.device) * side
    asked = PromptBatch(boxes=corners.expand(images, prompts, 4))
    with _mode(model, training), torch.set_grad_enabled(training), recorder.watching(model):
        decoded = model.decode(model.encode(pixels), asked)
        held = recorder.held_by_module()
        if training:
            outputs = [decoded.masks, decoded.iou] + ([] if decoded.hq is None else [decoded.hq])
            torch.autograd.backward([output.float().sum() for output in outputs])
            model.zero_grad(set_to_none=True)
        del decoded
    return MemoryReport(_rows(model, recorder, held, training), recorder.most, training)


class _Recorder(TorchDispatchMode):
    """Notes each storage that an operation makes, and the modules inside which it was made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stack: list[str] = [""]
        self.alive: dict[int, tuple[str, int]] = {}
        self.now = self.most = 0
        self.made: Counter[str] = Counter()
        self.peak: dict[str, int] = {}
        self.serial = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        known = {_storage_key(value) for value in _tensors((args, kwargs or {}))}
        result = func(*args, **(kwargs or {}))
        for value in _tensors(result):
            if _storage_key(value) not in known:
                self._note(value)
        return result

    def _note(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        size = storage.nbytes()
        self.serial += 1
        self.alive[self.serial] = (self.stack[-1], size)
        self.made[self.stack[-1]] += size
        self.now += size
        self.most = max(self.most, self.now)
        for name in self.stack:
            self.peak[name] = max(self.peak.get(name, 0), self.now)
        weakref.finalize(storage, self._free, self.serial)

    def _free(self, serial: int) -> None:
        _, size = self.alive.pop(serial)
        self.now -= size

    def held_by_module(self) -> Counter[str]:
        held: Counter[str] = Counter()
        for name, size in self.alive.values():
            held[name] += size
        return held

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Follow which module is running, and record, inside the block."""

        def enter(name: str) -> Any:  # noqa: ANN401
            def hook(*_: Any) -> None:  # noqa: ANN401
                self.stack.append(name)

            return hook

        def leave(*_: Any) -> None:  # noqa: ANN401
            self.stack.pop()

        hooks = []
        for name, module in model.named_modules():
            if name:
                hooks.append(module.register_forward_pre_hook(enter(name)))
                hooks.append(module.register_forward_hook(leave))
        try:
            with self:
                yield
        finally:
            for hook in hooks:
                hook.remove()


def _storage_key(value: Tensor) -> int:
    return int(value.untyped_storage()._cdata)


def _tensors(value: Any) -> Iterator[Tensor]:  # noqa: ANN401
    for leaf in torch.utils._pytree.tree_leaves(value):
        # Weights laid out for the processor (`models.packed`) do not show where they lie.
        if isinstance(leaf, Tensor) and not leaf.is_mkldnn:
            yield leaf


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    """The model in training or evaluation mode, and back in the modes its modules had."""
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, was in before.items():
            module.training = was


def _rows(
    model: nn.Module, recorder: _Recorder, held: Counter[str], training: bool
) -> tuple[ModuleMemory, ...]:
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    numbers, weights, learning = _weights(model)
    totals = [_with_ancestors(counts) for counts in (numbers, weights, recorder.made, held, learning)]
    peaks: dict[str, int] = {}
    for name, peak in recorder.peak.items():
        # A model may call the parts of a module that it never calls itself.
        for holder in _ancestors(name):
            peaks[holder] = max(peaks.get(holder, 0), peak)
    rows = []
    for name, kind in kinds.items():
        number, size, made, still, gradients = (total[name] for total in totals)
        gradients = gradients if training else 0
        rows.append(
            ModuleMemory(
                name, kind, number, size, made, peaks.get(name, 0), still, gradients, ADAM_SLOTS * gradients
            )
        )
    return tuple(rows)


def _weights(model: nn.Module) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """By the module that holds them: number of parameters, bytes of weights, bytes of those that learn."""
    numbers, sizes, learning = Counter[str](), Counter[str](), Counter[str]()
    seen: set[int] = set()
    for name, module in model.named_modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        for value in own:
            if id(value) in seen:
                continue
            seen.add(id(value))
            sizes[name] += value.nbytes
            if isinstance(value, nn.Parameter):
                numbers[name] += value.numel()
                learning[name] += value.nbytes * value.requires_grad
    return numbers, sizes, learning


def _ancestors(name: str) -> Iterator[str]:
    """The module itself, and all that hold it, up to the whole model."""
    parts = name.split(".") if name else []
    for length in range(len(parts), -1, -1):
        yield ".".join(parts[:length])


def _with_ancestors(counts: Counter[str]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for name, count in counts.items():
        for holder in _ancestors(name):
            sums[holder] += count
    return sums


def shown_rows(report: MemoryReport, depth: int) -> list[ModuleMemory]:
    """The modules down to a depth, and a last row for what no row of the finest level shown contains.

    So the rows that hold no other shown row add up to the first, which is the whole model.
    """
    rows = [row for row in report.modules if row.depth <= depth]
    holders = {row.name.rpartition(".")[0] for row in rows if row.name}
    finest = [row for row in rows if row.name not in holders]
    whole = report.modules[0]

    def rest(field: str) -> int:
        return int(getattr(whole, field) - sum(getattr(row, field) for row in finest))

    additive = ("parameters", "weights", "made", "held", "gradients", "optimizer")
    return [*rows, ModuleMemory("elsewhere", "", peak=0, **{field: rest(field) for field in additive})]
