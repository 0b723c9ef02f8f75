"""One optimiser step on accelerate: precision, processes, accumulation, clipping, the finite check."""

from __future__ import annotations

import atexit
import math
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from functools import cache
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, send_to_device
from torch import nn

from maskwright.debug import debug, shapes
from maskwright.errors import TrainingError
from maskwright.methods.base import Losses, Method, StepContext
from maskwright.runtime import choose_device, choose_precision
from maskwright.training.optimizer import build_optimizer, freeze_rest, set_rate
from maskwright.training.randomness import mix
from maskwright.training.schedule import rate_factor

# fp16 skips a step whose scaled gradients overflow and halves the scale; after so many, scale is not it.
SKIPS = 25
# The others wait this long while the first process evaluates.
EVALUATION_LIMIT = timedelta(hours=12)


class NotFiniteError(TrainingError):
    """A loss or gradient was not finite; no weight was changed."""


class _Step(nn.Module):
    """Makes a method's step the forward pass of a module, so that data parallelism and autocast wrap it."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.model = method.model
        self.method = (method,)  # in a tuple, to be no second owner of the model

    def forward(self, batch: Any, context: StepContext) -> Losses:  # noqa: ANN401
        return self.method[0].training_step(batch, context)


class Engine:
    """Model, optimiser and processes of one run."""

    def __init__(self, method: Method) -> None:
        """Place the model on its device and make the optimiser."""
        settings = method.settings
        self.method, self.settings = method, settings
        self.device_choice = choose_device(settings.device)
        self.precision_choice = choose_precision(settings.precision, self.device_choice.value)
        self.accelerator = _accelerator(
            self.device_choice.value, self.precision_choice.value, settings.accumulate
        )
        self.learning = freeze_rest(method)
        self.frozen = [p for name, p in method.model.named_parameters() if name not in self.learning]
        self.module = self.accelerator.prepare(_Step(method))
        self.optimizer = self.accelerator.prepare(
            build_optimizer(method.parameter_groups(), settings.optimizer)
        )
        self.skipped = 0

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return torch.device(self.accelerator.device)

    @property
    def main(self) -> bool:
        """Is this the process that writes files?"""
        return bool(self.accelerator.is_main_process)

    def step(
        self, step: int, steps: int, batches: Iterator[Any], stop: bool
    ) -> tuple[dict[str, float], bool]:
        """Do optimiser step `step` (0-based).

        Args:
            step: its number.
            steps: length of the run.
            batches: the stream; `accumulate` batches are taken.
            stop: this process was asked to stop.

        Returns:
            The step's mean losses and gradient norm here; and whether any process was asked to stop.

        Raises:
            NotFiniteError: on every process, if on any a loss or gradient is not finite. No weight changed.
        """
        sums: Losses = {}
        for part in range(self.settings.accumulate):
            losses = self._backward(next(batches), self._context(step, steps, part), part)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.detach().float() / self.settings.accumulate
        norm = self.accelerator.clip_grad_norm_(self.learning.values(), self.settings.clip_norm or math.inf)
        sums["grad_norm"] = torch.as_tensor(norm, device=self.device)
        values = dict(zip(sums, torch.stack([*sums.values()]).tolist(), strict=True))
        debug(lambda: f"step {step}: {values}, rate x {self.rate_factor(step, steps):.4g}")
        stop = self._agree(step, values, stop)
        set_rate(self.optimizer.optimizer, self.rate_factor(step, steps), step / steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._count_skips(step)
        return values, stop

    def rate_factor(self, step: int, steps: int) -> float:
        """The schedule's factor at a step."""
        return rate_factor(self.settings.schedule, step, steps)

    def mean(self, sums: list[float]) -> list[float]:
        """Average numbers over all processes."""
        total = torch.tensor(sums, dtype=torch.float64, device=self._float64_device())
        return [float(value) for value in self.accelerator.reduce(total, "mean").tolist()]

    def _backward(self, batch: Any, context: StepContext, part: int) -> Losses:  # noqa: ANN401
        debug(lambda: f"step {context.step}, batch {part}: {shapes(batch)}")
        batch = send_to_device(batch, self.device, non_blocking=True)
        last = part == self.settings.accumulate - 1
        with nullcontext() if last else self.accelerator.no_sync(self.module):
            losses: Losses = self.module(batch, context)
            self.accelerator.backward(losses["loss"])
        return losses

    def _context(self, step: int, steps: int, part: int) -> StepContext:
        seed = mix(self.settings.seed, step, part, self.accelerator.process_index)
        return StepContext(step, steps, torch.Generator(self.device).manual_seed(seed))

    def _agree(self, step: int, values: dict[str, float], stop: bool) -> bool:
        # Scaled fp16 gradients may overflow: then the scaler skips the step by itself.
        checked = {
            name: v for name, v in values.items() if self.accelerator.scaler is None or name != "grad_norm"
        }
        bad = [name for name, value in checked.items() if not math.isfinite(value)]
        flags = torch.tensor([float(bool(bad)), float(stop)], device=self.device)
        any_bad, any_stop = self.accelerator.reduce(flags, "sum").tolist()
        if any_bad:
            self.optimizer.zero_grad(set_to_none=True)
            where = f"{', '.join(bad)} here" if bad else "on another process"
            raise NotFiniteError(f"step {step}: not finite ({where}); no weight was changed.")
        return bool(any_stop)

    def _count_skips(self, step: int) -> None:
        self.skipped = self.skipped + 1 if self.optimizer.step_was_skipped else 0
        if self.skipped >= SKIPS:
            raise NotFiniteError(
                f"step {step}: fp16 gradients overflowed {SKIPS} times in a row; use bf16 or fp32."
            )

    def _float64_device(self) -> torch.device:
        return torch.device("cpu") if self.accelerator.num_processes == 1 else self.device


def _accelerator(device: torch.device, precision: str, accumulate: int) -> Accelerator:
    # accelerate keeps its settings in one object per process and refuses others; a second run starts clean.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    # Which prompts a batch holds decides which parameters take part, so some may be unused.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(
        mixed_precision="no" if precision == "fp32" else precision,
        gradient_accumulation_steps=accumulate,
        cpu=device.type == "cpu",
        kwargs_handlers=[unused, InitProcessGroupKwargs(timeout=EVALUATION_LIMIT)],
    )
    if accelerator.num_processes > 1:
        _leave_the_others_at_exit()
    else:
        # accelerate always takes the first GPU
        accelerator.state.device = device
    return accelerator


@cache
def _leave_the_others_at_exit() -> None:
    # Their threads would go on while Python is being taken down, and now and then abort the process.
    atexit.register(lambda: torch.distributed.is_initialized() and torch.distributed.destroy_process_group())
