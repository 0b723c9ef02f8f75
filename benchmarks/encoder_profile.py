"""Where the encoder's time goes: SAM's ViT-B at 1024 px, one image, float32, as shares of one pass.

    python benchmarks/encoder_profile.py

The same random weights in ours and in transformers' encoder, with one thread, so that nothing happens beside
it. After a pass that is not counted, torch's profiler gives each operation's own time; those above 2 % of the
clock's time are printed. The rest of ours is attention, which without AVX-512 runs in kernels of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from encoder import ours, random_model, theirs
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

LEAST = 0.02


def seconds(run: Callable[[], Tensor]) -> tuple[float, dict[str, float]]:
    """Of a pass, and of each operation in it."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        start = time.perf_counter()
        run()
        whole = time.perf_counter() - start
    return whole, {entry.key: entry.self_cpu_time_total / 1e6 for entry in watched.key_averages()}


def main() -> int:
    """Print both profiles."""
    torch.set_num_threads(1)
    net = random_model(hq=False, quick=False)
    pixels = torch.randn(1, 3, 1024, 1024)
    for name, side in (("maskwright", ours), ("transformers", theirs)):
        whole, parts = seconds(side(net, pixels, torch.float32))
        print(f"{name}: {whole:.2f} s")
        for operation in sorted(parts, key=parts.__getitem__, reverse=True):
            if parts[operation] > LEAST * whole:
                print(f"  {parts[operation] / whole:6.1%}  {operation}")
        print(f"  {1 - sum(parts.values()) / whole:6.1%}  outside these operations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
