"""What the machine is doing while it trains."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import psutil
import torch

MEGABYTE, GIGABYTE = 2**20, 2**30


class Monitor:
    """Reads the use of CPU, memory, disk and GPU, for one line of the log."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Watch this process, the disk of `folder`, and the device."""
        self.folder, self.device = folder, device
        self.process = psutil.Process()
        # The first reading only sets the start of the interval.
        psutil.cpu_percent()
        self.process.cpu_percent()

    def read(self) -> dict[str, float]:
        """Use since the last reading (percent) and at this moment (GB)."""
        memory = psutil.virtual_memory()
        reading = {
            "cpu_percent": psutil.cpu_percent(),
            "process_cpu_percent": self.process.cpu_percent(),
            "process_memory_gb": self.process.memory_info().rss / GIGABYTE,
            "memory_free_gb": memory.available / GIGABYTE,
            "disk_free_gb": shutil.disk_usage(self.folder).free / GIGABYTE,
        }
        if self.device.type == "cuda":
            reading.update(self._gpu())
        return {name: round(value, 3) for name, value in reading.items()}

    def _gpu(self) -> dict[str, float]:
        reading = {
            "gpu_memory_gb": torch.cuda.memory_allocated(self.device) / GIGABYTE,
            "gpu_memory_peak_gb": torch.cuda.max_memory_allocated(self.device) / GIGABYTE,
        }
        # torch reads this through an optional package with errors of its own, and not every driver and
        # partition of a GPU tells; a line of the log must never end a run.
        with suppress(Exception):
            reading["gpu_percent"] = float(torch.cuda.utilization(self.device))
        return reading


class EpochMonitor:
    """Reads what the whole machine used during an epoch: processor, memory, disk, and each GPU that tells."""

    def __init__(self, folder: Path) -> None:
        """Watch the machine and the disk of `folder`, from now on."""
        self.folder = folder
        self.busy, self.total = _cpu_seconds()

    def read(self) -> dict[str, float]:
        """Mean CPU use since the last reading (percent), the rest at this moment (MB: 2^20, GB: 2^30 bytes).

        GPUs are all of the machine, by the driver's numbers; what one does not tell is left out.
        """
        busy, total = _cpu_seconds()
        share = (busy - self.busy) / max(total - self.total, 1e-9)
        self.busy, self.total = busy, total
        memory, disk = psutil.virtual_memory(), shutil.disk_usage(self.folder)
        reading = {
            "cpu_percent": 100 * min(max(share, 0.0), 1.0),
            "ram_used_MB": (memory.total - memory.available) / MEGABYTE,
            "ram_total_MB": memory.total / MEGABYTE,
            "disk_used_GB": disk.used / GIGABYTE,
            "disk_total_GB": disk.total / GIGABYTE,
            **_gpus(),
        }
        return {name: round(value, 3) for name, value in reading.items()}


def _cpu_seconds() -> tuple[float, float]:
    """Seconds since the start of the machine in which its cores worked, and all seconds."""
    times = psutil.cpu_times()._asdict()
    # Linux counts the time of guests twice.
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return total - times["idle"] - times.get("iowait", 0.0), total


def _gpus() -> dict[str, float]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # not installed, no driver, no GPU: errors of its own kinds
        return {}
    reading: dict[str, float] = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        # Not every driver and partition of a GPU tells everything; a line of figures must never end a run.
        with suppress(Exception):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(device)
            reading[f"gpu_{index}_memory_used_MB"] = memory.used / MEGABYTE
            reading[f"gpu_{index}_memory_total_MB"] = memory.total / MEGABYTE
        with suppress(Exception):
            reading[f"gpu_{index}_utilization_%"] = float(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)
        with suppress(Exception):
            kind = pynvml.NVML_TEMPERATURE_GPU
            reading[f"gpu_{index}_temperature_C"] = float(pynvml.nvmlDeviceGetTemperature(device, kind))
    pynvml.nvmlShutdown()
    return reading
