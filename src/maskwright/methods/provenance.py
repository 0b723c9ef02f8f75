"""On what a figure was measured: the machine and the versions of what computes."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

import maskwright

LIBRARIES = ("torch", "transformers", "numpy", "opencv-python-headless", "scipy")


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, cores, memory and the device that computes."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def versions() -> dict[str, str | None]:
    """Versions of Maskwright, Python and the libraries that compute; None for one that is not installed."""
    return {"maskwright": maskwright.__version__, "python": platform.python_version()} | {
        name: _version(name) for name in LIBRARIES
    }


def _processor() -> str:
    """The processor's name; platform.processor() is empty on most Linux systems."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
