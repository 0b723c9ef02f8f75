"""Where the time of a pass goes: what explains a goal that is missed."""

from __future__ import annotations

import cProfile
import pstats
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from machine import finished
from torch.profiler import profile

LEAST = 0.04  # of a pass: smaller shares are not told
OUTSIDE = "outside torch"
BUILT_IN = re.compile(r"<(?:method '(\w+)' of '([\w.]+)' objects|built-in method ([\w.]+))>")


def profile_pass(run: Callable[[], Any], in_torch: bool) -> dict[str, Any]:
    """Seconds of one pass, and the shares of what happens in it, the largest first.

    One thread, so that nothing happens beside what is watched. A pass that is not counted comes first.

    Args:
        run: the pass.
        in_torch: whether its work is that of torch's operations; otherwise functions are told, each with its
            own time, which the watching makes longer where they are short and many.
    """
    with one_thread():
        finished(run)
        whole, seconds = operations(run) if in_torch else functions(run)
    shares = {name: part / whole for name, part in seconds.items() if part > LEAST * whole}
    return {"seconds": whole, "shares": dict(sorted(shares.items(), key=lambda item: -item[1]))}


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes in one thread within."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def operations(run: Callable[[], Any]) -> tuple[float, dict[str, float]]:
    """Seconds of a pass, and of each operation of torch's; of a GPU, there. The rest is `OUTSIDE`."""
    with profile(acc_events=True) as watched:  # without it torch 2.11 warns
        start = time.perf_counter()
        finished(run)
        whole = time.perf_counter() - start
    events = watched.key_averages()
    on_gpu = any(event.self_device_time_total for event in events)
    clock = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    found = {event.key.removeprefix("aten::"): getattr(event, clock) / 1e6 for event in events}
    return whole, found | {OUTSIDE: max(0.0, whole - sum(found.values()))}


def functions(run: Callable[[], Any]) -> tuple[float, dict[str, float]]:
    """Seconds of a pass, and each function's own, in this thread."""
    watched = cProfile.Profile()
    watched.runcall(run)
    entries: dict[tuple[str, int, str], tuple[int, int, float, float, Any]]
    entries = pstats.Stats(watched).stats  # type: ignore[attr-defined]
    found: dict[str, float] = {}
    for place, (_, _, own, _, _) in entries.items():
        name = function_name(*place)
        found[name] = found.get(name, 0.0) + own
    return sum(found.values()), found


def function_name(file: str, _line: int, name: str) -> str:
    """A function with its class or module, as short as it is clear."""
    if built_in := BUILT_IN.fullmatch(name):
        method, kind, function = built_in.groups()
        return f"{kind}.{method}" if method else str(function).removeprefix("torch._C._nn.")
    return name.strip("<>") if file == "~" else f"{Path(file).stem}.{name}"
