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
