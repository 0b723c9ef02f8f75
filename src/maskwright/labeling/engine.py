"""Drives any worker over shards, in this process or in several, so that an interruption costs one shard.

A shard's files are written whole, then its line in the ledger. What has no line is done again, with the same
bytes, so a run that was killed at any point and started again ends like one that was not. Photos that cannot
be labelled go into the ledger with the reason. Memory is bounded by one shard a process, however many follow.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from maskwright.errors import LabelingError, MaskwrightError
from maskwright.labeling.ledger import Entry, Failure, Ledger, digest
from maskwright.labeling.plan import PlannedImage, Shard

# Shards handed to each process beforehand, so that none waits for the next.
AHEAD = 2


class Worker(Protocol):
    """What is done with each photo. It is sent to other processes, so `prepare` is what makes it heavy."""

    def prepare(self) -> None:
        """Load what is needed, unless it is there; called in every process before each shard.

        Raises:
            MaskwrightError: it cannot be loaded; the run ends.
        """

    def release(self) -> None:
        """Forget what was loaded; called where other processes do the work."""

    def label(self, image: PlannedImage) -> Sized:
        """The rows of one photo, always the same ones.

        Raises:
            MaskwrightError: this photo cannot be labelled; it is noted, and the run goes on.
        """

    def files(self, shard: Shard) -> list[Path]:
        """The files of a shard, in order."""

    def write(self, shard: Shard, rows: Sequence[Any]) -> None:
        """Write a shard's files, each atomically; `rows` has one part a photo, None where it failed.

        Raises:
            MaskwrightError: they cannot be written; the run ends.
        """


@dataclass(frozen=True)
class Outcome:
    """One photo that was labelled, or why it was not."""

    image: PlannedImage
    reason: str | None = None


def run_local(shards: Iterable[Shard], worker: Worker, ledger: Ledger, workers: int = 1) -> Iterator[Outcome]:
    """Label shards on this machine and yield each photo's outcome.

    Args:
        shards: those that are pending.
        worker: what to do with each photo.
        ledger: gets a line for each shard that is finished.
        workers: 1 works in this process; more start so many others, each of which prepares the worker.

    Raises:
        MaskwrightError: the worker cannot be prepared or its files not written.
        LabelingError: a process has died.
    """
    if workers > 1:
        yield from _run_processes(shards, worker, ledger, workers)
        return
    worker.prepare()
    for shard in shards:
        ledger.append((yield from label_shard(shard, worker)))


def label_shard(shard: Shard, worker: Worker) -> Generator[Outcome, None, Entry]:
    """Label the photos of a shard, yielding each one's outcome, and write its files."""
    rows: list[Sized | None] = []
    failures = []
    for image in shard.images:
        reason = None
        try:
            image.check()
            rows.append(worker.label(image))
        except MaskwrightError as error:
            reason = str(error)
            rows.append(None)
            failures.append(Failure(image.name, reason))
        yield Outcome(image, reason)
    worker.write(shard, rows)
    masks = sum(len(part) for part in rows if part is not None)
    hashed = digest(worker.files(shard))
    return Entry(shard.number, len(rows), masks, tuple(failures), hashed, shard.inputs)


def finish_shard(shard: Shard, worker: Worker) -> Entry:
    """Prepare the worker, label a shard and write its files."""
    worker.prepare()
    steps = label_shard(shard, worker)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            entry: Entry = end.value
            return entry


def outcomes(shard: Shard, entry: Entry) -> Iterator[Outcome]:
    """The outcomes of a finished shard's photos."""
    reasons = {failure.image: failure.reason for failure in entry.failures}
    return (Outcome(image, reasons.get(image.name)) for image in shard.images)


_worker: Worker  # in a process of a pool: its own


def _run_processes(
    shards: Iterable[Shard], worker: Worker, ledger: Ledger, workers: int
) -> Iterator[Outcome]:
    worker.release()
    rest = iter(shards)
    # Spawned, not forked: a copy of this process would share its threads' locks and its GPU.
    context = get_context("spawn")
    # Nothing is ever sent through this pipe: its end, by `close` or by this process's own, ends the others.
    reader, life = context.Pipe(duplex=False)
    threads = max(1, cores() // workers)
    pool = ProcessPoolExecutor(workers, context, _begin, (worker, reader, threads))
    running: dict[Future[Entry], Shard] = {}
    try:
        while True:
            for shard in islice(rest, AHEAD * workers - len(running)):
                running[pool.submit(_work, shard)] = shard
            if not running:
                return
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                entry = done.result()
                ledger.append(entry)
                yield from outcomes(running.pop(done), entry)
    except BrokenProcessPool as error:
        raise LabelingError(
            "a process that labels photos has died (killed, or out of memory?). What is finished stays: "
            "the same command goes on from there; give fewer --workers if memory ran out."
        ) from error
    finally:
        if running:
            # An error or Ctrl-C: nobody waits for shards that would be minutes away from their end.
            life.close()
        pool.shutdown(cancel_futures=True)
        life.close()
        reader.close()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(worker: Worker, life: Connection, threads: int) -> None:
    """Set up a process of the pool, with its share of the processor's cores."""
    global _worker
    import torch

    # Threads that wait for each other must not take turns on a core: that is far slower than one process.
    torch.set_num_threads(min(threads, torch.get_num_threads()))
    # Ctrl-C goes to the whole group; the process that began it decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(life,), daemon=True).start()
    _worker = worker


def _end_with(life: Connection) -> None:
    """End this process at once when the other end of a pipe goes."""
    life.poll(None)
    os._exit(1)


def _work(shard: Shard) -> Entry:
    return finish_shard(shard, _worker)
