"""What is kept of each epoch: one line each, whatever happens, and as many models as were asked for."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from training.test_loop import Crash, CrashingToy
from training.toy import Toy, ToySettings

from maskwright.training.loop import train
from maskwright.training.monitor import EpochMonitor
from maskwright.training.tracking import metrics_by_name

COLUMNS = [
    "epoch",
    "duration_sec",
    "cpu_percent",
    "ram_used_MB",
    "ram_total_MB",
    "disk_used_GB",
    "disk_total_GB",
]


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)


def settings(**changes: Any) -> ToySettings:
    """Seven items, four a step: epochs end in steps 2, 4, 6 (5.25 is the third) and 7."""
    values = {"epochs": 4, "batch_size": 4, "device": "cpu", "log_every": 1, "save_models": 1}
    return ToySettings.model_validate({**values, **changes})


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "epoch_stats.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "epochs").iterdir())


def test_a_line_and_a_model_each_epoch(tmp_path: Path) -> None:
    train(Toy(settings()), tmp_path, quiet=True)
    table = rows(tmp_path)
    assert list(table[0]) == COLUMNS
    assert [row["epoch"] for row in table] == ["1", "2", "3", "4"]
    for row in table:
        assert float(row["duration_sec"]) > 0
        assert 0 <= float(row["cpu_percent"]) <= 100
        assert 0 < float(row["ram_used_MB"]) < float(row["ram_total_MB"])
        assert 0 < float(row["disk_used_GB"]) <= float(row["disk_total_GB"])
    assert float(table[0]["ram_total_MB"]) == pytest.approx(psutil.virtual_memory().total / 2**20, abs=0.01)
    assert kept(tmp_path) == ["0001", "0002", "0003", "0004"]
    models = [(tmp_path / f"epochs/{name}/toy.txt").read_text() for name in kept(tmp_path)]
    assert len(set(models)) == 4


def test_evaluations_fall_on_the_ends_of_epochs(tmp_path: Path) -> None:
    train(Toy(settings()), tmp_path, quiet=True)
    metrics = json.loads((tmp_path / "training_metrics.json").read_text())
    assert metrics["step"] == [2, 4, 6, 7]
    assert len(metrics["loss"]) == len(metrics["val_score"]) == 4
    assert all(value < 0 for value in metrics["val_score"])  # read after the evaluation: never a placeholder
    assert metrics["before"].keys() == {"val_score"}
    with (tmp_path / "epochs.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [float(row["val_score"]) for row in table[1:]] == metrics["val_score"]
    assert [float(row["loss"]) for row in table[1:]] == metrics["loss"]


def test_every_second_and_only_the_newest(tmp_path: Path) -> None:
    train(Toy(settings(save_models=2)), tmp_path / "second", quiet=True)
    assert kept(tmp_path / "second") == ["0002", "0004"]
    train(Toy(settings(keep_models=1)), tmp_path / "last", quiet=True)
    assert kept(tmp_path / "last") == ["0004"]
    train(Toy(settings(save_models=None)), tmp_path / "none", quiet=True)
    assert not (tmp_path / "none/epochs").exists()
    assert len(rows(tmp_path / "none")) == 4


@pytest.mark.parametrize("crash_at", [1, 2, 3, 6])
def test_after_a_crash_there_is_one_line_an_epoch_and_the_same_models(tmp_path: Path, crash_at: int) -> None:
    # Checkpoints only each third step: epochs are done, and written down, that will be done again.
    chosen = settings(evaluate_every=3, keep_models=2)
    train(Toy(chosen), tmp_path / "whole", quiet=True)
    with pytest.raises(Crash):
        train(CrashingToy(chosen, crash_at), tmp_path / "parts", quiet=True)
    train(Toy(chosen), tmp_path / "parts", quiet=True)
    assert [row["epoch"] for row in rows(tmp_path / "parts")] == ["1", "2", "3", "4"]
    assert kept(tmp_path / "parts") == kept(tmp_path / "whole") == ["0003", "0004"]
    for name in kept(tmp_path / "whole"):
        one, other = (tmp_path / run / "epochs" / name / "toy.txt" for run in ("whole", "parts"))
        assert one.read_text() == other.read_text()
    before, after = (
        json.loads((tmp_path / run / "training_metrics.json").read_text()) for run in ("whole", "parts")
    )
    assert before == after


def test_gpus_tell_what_they_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(name.startswith("gpu") for name in EpochMonitor(tmp_path).read())

    def temperature(device: int, kind: int) -> int:
        if device == 1:
            raise RuntimeError("not supported")
        return 61

    fake = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=3 * 2**20, total=5 * 2**20),
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=87),
        nvmlDeviceGetTemperature=temperature,
        NVML_TEMPERATURE_GPU=0,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    reading = EpochMonitor(tmp_path).read()
    told = {name: value for name, value in reading.items() if name.startswith("gpu")}
    assert told == {
        "gpu_0_memory_used_MB": 3, "gpu_0_memory_total_MB": 5, "gpu_0_utilization_%": 87,
        "gpu_0_temperature_C": 61,
        "gpu_1_memory_used_MB": 3, "gpu_1_memory_total_MB": 5, "gpu_1_utilization_%": 87,
    }  # fmt: skip


def test_a_driver_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("driver not loaded")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=refuse))
    assert not any(name.startswith("gpu") for name in EpochMonitor(tmp_path).read())


def test_metrics_have_one_entry_each() -> None:
    made = metrics_by_name(
        [
            {"step": 0, "epoch": 0.0, "val_miou": 0.1, "lr": 1},
            {"step": 3, "epoch": 1.0, "loss": 2.0, "loss_hq": 1.5, "val_miou": 0.2},
            {"step": 6, "epoch": 2.0, "loss": 1.0},
        ]
    )
    assert made == {
        "epoch": [1.0, 2.0], "step": [3, 6], "loss": [2.0, 1.0], "loss_hq": [1.5, None],
        "val_iou": [0.2, None],
        "before": {"val_iou": 0.1},
    }  # fmt: skip
    assert metrics_by_name([]) == {"before": {}}
