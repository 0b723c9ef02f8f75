"""Everything that changes while a run goes on, as one object that can be captured and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from accelerate.utils import gather_object
from torch import Tensor

from maskwright.methods.base import Method
from maskwright.training import randomness
from maskwright.training.checkpoint import (
    State,
    load_model_tensors,
    load_optimizer_tensors,
    model_tensors,
    optimizer_tensors,
    prefixed,
)
from maskwright.training.ema import MovingAverage
from maskwright.training.engine import Engine
from maskwright.training.meter import Meter


@dataclass
class Progress:
    """How far the run is, and the figures so far.

    Args:
        step: optimiser steps done.
        best_step: the step with the best validation figure; `best` are its metrics.
        before: metrics of the starting model.
        latest: of the last evaluation.
    """

    step: int = 0
    best_step: int | None = None
    best: dict[str, float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)


class Session:
    """Weights, optimiser, moving average, random states, progress and meters of one process.

    Args:
        method: what is trained.
        engine: with model and optimiser in place.
    """

    def __init__(self, method: Method, engine: Engine) -> None:
        self.method, self.engine = method, engine
        decay = method.settings.ema
        self.average = MovingAverage(engine.learning, decay) if decay else None
        self.progress = Progress()
        self.log_meter, self.evaluation_meter, self.epoch_meter = Meter(), Meter(), Meter()

    @property
    def meters(self) -> tuple[Meter, Meter, Meter]:
        """Means since the last log line, since the last evaluation, and since the start of the epoch."""
        return self.log_meter, self.evaluation_meter, self.epoch_meter

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model holds the moving average, where there is one."""
        if self.average is None:
            yield
            return
        with self.average.applied():
            yield

    def weights(self) -> dict[str, Tensor]:
        """The model's part of a checkpoint."""
        return prefixed("model", model_tensors(self.method.model, self.engine.learning))

    def load_weights(self, state: State) -> None:
        """Put the model's part of a checkpoint into the model."""
        load_model_tensors(self.method.model, self.engine.learning, state.part("model"))

    def capture(self) -> State:
        """The whole state. Every process must call this: it collects their random states."""
        optimizer, scaler = self.engine.optimizer.optimizer, self.engine.accelerator.scaler
        tensors = self.weights() | prefixed("optimizer", optimizer_tensors(optimizer, self.engine.learning))
        if self.average is not None:
            tensors |= prefixed("average", self.average.values)
        values = {
            "progress": asdict(self.progress),
            "random": gather_object([randomness.capture()]),
            "scaler": None if scaler is None else scaler.state_dict(),
            "meters": [meter.state() for meter in self.meters],
        }
        return State(self.progress.step, tensors, values)

    def restore(self, state: State) -> None:
        """Put everything back but the random states, which `restore_random` sets when all else is ready."""
        self.load_weights(state)
        load_optimizer_tensors(self.engine.optimizer.optimizer, self.engine.learning, state.part("optimizer"))
        if self.average is not None:
            self.average.load(state.part("average"))
        if self.engine.accelerator.scaler is not None:
            self.engine.accelerator.scaler.load_state_dict(state.values["scaler"])
        self.progress = Progress(**state.values["progress"])
        for meter, saved in zip(self.meters, state.values["meters"], strict=True):
            meter.load(saved)

    def restore_random(self, state: State) -> None:
        """Put this process's random states back."""
        randomness.restore(state.values["random"][self.engine.accelerator.process_index])
