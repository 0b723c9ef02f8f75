"""What this machine can do at most, measured, and what it is: the limits beside which times are judged."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from maskwright.models.packed import plain_linear
from maskwright.runtime import computes

Result = TypeVar("Result")

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


def finished(run: Callable[[], Result]) -> Result:
    """What a function gives, when the GPU, if there is one, has done its work."""
    result = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def fastest(run: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of some runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        finished(run)
        times.append(time.perf_counter() - start)
    return min(times)


@torch.no_grad()
def matrix_rate(kind: torch.dtype, device: str, quick: bool = False) -> float:
    """Operations a second of a large product, by the quicker of the libraries that torch has."""
    side = SIDE // 16 if quick else SIDE
    one = torch.ones(side, side, dtype=kind, device=device)
    products: list[Callable[[], Tensor]] = [lambda: one @ one]
    if device == "cpu":
        products.append(lambda: plain_linear(one, one))
    return 2 * side**3 / min(map(fastest, products))


def measure_limits(device: str = "cpu", quick: bool = False) -> Limits:
    """Time a large matrix product in both kinds of arithmetic, and a copy that no cache holds."""
    copied = COPIED // 16 if quick else COPIED
    has_bfloat16 = computes(torch.bfloat16, torch.device(device))
    source = torch.ones(copied // 4, device=device)
    target = torch.empty_like(source)
    return Limits(
        float32=matrix_rate(torch.float32, device, quick),
        bfloat16=matrix_rate(torch.bfloat16, device, quick) if has_bfloat16 else None,
        bandwidth=2 * copied / fastest(lambda: target.copy_(source)),
    )


def describe(limits: Limits, device: str = "cpu") -> dict[str, Any]:
    """Processor or GPU, threads, versions, rates and date."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": processor() if device == "cpu" else torch.cuda.get_device_name(device),
        "instructions": torch.backends.cpu.get_cpu_capability() if device == "cpu" else "",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": found,
        "limits": asdict(limits),
        "date": datetime.now(UTC).date().isoformat(),
    }


def processor() -> str:
    """Its name, as far as the system tells."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
