"""Time as the benchmarks take it."""

from __future__ import annotations

import time
from collections.abc import Callable


def seconds(run: Callable[[], object], repeats: int = 1) -> float:
    """CPU seconds of the fastest of some runs: other programs on the machine disturb them least."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def turn_about(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """CPU seconds of the fastest run of each, one after the other in each of some rounds."""
    rounds = [{name: seconds(run) for name, run in runs.items()} for _ in range(repeats)]
    return {name: min(times[name] for times in rounds) for name in runs}
