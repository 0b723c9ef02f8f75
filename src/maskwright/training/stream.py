"""The endless, seeded stream of training items, cut into batches: a pure function of the step.

Item number g of the stream is item `order(epoch)[g mod n]` of epoch `g div n`. An optimiser step takes the
next `accumulate x processes x batch_size` items; which process prepares which, and in how many workers,
changes nothing. So a run continues from its step alone, in the middle of an epoch.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from maskwright.errors import MaskwrightError, TrainingError
from maskwright.methods.base import ItemKey, TrainingData

# Time for the run to finish its step and save, after a SIGTERM.
GRACE_SECONDS = 30


@dataclass(frozen=True)
class Batches:
    """How the stream is cut.

    Args:
        data: the training items.
        seed: the run's seed.
        batch_size: items a process takes at once.
        accumulate: batches of one optimiser step.
        processes: number of processes; `process` is this one's rank.
    """

    data: TrainingData
    seed: int
    batch_size: int
    accumulate: int = 1
    processes: int = 1
    process: int = 0

    @property
    def items_per_step(self) -> int:
        """Items one optimiser step consumes over all processes."""
        return self.batch_size * self.accumulate * self.processes

    def steps_of(self, epochs: int) -> int:
        """Optimiser steps that see every item `epochs` times (rounded up)."""
        return max(1, -(-epochs * len(self.data) // self.items_per_step))

    def epoch_of(self, step: int) -> float:
        """Passes over the data done after `step` optimiser steps."""
        return step * self.items_per_step / len(self.data)

    def epochs_done(self, step: int) -> int:
        """Whole passes over the data done after `step` optimiser steps."""
        return step * self.items_per_step // len(self.data)

    def keys(self, step: int) -> list[list[ItemKey]]:
        """This process's batches of an optimiser step, one list of keys each."""
        start = step * self.items_per_step
        width = self.batch_size * self.processes
        firsts = [start + part * width + self.process * self.batch_size for part in range(self.accumulate)]
        return [[self._key(first + offset) for offset in range(self.batch_size)] for first in firsts]

    def _key(self, position: int) -> ItemKey:
        epoch, place = divmod(position, len(self.data))
        return ItemKey(int(self._order(epoch)[place]), epoch, self.seed)

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        cached: dict[int, npt.NDArray[np.int64]] = self.__dict__.setdefault("_orders", {})
        if epoch not in cached:
            order = self.data.order(epoch, self.seed)
            assert len(order) == len(self.data), "an epoch's order must name as many items as the data has"
            # The stream only moves forward: the epoch before may still be asked for, older ones not.
            for old in [key for key in cached if key < epoch - 1]:
                del cached[old]
            cached[epoch] = order
        return cached[epoch]


class _Keys(Sampler[list[ItemKey]]):
    def __init__(self, batches: Batches, start: int, steps: int) -> None:
        self.batches, self.start, self.steps = batches, start, steps

    def __iter__(self) -> Iterator[list[ItemKey]]:
        for step in range(self.start, self.steps):
            yield from self.batches.keys(step)

    def __len__(self) -> int:
        return (self.steps - self.start) * self.batches.accumulate


class _Items(Dataset[Any]):
    """Hands errors on as values: a worker process would wrap them in its own traceback."""

    def __init__(self, data: TrainingData) -> None:
        self.data = data

    def __getitem__(self, key: ItemKey) -> Any:  # noqa: ANN401
        try:
            return self.data[key]
        except MaskwrightError as error:
            return error


@dataclass(frozen=True)
class _Collate:
    data: TrainingData

    def __call__(self, items: list[Any]) -> Any:  # noqa: ANN401
        error = next((item for item in items if isinstance(item, MaskwrightError)), None)
        return error if error is not None else self.data.collate(items)


def _outlive_the_signal(_: int) -> None:
    """Schedulers and Ctrl-C signal the whole group: a run without workers could not finish its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A run that is at its end terminates workers that do not end by themselves, and waits for them.
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))


def iterate(
    batches: Batches, start: int, steps: int, *, workers: int, timeout: float, pin: bool
) -> Generator[Any, None, None]:
    """Yield the batches of optimiser steps `start` to `steps`, in order, prepared by `workers` processes.

    Raises:
        MaskwrightError: whatever preparing an item raised, as it was.
        TrainingError: a worker died or took longer than `timeout` seconds.
    """
    loader = DataLoader(
        _Items(batches.data),
        batch_sampler=_Keys(batches, start, steps),
        collate_fn=_Collate(batches.data),
        num_workers=workers,
        timeout=timeout if workers else 0,
        pin_memory=pin,
        worker_init_fn=_outlive_the_signal if workers else None,
        # Its own generator: the loader must not draw from the global random state.
        generator=torch.Generator().manual_seed(batches.seed),
        # fork would copy the locks of the threads that torch has already started
        multiprocessing_context="spawn" if workers else None,
    )
    source = iter(loader)
    try:
        while True:
            batch = _next(source)
            if batch is None:
                return
            if isinstance(batch, MaskwrightError):
                raise batch
            yield batch
    finally:
        del source  # which ends the workers; an error's traceback would keep it, and them, alive


def _next(source: Iterator[Any]) -> Any:  # noqa: ANN401
    """The next batch, or None after the last."""
    try:
        return next(source, None)
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        raise TrainingError(
            f"a data worker failed: {error} Use fewer, or workers = 0 to see the error itself."
        ) from error
