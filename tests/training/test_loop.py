"""The loop: resuming is exact, settings are held to, records are complete, what is exported is the best."""

from __future__ import annotations

import csv
import json
import random
import signal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor
from training.toy import Toy, ToyData, ToySettings

from maskwright import runtime
from maskwright.errors import ConfigError, DatasetError, TrainingError
from maskwright.methods.base import Losses, StepContext
from maskwright.methods.settings import OptimizerSettings, ScheduleSettings
from maskwright.training.checkpoint import read_state
from maskwright.training.folder import RunFolder
from maskwright.training.loop import train


class Crash(Exception):
    """Stands for anything that ends a process in the middle of a step."""


class CrashingToy(Toy):
    def __init__(self, settings: ToySettings, crash_at: int) -> None:
        super().__init__(settings)
        self.crash_at = crash_at

    def training_step(self, batch: dict[str, Tensor], context: StepContext) -> Losses:
        if context.step == self.crash_at:
            raise Crash
        return super().training_step(batch, context)


def settings(**changes: Any) -> ToySettings:
    values: dict[str, Any] = {
        "steps": 9,
        "batch_size": 2,
        "accumulate": 2,
        "ema": 0.9,
        "clip_norm": 1.0,
        "evaluate_every": 4,
        "save_every": 1,
        "log_every": 2,
        "optimizer": OptimizerSettings(lr=0.05),
        "schedule": ScheduleSettings(name="cosine", warmup=2),
    }
    return ToySettings(**{**values, **changes})


def last(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state = read_state(RunFolder(folder).last)
    values = dict(state.values)
    for meter in values["meters"]:
        del meter["seconds"]
    return state.tensors, values


def losses(folder: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


def assert_same_run(left: Path, right: Path) -> None:
    (tensors, values), (other_tensors, other_values) = last(left), last(right)
    assert tensors.keys() == other_tensors.keys()
    for name, value in tensors.items():
        assert torch.equal(value, other_tensors[name]), name
    assert values == other_values
    assert losses(left) == losses(right)
    assert (left / "model/toy.txt").read_text() == (right / "model/toy.txt").read_text()


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_a_resumed_run_is_bit_equal(tmp_path: Path, optimizer: str) -> None:
    chosen = settings(optimizer=OptimizerSettings(name=optimizer, lr=0.05))  # type: ignore[arg-type]
    train(Toy(chosen), tmp_path / "whole", quiet=True)
    for crash_at in (3, 4, 7):  # in the middle of an epoch, after an evaluation, before the end
        with pytest.raises(Crash):
            train(CrashingToy(chosen, crash_at), tmp_path / "parts", quiet=True)
        # Whatever other code does to the global states between the two sessions must not matter.
        random.seed(), np.random.seed(), torch.manual_seed(crash_at)
    train(Toy(chosen), tmp_path / "parts", quiet=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_resuming_from_an_older_checkpoint_repeats_the_steps_after_it(tmp_path: Path) -> None:
    chosen = settings(save_every=3)
    train(Toy(chosen), tmp_path / "whole", quiet=True)
    with pytest.raises(Crash):
        train(CrashingToy(chosen, 7), tmp_path / "parts", quiet=True)
    assert read_state(RunFolder(tmp_path / "parts").last).step == 6
    train(Toy(chosen), tmp_path / "parts", quiet=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    steps = [step for step, _ in losses(tmp_path / "parts")]
    assert steps == sorted(set(steps))


def test_workers_and_evaluations_change_nothing(tmp_path: Path) -> None:
    train(Toy(settings()), tmp_path / "plain", quiet=True)
    train(Toy(settings(workers=1)), tmp_path / "workers", quiet=True)
    assert_same_run(tmp_path / "plain", tmp_path / "workers")
    train(Toy(settings(evaluate_every=1)), tmp_path / "evaluated", quiet=True)
    (tensors, values), (others, other_values) = last(tmp_path / "plain"), last(tmp_path / "evaluated")
    assert all(torch.equal(value, others[name]) for name, value in tensors.items())
    assert values["random"] == other_values["random"]


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(Toy(settings(seed=seed)), tmp_path / name, quiet=True)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = train(Toy(settings()), tmp_path, quiet=True)
    before = (tmp_path / "checkpoints/last.safetensors").read_bytes()
    toy = Toy(settings())
    second = train(toy, tmp_path, quiet=True)
    assert toy.evaluations == 0
    assert second.model == first.model
    assert second.metrics == first.metrics
    assert second.before == first.before
    assert (tmp_path / "checkpoints/last.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"batch_size": 3}, "settings.batch_size: 2 -> 3"),
        ({"optimizer": OptimizerSettings(lr=0.1)}, "settings.optimizer.lr: 0.05 -> 0.1"),
        ({"items": 8}, "items: 7 -> 8"),
        ({"steps": 10}, "settings.steps: 9 -> 10"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused_with_the_difference(
    tmp_path: Path, change: dict[str, Any], shown: str
) -> None:
    train(Toy(settings()), tmp_path, quiet=True)
    with pytest.raises(ConfigError, match="other settings") as error:
        train(Toy(settings(**change)), tmp_path, quiet=True)
    assert shown in str(error.value)
    assert "--out" in str(error.value)


def test_another_base_model_is_refused(tmp_path: Path) -> None:
    train(Toy(settings()), tmp_path, quiet=True)
    other = Toy(settings())
    with torch.no_grad():
        other.model.get_parameter("5.weight").add_(1)
    with pytest.raises(ConfigError, match="frozen_weights"):
        train(other, tmp_path, quiet=True)


def test_free_settings_may_change_on_resumption(tmp_path: Path) -> None:
    train(Toy(settings()), tmp_path / "whole", quiet=True)
    with pytest.raises(Crash):
        train(CrashingToy(settings(), 5), tmp_path / "parts", quiet=True)
    train(Toy(settings(save_every=2, worker_timeout=60.0, device="cpu")), tmp_path / "parts", quiet=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_records(tmp_path: Path) -> None:
    outcome = train(Toy(settings()), tmp_path, quiet=True)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 9]
    names = {"loss", "loss_extra", "lr", "grad_norm", "images_per_second", "cpu_percent", "disk_free_gb"}
    assert names | {"process_memory_gb", "epoch"} <= rows[0].keys()
    with (tmp_path / "epochs.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["step"] for row in table] == ["0", "4", "8", "9"]
    assert float(table[0]["val_score"]) == outcome.before["score"]
    assert all(table[-1][name] for name in names | {"val_score", "process_memory_gb"})
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert any((tmp_path / "tensorboard").iterdir())
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["step"] == 9
    assert result["model"] == str(outcome.model)
    assert result["stopped"] is None


def test_the_best_weights_are_exported_not_the_last(tmp_path: Path) -> None:
    class Peaking(Toy):
        seen: ClassVar[list[float]] = []

        def evaluate(self) -> dict[str, float]:
            self.evaluations += 1
            self.seen.append(float(self.model.get_parameter("0.weight").detach().sum()))
            return {"score": [0.1, 0.9, 0.5, 0.2][self.evaluations - 1]}

    toy = Peaking(settings())
    outcome = train(toy, tmp_path, quiet=True)
    assert outcome.best_step == 4
    assert outcome.metrics == {"score": 0.9}
    assert float(toy.model.get_parameter("0.weight").detach().sum()) == toy.seen[1]
    assert not toy.model.training


def test_a_start_that_was_better_is_kept_and_shown(tmp_path: Path) -> None:
    class Sinking(Toy):
        def evaluate(self) -> dict[str, float]:
            self.evaluations += 1
            return {"score": -float(self.evaluations)}

    outcome = train(Sinking(settings()), tmp_path, quiet=True)
    assert outcome.best_step == 0
    assert outcome.metrics == outcome.before


def test_without_validation_the_last_average_is_exported(tmp_path: Path) -> None:
    toy = Toy(settings(validate_data=False))
    outcome = train(toy, tmp_path, quiet=True)
    assert outcome.best_step is None
    assert outcome.metrics == {}
    assert outcome.model is not None
    average = read_state(RunFolder(tmp_path).last).part("average")
    assert torch.equal(toy.model.get_parameter("0.weight"), average["0.weight"])


def test_frozen_parameters_stay_and_groups_scale_the_rate(tmp_path: Path) -> None:
    toy = Toy(
        settings(ema=0.0, validate_data=False, optimizer=OptimizerSettings(name="sgd", betas=(0.0, 0.0)))
    )
    before = {name: value.clone() for name, value in toy.model.state_dict().items()}
    train(toy, tmp_path, quiet=True)
    after = toy.model.state_dict()
    assert torch.equal(before["5.weight"], after["5.weight"])
    assert not torch.equal(before["0.weight"], after["0.weight"])
    assert "model.5.weight" not in read_state(RunFolder(tmp_path).last).tensors


def test_a_data_error_reaches_the_user_as_it_is(tmp_path: Path) -> None:
    for workers in (0, 1):
        with pytest.raises(DatasetError, match=r"^photos/broken.jpg: cut short\.$"):
            train(Toy(settings(broken_item=3, workers=workers)), tmp_path / str(workers), quiet=True)


def test_a_killed_worker_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="data worker failed"):
        train(Toy(settings(kill_worker=True, workers=1, worker_timeout=20.0)), tmp_path, quiet=True)


def test_a_loss_that_is_not_finite_stops_before_the_step_and_can_be_repeated(tmp_path: Path) -> None:
    toy = Toy(settings(nan_step=5))
    with pytest.raises(TrainingError, match=r"step 5: not finite.*photos/\d\.jpg"):
        train(toy, tmp_path, quiet=True)
    folder = RunFolder(tmp_path)
    failed = read_state(folder.failed)
    assert failed.step == 5
    weights = dict(toy.model.state_dict())
    assert all(torch.equal(value, weights[name]) for name, value in failed.part("model").items())
    folder.failed.replace(folder.last)
    with pytest.raises(TrainingError, match="step 5: not finite"):
        train(Toy(settings(nan_step=5)), tmp_path, quiet=True)


@pytest.mark.parametrize("workers", [0, 1])
def test_sigterm_to_the_group_saves_and_the_next_call_goes_on(tmp_path: Path, workers: int) -> None:
    class Terminated(Toy):
        asked = False

        def training_step(self, batch: dict[str, Tensor], context: StepContext) -> Losses:
            if context.step == 4 and not self.asked:
                self.asked = True
                for child in psutil.Process().children(recursive=True):
                    child.terminate()
                signal.raise_signal(signal.SIGTERM)
            return super().training_step(batch, context)

    train(Toy(settings()), tmp_path / "whole", quiet=True)
    handler = signal.getsignal(signal.SIGTERM)
    stopped = train(Terminated(settings(save_every=100, workers=workers)), tmp_path / "parts", quiet=True)
    assert signal.getsignal(signal.SIGTERM) == handler
    assert stopped.stopped == signal.SIGTERM
    assert stopped.model is None
    assert read_state(RunFolder(tmp_path / "parts").last).step == stopped.step < 9
    finished = train(Toy(settings(save_every=100)), tmp_path / "parts", quiet=True)
    assert finished.stopped is None
    assert finished.step == 9
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_bf16_trains_and_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "computes", lambda *_: True)  # emulated, if need be
    train(Toy(settings(precision="bf16")), tmp_path / "whole", quiet=True)
    with pytest.raises(Crash):
        train(CrashingToy(settings(precision="bf16"), 5), tmp_path / "parts", quiet=True)
    with pytest.raises(ConfigError, match='precision: "bf16" -> "fp32"'):
        train(Toy(settings(precision="fp32")), tmp_path / "parts", quiet=True)
    train(Toy(settings(precision="bf16")), tmp_path / "parts", quiet=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_two_runs_in_one_folder_at_a_time_are_refused(tmp_path: Path) -> None:
    with RunFolder(tmp_path).lock(), pytest.raises(TrainingError, match="another process"):
        train(Toy(settings()), tmp_path, quiet=True)


def test_empty_data_are_refused(tmp_path: Path) -> None:
    class Empty(Toy):
        def training_data(self) -> ToyData:
            return ToyData(settings(items=0))

    with pytest.raises(TrainingError, match="nothing to train on"):
        train(Empty(settings()), tmp_path, quiet=True)


def test_the_log_says_what_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(Toy(settings()), tmp_path)
    text = capsys.readouterr().err
    for part in (
        "device cpu:",
        "precision fp32:",
        "learn",
        "images, 4 a step",
        "step 9 of 9: loss",
        "9 of 9 steps",
    ):
        assert part in text
    train(Toy(settings()), tmp_path)
    assert "going on at step 9" in capsys.readouterr().err
