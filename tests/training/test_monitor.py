"""What the log says about the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from maskwright.training.monitor import GIGABYTE, Monitor

MACHINE = {"cpu_percent", "process_cpu_percent", "process_memory_gb", "memory_free_gb", "disk_free_gb"}


class DriverError(Exception):
    """As the driver's library raises it: no subclass of anything that torch knows."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Monitor:
    """A monitor of a GPU that needs none."""
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2 * GIGABYTE)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 3 * GIGABYTE)
    return Monitor(tmp_path, torch.device("cuda"))


def test_processor_memory_and_disk_are_read(tmp_path: Path) -> None:
    reading = Monitor(tmp_path, torch.device("cpu")).read()
    assert reading.keys() == MACHINE
    assert reading["process_memory_gb"] > 0
    assert reading["disk_free_gb"] > 0
    assert 0 <= reading["cpu_percent"] <= 100


def test_a_gpu_is_read(gpu: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "utilization", lambda _: 87)
    reading = gpu.read()
    assert reading.keys() == MACHINE | {"gpu_memory_gb", "gpu_memory_peak_gb", "gpu_percent"}
    assert (reading["gpu_memory_gb"], reading["gpu_memory_peak_gb"], reading["gpu_percent"]) == (2, 3, 87)


@pytest.mark.parametrize("error", [ModuleNotFoundError, RuntimeError, DriverError])
def test_a_gpu_that_does_not_tell_its_load_ends_no_run(
    gpu: Monitor, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def refuse(_: torch.device) -> int:
        raise error("not supported")

    monkeypatch.setattr(torch.cuda, "utilization", refuse)
    assert gpu.read().keys() == MACHINE | {"gpu_memory_gb", "gpu_memory_peak_gb"}
