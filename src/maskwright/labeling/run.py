"""One labelling run: what is finished, what is left to do, and doing it with either engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from maskwright.labeling.engine import Outcome, Worker, run_local
from maskwright.labeling.ledger import Ledger
from maskwright.labeling.plan import Shard

EngineName = Literal["local", "ray"]


class LabelRun:
    """The shards of a folder, the worker for them and their ledger.

    Args:
        shards: gives all shards in order, each time it is called.
        worker: what to do with each photo.
        ledger: of what is finished.
    """

    def __init__(self, shards: Callable[[], Iterable[Shard]], worker: Worker, ledger: Ledger) -> None:
        self.worker = worker
        self.ledger = ledger
        self.finished: set[int] = set()
        self.finished_images = 0
        self.pending_images = 0
        self._shards = shards

    def check(self) -> Iterator[Shard]:
        """Look at every shard, yielding it; entries whose files are missing or damaged leave the ledger.

        Raises:
            FileError: the ledger or a shard cannot be read.
        """
        self.finished, self.finished_images, self.pending_images = set(), 0, 0
        for shard, intact in self.ledger.intact(self._shards(), self.worker.files):
            if intact:
                self.finished.add(shard.number)
                self.finished_images += len(shard.images)
            else:
                self.pending_images += len(shard.images)
            yield shard
        self.ledger.keep(self.finished)

    def label(self, engine: EngineName = "local", workers: int = 1, gpus: float = 0) -> Iterator[Outcome]:
        """Label what is not finished, after `check`, and yield each photo's outcome.

        Args:
            engine: this machine, or Ray's.
            workers: processes; 1 with the local engine is this process.
            gpus: what each takes of Ray's.

        Raises:
            MaskwrightError: as the engines do; what is finished stays.
        """
        left = (shard for shard in self._shards() if shard.number not in self.finished)
        if engine == "ray":
            from maskwright.labeling.ray_engine import run_ray

            yield from run_ray(left, self.worker, self.ledger, workers, gpus)
        else:
            yield from run_local(left, self.worker, self.ledger, workers)
        # Several processes finish in any order; the ledger of a finished run is always the same.
        self.ledger.keep()
