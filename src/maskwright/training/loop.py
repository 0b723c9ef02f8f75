"""The training loop for any `Method`: steps, evaluation, checkpoints, records, resumption."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list

from maskwright.errors import TrainingError
from maskwright.io.files import write_json
from maskwright.methods.base import Method
from maskwright.runtime import seed_everything
from maskwright.training import randomness
from maskwright.training.checkpoint import State, read_state, write_state
from maskwright.training.curves import draw_curves
from maskwright.training.engine import Engine, NotFiniteError
from maskwright.training.epochs import Epochs
from maskwright.training.folder import RunFolder, make_record
from maskwright.training.meter import Meter
from maskwright.training.monitor import Monitor
from maskwright.training.progress import ProgressLine, duration
from maskwright.training.session import Session
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


def train(method: Method, out: Path, *, quiet: bool = False) -> Outcome:
    """Train a method in a folder, or go on where an earlier call with the same settings stopped.

    The folder gets `settings.toml`, `run.json`, `log.jsonl`, `epochs.csv`, `training_metrics.json`,
    `epoch_stats.csv`, `tensorboard/`, `checkpoints/`, `epochs/` where models of epochs are kept, and at the
    end `curves.png`, `result.json` and `model/`.

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
        self.session = Session(method, self.engine)
        self.main = self.engine.main
        self.quiet = quiet or not self.main
        settings, accelerator = self.settings, self.engine.accelerator
        processes = (accelerator.num_processes, accelerator.process_index)
        self.batches = Batches(data, settings.seed, settings.batch_size, settings.accumulate, *processes)
        data.begin(self.batches.items_per_step)
        self.steps = settings.steps or self.batches.steps_of(settings.epochs or 1)
        self.stopped = False

    @property
    def step(self) -> int:
        return self.session.progress.step

    def run(self) -> Outcome:
        began = time.monotonic()
        lock = self.folder.lock() if self.main else nullcontext()
        with lock:
            self.folder.claim(self._record(), self.settings, write=self.main)
            state = read_state(self.folder.last) if self.folder.last.exists() else None
            if state is not None:
                self.session.restore(state)
            self.line = ProgressLine(self.step, self.steps, quiet=self.quiet)
            self.tracker = Tracker(self.folder.path, self.step) if self.main else None
            done = self.batches.epochs_done(self.step)
            self.epochs = Epochs(self.folder, self.method, done) if self.main else None
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

    # -- steps -------------------------------------------------------------------------------------------

    def _steps(self, state: State | None, stop: StopRequest) -> None:
        if state is None:
            self._evaluate()
            self.session.progress.before = dict(self.session.progress.latest)
            self.session.epoch_meter.clear()
        stream = iterate(
            self.batches,
            self.step,
            self.steps,
            workers=self.settings.workers,
            timeout=self.settings.worker_timeout,
            pin=self.engine.device.type == "cuda",
        )
        if state is not None:
            # Last of all, so that nothing done for the resumption has used random numbers.
            self.session.restore_random(state)
        self.method.train_mode()
        with closing(stream):
            while self.step < self.steps and not self.stopped:
                self._step(stream, stop)

    def _step(self, stream: Iterator[Any], stop: StopRequest) -> None:
        try:
            asked = stop.signal is not None
            values, self.stopped = self.engine.step(self.step, self.steps, stream, asked)
        except NotFiniteError as error:
            self._capture(error)
        if self.session.average is not None:
            self.session.average.update(self.step)
        self.session.progress.step += 1
        for meter in self.session.meters:
            meter.add(values)
        self.line.show(self.step, values["loss"])
        last = self.step == self.steps
        if last or self.step % self.settings.log_every == 0:
            self._log()
        epoch = self.batches.epochs_done(self.step)
        epoch_ends = epoch > self.batches.epochs_done(self.step - 1)
        every = self.settings.evaluate_every
        evaluating = last or (self.step % every == 0 if every else epoch_ends)
        if evaluating:
            self._evaluate()
        if epoch_ends:
            self._end_epoch(epoch)
        every = self.settings.save_every
        if evaluating or self.stopped or (every and self.step % every == 0):
            self._save(self.folder.last)

    def _log(self) -> None:
        row = {"step": self.step, **self._means(self.session.log_meter), **self.monitor.read()}
        if self.tracker is not None:
            self.tracker.step(row)

    def _means(self, meter: Meter) -> dict[str, Any]:
        means = dict(zip(meter.names, self.engine.mean(meter.means), strict=True))
        speed = self.batches.items_per_step * meter.count / max(meter.seconds, 1e-9)
        meter.clear()
        return {
            "epoch": round(self.batches.epoch_of(self.step), 4),
            **{_loss_name(name): value for name, value in means.items()},
            "lr": self.settings.optimizer.lr * self.engine.rate_factor(self.step - 1, self.steps),
            "images_per_second": round(speed, 3),
        }

    def _end_epoch(self, epoch: int) -> None:
        meter = self.session.epoch_meter
        if self.epochs is not None:
            with self.session.averaged():
                self.epochs.end(epoch, meter.seconds)
        meter.clear()

    # -- evaluation --------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        began = time.monotonic()
        metrics: list[dict[str, float]] = [{}]
        if self.main:
            with randomness.preserved(), self.session.averaged(), torch.no_grad():
                self.method.model.eval()
                metrics = [self.method.evaluate()]
        broadcast_object_list(metrics)
        self.method.train_mode()
        seconds = time.monotonic() - began
        self.line.pause(seconds)
        # An epoch's time is all of it.
        for meter in (self.session.log_meter, self.session.evaluation_meter):
            meter.pause(seconds)
        self._log_evaluation(metrics[0], seconds)
        self.session.progress.latest = metrics[0]
        if metrics[0]:
            self._compare(metrics[0])

    def _log_evaluation(self, metrics: dict[str, float], seconds: float) -> None:
        row: dict[str, Any] = {"step": self.step, "epoch": round(self.batches.epoch_of(self.step), 4)}
        if self.session.evaluation_meter.count:
            row.update(self._means(self.session.evaluation_meter))
        row.update({f"val_{name}": value for name, value in metrics.items()})
        row.update({"evaluation_seconds": round(seconds, 3), **self.monitor.read()})
        if self.tracker is not None:
            self.tracker.evaluation(row)

    def _compare(self, metrics: dict[str, float]) -> None:
        progress, headline = self.session.progress, self.method.headline
        assert headline in metrics, f"evaluate() gives no {headline!r}"
        better = progress.best_step is None or metrics[headline] > progress.best[headline]
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        self.line.note(f"step {self.step}: {shown}{' (best so far)' if better and self.step else ''}")
        if better:
            progress.best_step, progress.best = self.step, metrics
            if self.main:
                with self.session.averaged():
                    write_state(
                        self.folder.best, State(self.step, self.session.weights(), {"metrics": metrics})
                    )

    # -- saving, beginning and end -----------------------------------------------------------------------

    def _save(self, path: Path) -> None:
        state = self.session.capture()
        if self.main:
            write_state(path, state)
        self.engine.accelerator.wait_for_everyone()

    def _capture(self, error: NotFiniteError) -> None:
        """Keep what is needed to repeat the failing step, and say which items were in it."""
        self._save(self.folder.failed)
        keys = [key for batch in self.batches.keys(self.step) for key in batch]
        sources = list(dict.fromkeys(self.batches.data.source(key.index) for key in keys))
        raise TrainingError(
            f"{error} In this step: {', '.join(sources[:8])}. Check these files, lower the learning rate, or "
            f"use fp32. The state before the step is in {self.folder.failed}: copied over "
            f"{self.folder.last.name}, it repeats the step."
        ) from error

    def _announce(self, state: State | None) -> None:
        engine, note = self.engine, self.line.note
        learning = sum(parameter.numel() for parameter in engine.learning.values())
        frozen = sum(parameter.numel() for parameter in engine.frozen)
        processes = engine.accelerator.num_processes
        note(f"device {engine.device_choice.value}: {engine.device_choice.reason}")
        note(f"precision {engine.precision_choice.value}: {engine.precision_choice.reason}")
        note(f"{learning:,} parameters learn, {frozen:,} are frozen")
        note(
            f"{len(self.batches.data):,} images, {self.batches.items_per_step} a step "
            f"({self.settings.batch_size} x {self.settings.accumulate} accumulated x {processes} processes); "
            f"{self.steps:,} steps = {self.batches.epoch_of(self.steps):.2f} epochs"
        )
        how = "starting" if state is None else f"going on at step {state.step}"
        note(f"{how} in {self.folder.path}")

    def _finish(self, stopped: signal.Signals | None, began: float) -> Outcome:
        progress = self.session.progress
        done = self.step == self.steps
        model = self._export() if done else None
        if self.tracker is not None:
            draw_curves(self.tracker.steps, self.tracker.evaluations, self.folder.path / "curves.png")
        outcome = Outcome(
            self.step,
            self.steps,
            progress.best_step,
            progress.best,
            progress.before,
            model,
            None if done else stopped,
            time.monotonic() - began,
        )
        if self.main:
            name = outcome.stopped and outcome.stopped.name
            write_json(
                self.folder.path / "result.json",
                {**asdict(outcome), "model": model and str(model), "stopped": name},
            )
        self.line.note(f"{self.step} of {self.steps} steps done, {duration(outcome.seconds)} this time")
        return outcome

    def _export(self) -> Path | None:
        """Export the best weights, or the last where nothing was evaluated; the model keeps them."""
        self.engine.accelerator.wait_for_everyone()
        if self.session.progress.best_step is not None:
            self.session.load_weights(read_state(self.folder.best))
        elif self.session.average is not None:
            self.session.average.copy_to_model()
        self.method.model.eval()
        if not self.main:
            return None
        return self.method.export(self.folder.model, self.session.progress.best)


def _loss_name(name: str) -> str:
    """Log names under which the curves find losses."""
    return name if name.startswith("loss") or name == "grad_norm" else f"loss_{name}"
