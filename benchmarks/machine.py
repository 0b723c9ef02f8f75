"""What this machine can do at most, measured, and what it is: the limits beside which times are judged."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwright.models.packed import plain_linear
from maskwright.runtime import computes

SIDE = 3072  # of the square matrices whose product is timed: long enough that starting it costs nothing
COPIED = 2**28  # bytes, far beyond any cache
PACKAGES = (
    "torch",
    "transformers",
    "numpy",
    "numba",
    "opencv-python-headless",
    "scikit-image",
    "pycocotools",
    "onnxruntime",
    "openvino",
    "segment-anything-py",
    "segment-anything-hq",
)


@dataclass(frozen=True)
class Limits:
    """Rates of this machine: operations a second of a matrix product, and bytes a second moved by a copy.

    None: it computes no such products itself.
    """

    float32: float
    bfloat16: float | None
    bandwidth: float

    def seconds(self, operations: float, moved: float, arithmetic: str) -> float | None:
        """Least time for so much work: the longer of computing and moving; None if neither is known."""
        rate = getattr(self, arithmetic)
        assert rate or not operations, f"no rate of {arithmetic}"
        return max(operations / rate if operations else 0.0, moved / self.bandwidth) or None


def fastest(run: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of some runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


@torch.no_grad()
def matrix_rate(kind: torch.dtype, device: str) -> float:
    """Operations a second of a large product, by the quicker of the libraries that torch has."""
    one = torch.ones(SIDE, SIDE, dtype=kind, device=device)
    products: list[Callable[[], Tensor]] = [lambda: one @ one]
    if device == "cpu":
        products.append(lambda: plain_linear(one, one))
    return 2 * SIDE**3 / min(map(fastest, products))


def measure_limits() -> Limits:
    """Time a large matrix product in both kinds of arithmetic, and a copy that no cache holds."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    has_bfloat16 = computes(torch.bfloat16, torch.device(device))
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return Limits(
        float32=matrix_rate(torch.float32, device),
        bfloat16=matrix_rate(torch.bfloat16, device) if has_bfloat16 else None,
        bandwidth=2 * COPIED / fastest(lambda: target.copy_(source)),
    )


def describe(limits: Limits) -> dict[str, Any]:
    """Processor, threads, versions, rates and date."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": found,
        "limits": asdict(limits),
        "date": datetime.now(UTC).date().isoformat(),
    }


def processor() -> str:
    """Name of the GPU if there is one, of the processor otherwise."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    facts = Path("/proc/cpuinfo")
    if not facts.is_file():
        return platform.processor() or platform.machine()
    lines = facts.read_text(encoding="utf-8").splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
