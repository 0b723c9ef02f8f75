"""Where the time of a pass goes, by operation: what explains a goal that is missed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from machine import finished
from torch.profiler import profile

LEAST = 0.03  # of a pass: smaller shares are not told
OUTSIDE = "outside torch"


def profile_pass(run: Callable[[], Any]) -> dict[str, Any]:
    """Seconds of one pass, and the shares of the operations in it, the largest first.

    One thread, so that nothing happens beside what is watched; of a GPU, the time there. A pass that is not
    counted comes first. Kernels of our own are no operations of torch's: their share is `OUTSIDE`.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        finished(run)
        with profile() as watched:
            start = time.perf_counter()
            finished(run)
            whole = time.perf_counter() - start
    finally:
        torch.set_num_threads(threads)
    clock = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    shares = {
        event.key.removeprefix("aten::"): getattr(event, clock) / 1e6 / whole
        for event in watched.key_averages()
    }
    shares[OUTSIDE] = max(0.0, 1 - sum(shares.values()))
    largest = sorted(shares, key=shares.__getitem__, reverse=True)
    return {"seconds": whole, "shares": {name: shares[name] for name in largest if shares[name] > LEAST}}
