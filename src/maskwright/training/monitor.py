"""What the machine is doing while it trains."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import psutil
import torch

GIGABYTE = 2**30


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
