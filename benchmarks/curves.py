"""Curves: what a piece of work takes in time and memory while one size of it grows.

A module with `curves()` gives them, as those with `comparisons` give comparisons. Every point is measured in
a process of its own, for memory that was once used stays with its process:

    python benchmarks/curves.py MODULE CURVE SIZE     (prints one point as JSON)

The powers are fitted to the largest sizes, where what is done once no longer counts. A curve that grows
faster than it may is an error.
"""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from maskwright.io.images import write_png
from maskwright.training.curves import new_figure, rendered

MEGABYTE = 1e6
FITTED = 4
"""So many of the largest sizes decide the power."""
SLACK = 160.0
"""Megabytes by which the highest memory of equal runs may differ, by the chance of what the allocator keeps.

Bytes in use are guarded more strictly by the tests, which count them (`tests/test_work_counts.py`)."""


@dataclass(frozen=True)
class Curve:
    """One kind of work at growing sizes.

    Args:
        name: what is done.
        axis: what grows.
        sizes: how far, rising; the first two are enough for a quick look.
        work: makes ready for a size, warmed up, and gives what is to be measured.
        power: CPU time may grow as this power of the size, not faster; None: it is not checked.
        growth: megabytes that memory may grow with each unit of the size; None: it is not checked.
    """

    name: str
    axis: str
    sizes: tuple[int, ...]
    work: Callable[[int], Callable[[], object]]
    power: float | None = None
    growth: float | None = None


def measure_curve(module: str, curve: Curve, quick: bool) -> dict[str, Any]:
    """Measure every point and check how they grow; the result is plain data.

    Raises:
        ValueError: time or memory grows faster than it may.
    """
    points = [measure_in_process(module, curve, size) for size in curve.sizes[: 2 if quick else None]]
    powers = {key: fitted_power(points, key) for key in ("seconds", "cpu")}
    row = {"name": curve.name, "axis": curve.axis, "points": points, "powers": powers}
    return row if quick else row | {"checked": checked(curve, points, powers["cpu"])}


def measure_in_process(module: str, curve: Curve, size: int) -> dict[str, float]:
    """One point, from a new process."""
    command = [sys.executable, __file__, module, curve.name, str(size)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    point: dict[str, float] = json.loads(output.splitlines()[-1])
    return point


def measure_here(curve: Curve, size: int) -> dict[str, float]:
    """One point, in this process: seconds, CPU seconds and megabytes above what was in use before."""
    run = curve.work(size)
    with suppress(OSError):  # Linux forgets the peak of the preparations; elsewhere it counts
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, used, start = psutil.Process().memory_info().rss / MEGABYTE, cpu_seconds(), time.perf_counter()
    run()
    seconds, used = time.perf_counter() - start, cpu_seconds() - used
    peak = peak_megabytes()
    return {"size": size, "seconds": seconds, "cpu": used, "peak": peak, "added": max(0.0, peak - before)}


def cpu_seconds() -> float:
    """CPU time of this process and of those it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_megabytes() -> float:
    """The most memory that this process, or the largest of those it has waited for, ever had."""
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    status = Path("/proc/self/status")
    if status.is_file():  # the other number begins with what the parent process had
        lines = status.read_text(encoding="ascii").splitlines()
        own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return max(own, theirs) * unit / MEGABYTE


def fitted_power(points: Sequence[dict[str, float]], key: str) -> float:
    """The power of the size as which a value grows, by least squares in logarithms."""
    largest = points[-FITTED:]
    sizes, values = (np.log([point[name] for point in largest]) for name in ("size", key))
    return float(np.polyfit(sizes, values, 1)[0])


def checked(curve: Curve, points: Sequence[dict[str, float]], power: float) -> list[str]:
    """What holds for the curve, in words.

    Raises:
        ValueError: it does not hold.
    """
    held = []
    if curve.power is not None:
        if power > curve.power:
            raise ValueError(
                f"{curve.name}: CPU time grows with {curve.axis} to the {power:.2f}, not {curve.power:g}"
            )
        held.append(f"CPU time grows with no more than {curve.axis} to the {curve.power:g}")
    if curve.growth is not None:
        middle, last = points[len(points) // 2], points[-1]
        more, units = last["added"] - middle["added"], last["size"] - middle["size"]
        if more > SLACK + curve.growth * units:
            raise ValueError(f"{curve.name}: {units:g} more {curve.axis} take {more:.0f} MB more memory")
        each = f" and {curve.growth:g} MB each" if curve.growth else ""
        held.append(
            f"from {middle['size']:g} to {last['size']:g} {curve.axis} memory grows by no more than "
            f"{SLACK:g} MB{each}"
        )
    return held


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a picture: time above memory, a column a curve."""
    figure = new_figure(2.9 * len(rows), 4.6)
    axes = figure.subplots(2, len(rows), squeeze=False)
    for (upper, lower), row in zip(axes.T, rows, strict=True):
        sizes = [point["size"] for point in row["points"]]
        upper.loglog(sizes, [point["seconds"] for point in row["points"]], "o-", color="#0072b2")
        upper.set_title(row["name"], fontsize=9)
        lower.semilogx(sizes, [point["added"] for point in row["points"]], "o-", color="#d55e00")
        lower.set(xlabel=row["axis"])
        lower.set_ylim(bottom=0)
        for axis in (upper, lower):
            axis.set_xticks(sizes, [f"{size:g}" for size in sizes], fontsize=7)
            axis.set_xticks([], minor=True)
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("memory added, MB")
    write_png(path, rendered(figure))


def main() -> None:
    """Measure one point and print it."""
    module, name, size = sys.argv[1:]
    curve = next(curve for curve in importlib.import_module(module).curves() if curve.name == name)
    print(json.dumps(measure_here(curve, int(size))))


if __name__ == "__main__":
    main()
