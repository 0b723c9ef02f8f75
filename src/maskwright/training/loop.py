"""The training loop for any `Method`: steps, evaluation, checkpoints, records, resumption."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object

from maskwright.errors import TrainingError
from maskwright.io.files import write_text
from maskwright.methods.base import Method
from maskwright.runtime import seed_everything
from maskwright.training import randomness
from maskwright.training.checkpoint import (
    State,
    load_model_tensors,
    load_optimizer_tensors,
    model_tensors,
    optimizer_tensors,
    prefixed,
    read_state,
    write_state,
)
from maskwright.training.curves import draw_curves
from maskwright.training.ema import MovingAverage
from maskwright.training.engine import Engine, NotFiniteError
from maskwright.training.folder import RunFolder, make_record
from maskwright.training.meter import Meter
from maskwright.training.monitor import Monitor
from maskwright.training.progress import ProgressLine, duration
from maskwright.training.signals import StopRequest
from maskwright.training.stream import Batches, iterate
from maskwright.training.tracking import Tracker


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        step: optimiser steps done, of `steps`.
        best_step: whose weights were exported; None without validation data.
        metrics: validation figures of the exported weights; `before` those of the starting model.
        model: the exported model, or None when the run was stopped early.
        stopped: the signal that stopped it, or None.
        seconds: time this session took.
    """

    step: int
    steps: int
    best_step: int | None
    metrics: dict[str, float]
    before: dict[str, float]
    model: Path | None
    stopped: signal.Signals | None
    seconds: float


@dataclass
class _Progress:
    """What changes as the run goes on and is saved with it."""

    step: int = 0
    best_step: int | None = None
    best: dict[str, float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)


def train(method: Method, out: Path, *, quiet: bool = False) -> Outcome:
    """Train a method in a folder, or go on where an earlier call with the same settings stopped.

    Raises:
        ConfigError: the folder holds a run with other settings.
        TrainingError: a loss is not finite, a checkpoint cannot be read or written, or a worker failed.
        MaskwrightError: whatever the data raise.
    """
    seed_everything(method.settings.seed)
    return _Run(method, RunFolder(out), quiet).run()


class _Run:
    def __init__(self, method: Method, folder: RunFolder, quiet: bool) -> None:
        self.method, self.settings, self.folder = method, method.settings, folder
        data = method.training_data()
        if not len(data):
            raise TrainingError("there is nothing to train on: the training data are empty.")
        data.check()
        self.engine = Engine(method)
        self.main = self.engine.main
        self.quiet = quiet or not self.main
        accelerator = self.engine.accelerator
        settings = self.settings
        processes = (accelerator.num_processes, accelerator.process_index)
        self.batches = Batches(data, settings.seed, settings.batch_size, settings.accumulate, *processes)
        self.steps = settings.steps or self.batches.steps_of(settings.epochs or 1)
        epoch = max(1, len(data) // self.batches.items_per_step)
        self.evaluate_every = settings.evaluate_every or min(epoch, self.steps)
        self.save_every = settings.save_every or self.evaluate_every
        self.average = MovingAverage(self.engine.learning, settings.ema) if settings.ema else None
        self.progress = _Progress()
        self.meter, self.interval = Meter(), Meter()

    def run(self) -> Outcome:
        began = time.monotonic()
        lock = self.folder.lock() if self.main else nullcontext()
        with lock:
            self.folder.claim(self._record(), self.settings, write=self.main)
            state = self._resume()
            self.line = ProgressLine(self.progress.step, self.steps, quiet=self.quiet)
            self.tracker = Tracker(self.folder.path, self.progress.step) if self.main else None
            self.monitor = Monitor(self.folder.path, self.engine.device)
            try:
                self._announce(state)
                with StopRequest() as stop:
                    self._steps(state, stop)
                return self._finish(stop.signal if self.stopped else None, began)
            finally:
                self.line.close()
                if self.tracker is not None:
                    self.tracker.close()

    def _record(self) -> dict[str, Any]:
        engine = self.engine
        return make_record(
            self.settings,
            self.method.name,
            engine.frozen,
            len(self.batches.data),
            processes=engine.accelerator.num_processes,
            device=engine.device.type,
            precision=engine.precision_choice.value,
        )

    # -- steps ---------------------------------------------------------------------------------------------

    def _steps(self, state: State | None, stop: StopRequest) -> None:
        self.stopped = False
        if state is None:
            self._evaluate()
            self.progress.before = dict(self.progress.latest)
        stream = self._stream()
        if state is not None:
            # Last of all, so that nothing done for the resumption has used random numbers.
            randomness.restore(state.values["random"][self.engine.accelerator.process_index])
        self.method.train_mode()
        while self.progress.step < self.steps and not self.stopped:
            self._step(stream, stop)

    def _stream(self) -> Iterator[Any]:
        settings = self.settings
        return iterate(
            self.batches,
            self.progress.step,
            self.steps,
            workers=settings.workers,
            timeout=settings.worker_timeout,
            pin=self.engine.device.type == "cuda",
        )

    def _step(self, stream: Iterator[Any], stop: StopRequest) -> None:
        step = self.progress.step
        try:
            values, self.stopped = self.engine.step(step, self.steps, stream, stop.signal is not None)
        except NotFiniteError as error:
            self._capture(step, error)
        if self.average is not None:
            self.average.update(step)
        self.progress.step = done = step + 1
        self.meter.add(values)
        self.interval.add(values)
        self.line.show(done, values["loss"])
        if done % self.settings.log_every == 0 or done == self.steps:
            self._log(done)
        evaluating = done % self.evaluate_every == 0 or done == self.steps
        if evaluating:
            self._evaluate()
        if self.stopped or evaluating or done % self.save_every == 0:
            self._save(self.folder.last)

    def _log(self, step: int) -> None:
        row = {"step": step, **self._row(self.meter), **self.monitor.read()}
        self.meter.clear()
        if self.tracker is not None:
            self.tracker.step(row)

    def _row(self, meter: Meter) -> dict[str, Any]:
        means = dict(zip(meter.names, self.engine.mean(meter.means), strict=True))
        speed = self.batches.items_per_step * meter.count / max(meter.seconds, 1e-9)
        return {
            "epoch": round(self.batches.epoch_of(self.progress.step), 4),
            **{_loss_name(name): value for name, value in means.items()},
            "lr": self.settings.optimizer.lr * self.engine.rate_factor(self.progress.step - 1, self.steps),
            "images_per_second": round(speed, 3),
        }

    # -- evaluation ----------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        began = time.monotonic()
        metrics: list[dict[str, float]] = [{}]
        if self.main:
            with randomness.preserved(), self._averaged(), torch.no_grad():
                self.method.model.eval()
                metrics = [self.method.evaluate()]
        broadcast_object_list(metrics)
        self.method.train_mode()
        seconds = time.monotonic() - began
        self.line.pause(seconds)
        self.meter.pause(seconds)
        self.interval.pause(seconds)
        self._note_metrics(metrics[0], seconds)

    def _note_metrics(self, metrics: dict[str, float], seconds: float) -> None:
        progress, headline = self.progress, self.method.headline
        progress.latest = metrics
        row: dict[str, Any] = {"step": progress.step, "epoch": round(self.batches.epoch_of(progress.step), 4)}
        if self.interval.count:
            row.update(self._row(self.interval))
            self.interval.clear()
        row.update({f"val_{name}": value for name, value in metrics.items()})
        row.update({"evaluation_seconds": round(seconds, 3), **self.monitor.read()})
        if self.tracker is not None:
            self.tracker.evaluation(row)
        if not metrics:
            return
        assert headline in metrics, f"evaluate() gives no {headline!r}"
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        better = progress.best_step is None or metrics[headline] > progress.best[headline]
        self.line.note(f"step {progress.step}: {shown}{' (best so far)' if better and progress.step else ''}")
        if better:
            progress.best_step, progress.best = progress.step, metrics
            if self.main:
                with self._averaged():
                    write_state(self.folder.best, State(progress.step, self._model(), {"metrics": metrics}))

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        with nullcontext() if self.average is None else self.average.applied():
            yield

    # -- state ---------------------------------------------------------------------------------------------

    def _model(self) -> dict[str, torch.Tensor]:
        return prefixed("model", model_tensors(self.method.model, self.engine.learning))

    def _save(self, path: Path) -> None:
        random_states = gather_object([randomness.capture()])
        if self.main:
            write_state(path, self._state(random_states))
        self.engine.accelerator.wait_for_everyone()

    def _state(self, random_states: list[dict[str, Any]]) -> State:
        optimizer = self.engine.optimizer.optimizer
        tensors = self._model() | prefixed("optimizer", optimizer_tensors(optimizer, self.engine.learning))
        if self.average is not None:
            tensors |= prefixed("average", self.average.values)
        scaler = self.engine.accelerator.scaler
        values = {
            "progress": asdict(self.progress),
            "random": random_states,
            "scaler": None if scaler is None else scaler.state_dict(),
            "meters": [self.meter.state(), self.interval.state()],
        }
        return State(self.progress.step, tensors, values)

    def _resume(self) -> State | None:
        if not self.folder.last.exists():
            return None
        state = read_state(self.folder.last)
        load_model_tensors(self.method.model, self.engine.learning, state.part("model"))
        optimizer = self.engine.optimizer.optimizer
        load_optimizer_tensors(optimizer, self.engine.learning, state.part("optimizer"))
        if self.average is not None:
            self.average.load(state.part("average"))
        if self.engine.accelerator.scaler is not None:
            self.engine.accelerator.scaler.load_state_dict(state.values["scaler"])
        self.progress = _Progress(**state.values["progress"])
        for meter, saved in zip((self.meter, self.interval), state.values["meters"], strict=True):
            meter.load(saved)
        return state

    def _capture(self, step: int, error: NotFiniteError) -> None:
        """Keep what is needed to repeat the failing step, and say which items were in it."""
        self._save(self.folder.failed)
        keys = [key for batch in self.batches.keys(step) for key in batch]
        sources = list(dict.fromkeys(self.batches.data.source(key.index) for key in keys))
        raise TrainingError(
            f"{error} In this step: {', '.join(sources[:8])}. Check these files, lower the learning rate, or use "
            f"fp32. The state before the step is in {self.folder.failed}: copied over {self.folder.last.name}, it "
            "repeats the step."
        ) from error

    # -- beginning and end ---------------------------------------------------------------------------------

    def _announce(self, state: State | None) -> None:
        engine, settings = self.engine, self.settings
        learning = sum(parameter.numel() for parameter in engine.learning.values())
        note = self.line.note
        note(f"device {engine.device}: {engine.device_choice.reason}")
        note(f"precision {engine.precision_choice.value}: {engine.precision_choice.reason}")
        note(f"{learning:,} parameters learn, {sum(p.numel() for p in engine.frozen):,} are frozen")
        note(
            f"{len(self.batches.data):,} images, {self.batches.items_per_step} a step "
            f"({settings.batch_size} x {settings.accumulate} accumulated x "
            f"{engine.accelerator.num_processes} processes); {self.steps:,} steps = {self.batches.epoch_of(self.steps):.2f} epochs"
        )
        note(
            f"starting in {self.folder.path}"
            if state is None
            else f"going on at step {state.step} in {self.folder.path}"
        )

    def _finish(self, stopped: signal.Signals | None, began: float) -> Outcome:
        progress, model = self.progress, None
        if progress.step == self.steps:
            stopped = None
            model = self._export()
        seconds = time.monotonic() - began
        if self.tracker is not None:
            draw_curves(self.tracker.steps, self.tracker.evaluations, self.folder.path / "curves.png")
        metrics = progress.best or progress.latest
        outcome = Outcome(
            progress.step, self.steps, progress.best_step, metrics, progress.before, model, stopped, seconds
        )
        if self.main:
            plain = {**asdict(outcome), "model": model and str(model), "stopped": stopped and stopped.name}
            write_text(self.folder.path / "result.json", json.dumps(plain, indent=2) + "\n")
        self.line.note(f"{progress.step} of {self.steps} steps done after {duration(seconds)}")
        return outcome

    def _export(self) -> Path | None:
        """Export the best weights, or the last where nothing was evaluated; the model keeps them."""
        self.engine.accelerator.wait_for_everyone()
        if self.progress.best_step is not None:
            state = read_state(self.folder.best)
            load_model_tensors(self.method.model, self.engine.learning, state.part("model"))
        elif self.average is not None:
            self.average.copy_to_model()
        self.method.model.eval()
        if not self.main:
            return None
        return self.method.export(self.folder.model, self.progress.best)


def _loss_name(name: str) -> str:
    """Log names under which the curves find losses."""
    return name if name.startswith("loss") or name == "grad_norm" else f"loss_{name}"
