"""Training heads on tokens that exceed memory, beside training on few: steps of the same training, in turns.

    python benchmarks/token_reading.py --folder FOLDER [--gigabytes 32] [--rounds 5] [--workers 0]

Both sets are random numbers in the files of a container. The large one is never read from the file cache:
each round goes on where the last one stopped. Give a folder with room; its two files are deleted at the end.
Seconds of the clock, for waiting for the disk is what matters: leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from maskwright.io.token_file import open_tensor, read_ahead, tensor_writer
from maskwright.methods.base import ItemKey
from maskwright.methods.uncertainty.config import HeadPlan
from maskwright.methods.uncertainty.data import Batch, Rows, Steps
from maskwright.methods.uncertainty.network import HeadNetwork
from maskwright.models.uncertainty import VALUES, HeadsConfig

SHAPE = (3, 256)  # of a row: SAM 2's tokens
SMALL, PART = 200_000, 20_000
BATCH, STEPS, FIRST = 256, 500, 100


class Tokens:
    """The part of a container that training reads in every step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensor = open_tensor(path)

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return Tokens, (self.path,)

    def inputs(self, index_A: np.ndarray) -> np.ndarray:
        """Values of some rows, which come in order."""
        values: np.ndarray = self.tensor[index_A].reshape(len(index_A), -1)
        return values

    def read_ahead(self, index_A: np.ndarray) -> None:
        """As a container does."""
        read_ahead(self.tensor, index_A)


class Stream(Dataset[Batch]):
    """Steps of the first epoch, one after the other."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> Batch:
        return self.steps[ItemKey(index % len(self.steps), index // len(self.steps), 0)]


def write(path: Path, rows: int) -> None:
    """A file of random tokens."""
    part = np.random.default_rng(0).standard_normal((PART, *SHAPE), np.float32)
    with tensor_writer(path, (rows, *SHAPE), "float32") as append:
        for _ in range(rows // PART):
            append(part)


def stream(path: Path, rows: int, workers: int) -> Iterator[Batch]:
    """The steps of a training on a file."""
    targets = np.random.default_rng(1).random((rows, len(VALUES)), np.float32)
    data = Rows(Tokens(path), targets, int(np.prod(SHAPE)))  # type: ignore[arg-type]
    steps = Steps(data, [HeadPlan(name, 1e-3, 0.9, 0.05, BATCH, None) for name in VALUES])
    loader = DataLoader(Stream(steps), batch_size=None, num_workers=workers, shuffle=False)
    return iter(loader)


def train(batches: Iterator[Batch], steps: int) -> float:
    """Steps a second of the training."""
    config = HeadsConfig("selected", VALUES, int(np.prod(SHAPE)), (64, 64), (("a", "b"),))
    network = HeadNetwork(config, 0)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    start = time.perf_counter()
    for _ in range(steps):
        loss = next(batches).losses(network).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return steps / (time.perf_counter() - start)


def main() -> None:
    """Measure, and print the median of each set and of the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--gigabytes", type=float, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    large = int(given.gigabytes * 1e9 / (4 * np.prod(SHAPE))) // PART * PART
    files = {given.folder / "small.safetensors": SMALL, given.folder / "large.safetensors": large}
    try:
        for path, rows in files.items():
            write(path, rows)
        streams = [stream(path, rows, given.workers) for path, rows in files.items()]
        for batches in streams:
            train(batches, FIRST)
        rounds = [[train(batches, STEPS) for batches in streams] for _ in range(given.rounds)]
        del streams, batches
    finally:
        for path in files:
            path.unlink(missing_ok=True)
    small, big = map(statistics.median, zip(*rounds, strict=True))
    ratio = statistics.median(b / s for s, b in rounds)
    table = Table("rows", "GB", "steps/s", "ratio")
    table.add_row(f"{SMALL:,}", f"{SMALL * 4 * np.prod(SHAPE) / 1e9:.1f}", f"{small:.0f}", "")
    table.add_row(f"{large:,}", f"{large * 4 * np.prod(SHAPE) / 1e9:.1f}", f"{big:.0f}", f"{ratio:.2f}")
    print(f"{given.rounds} rounds of {STEPS} steps in turns, {given.workers} loading processes")
    Console().print(table)


if __name__ == "__main__":
    main()
