"""The same worker under Ray Data, on one machine or many that share the photos and the output folder.

Ray distributes the shards and starts a machine's work again elsewhere when it goes away. The actors write the
files, this process alone the ledger. A shard that is done twice is written twice with the same bytes.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from maskwright.errors import ConfigError, LabelingError, MaskwrightError
from maskwright.labeling.engine import Outcome, Worker, finish_shard, outcomes
from maskwright.labeling.ledger import Entry, Ledger
from maskwright.labeling.plan import Shard, batched

# Shards handed to Ray at once: bounds what it keeps in mind about them.
WINDOW = 4096
# How often a shard is begun again whose process has died.
RETRIES = 3


def run_ray(
    shards: Iterable[Shard], worker: Worker, ledger: Ledger, workers: int = 1, gpus: float = 0
) -> Iterator[Outcome]:
    """Label shards with Ray Data and yield each photo's outcome as its shard arrives.

    Uses the cluster at RAY_ADDRESS or of this machine; if there is none, this machine alone.

    Args:
        shards: those that are pending.
        worker: what to do with each photo.
        ledger: gets a line for each shard that is finished.
        workers: actors; each prepares the worker.
        gpus: GPUs an actor takes.

    Raises:
        ConfigError: Ray is not installed.
        MaskwrightError: the worker cannot be prepared or its files not written.
        LabelingError: Ray gave up.
    """
    with _ray() as ray:
        worker.release()
        for window in batched(shards, WINDOW):
            known = {shard.number: shard for shard in window}
            for entry in _entries(ray, window, worker, workers, gpus):
                ledger.append(entry)
                yield from outcomes(known[entry.shard], entry)


def _entries(
    ray: Any,  # noqa: ANN401
    shards: Sequence[Shard],
    worker: Worker,
    workers: int,
    gpus: float,
) -> Iterator[Entry]:
    """Run some shards; their entries come as they are finished."""
    # Ray's own count is endless: a photo that kills its process would do so for ever.
    tries = ray.remote(num_cpus=0)(_Tries).remote()
    items = [{"shard": shard.to_json()} for shard in shards]
    # One block a shard, so that each is handed on by itself.
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _Actor,
        fn_constructor_args=(worker, tries),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
        num_gpus=gpus,
    )
    try:
        for row in dataset.iter_rows():
            if row["error"]:
                raise LabelingError(row["error"])
            yield Entry.from_record(json.loads(row["entry"]))
    except ray.exceptions.RayError as error:
        line = str(error).strip().splitlines()[-1]
        raise LabelingError(
            f"Ray gave up ({line}). What is finished stays: the same command goes on from there."
        ) from error


class _Tries:
    """Counts in a process of its own how often each shard was begun."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def begin(self, shard: int) -> int:
        self.counts[shard] += 1
        return self.counts[shard]


class _Actor:
    """Holds a worker in a process of Ray's; errors of the user's are sent back as rows, not raised there."""

    def __init__(self, worker: Worker, tries: Any) -> None:  # noqa: ANN401
        self.worker, self.tries = worker, tries

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        entry = error = ""
        try:
            shard = Shard.from_json(str(batch["shard"][0]))
            self._count(shard)
            entry = json.dumps(finish_shard(shard, self.worker).to_record())
        except MaskwrightError as problem:
            error = str(problem)
        return {"entry": np.array([entry]), "error": np.array([error])}

    def _count(self, shard: Shard) -> None:
        """Refuse a shard whose processes keep dying."""
        import ray

        if ray.get(self.tries.begin.remote(shard.number)) > 1 + RETRIES:
            first, last = shard.images[0].name, shard.images[-1].name
            raise LabelingError(
                f"{1 + RETRIES} processes have died at the photos {first} to {last} (killed, or out of "
                "memory?). What is finished stays: the same command goes on from there."
            )


@contextmanager
def _ray() -> Iterator[Any]:
    """Ray, connected; what was started here is stopped at the end.

    Raises:
        ConfigError: it is not installed.
    """
    # Read when Ray is imported: it would report its use to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            "--engine ray needs Ray: pip install 'maskwright[ray]', or use --engine local."
        ) from error
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    # Progress is shown by us, and each dataset would announce its beginning and end.
    log, context = logging.getLogger("ray.data"), ray.data.DataContext.get_current()
    before = log.level, context.enable_progress_bars
    log.setLevel(logging.ERROR)
    context.enable_progress_bars = False
    try:
        yield ray
    finally:
        log.setLevel(before[0])
        context.enable_progress_bars = before[1]
        if started:
            ray.shutdown()
