"""A worker without a model: its masks follow from a photo's bytes, so that only the engine is tested."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Sequence
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from maskwright.errors import FileError, WeightsError
from maskwright.io.files import make_folder
from maskwright.io.inputs import collect_images
from maskwright.io.label_shards import MaskRow, write_masks
from maskwright.labeling.engine import Outcome
from maskwright.labeling.folder import LabelFolder
from maskwright.labeling.plan import PlannedImage, Shard, planned
from maskwright.labeling.run import EngineName, LabelRun

SHARD_IMAGES = 2


class ToyWorker:
    """Refuses photos that begin with "bad"; `poison` names one that kills the process once."""

    def __init__(self, out: Path, poison: str = "", size: int = 100) -> None:
        self.folder = LabelFolder(out)
        self.poison = poison
        self.size = size
        self.prepared = False

    def prepare(self) -> None:
        self.prepared = True

    def release(self) -> None:
        self.prepared = False

    def record(self) -> dict[str, Any]:
        return {
            "kind": "masks",
            "model": "toy",
            "settings": {"size": self.size},
            "shard_images": SHARD_IMAGES,
        }

    def label(self, image: PlannedImage) -> list[MaskRow]:
        assert self.prepared
        data = image.path.read_bytes()
        if data.startswith(b"bad"):
            raise FileError(f"{image.name} is bad.")
        mark = self.folder.path.parent / "died"
        if image.name == self.poison and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [row(image, index, data, self.size) for index in range(data[0] % 4)]

    def files(self, shard: Shard) -> list[Path]:
        return [self.folder.masks(shard.number)]

    def write(self, shard: Shard, rows: Sequence[Sequence[MaskRow] | None]) -> None:
        [path] = self.files(shard)
        make_folder(path.parent)
        write_masks(path, [row for part in rows for row in part or ()])


class TellsThreads(ToyWorker):
    """Refuses every photo, with the number of threads that it would be labelled by."""

    def label(self, image: PlannedImage) -> list[MaskRow]:
        import torch

        raise FileError(f"{torch.get_num_threads()}")


class StrangerElsewhere(ToyWorker):
    """Cannot be prepared in other processes than the first."""

    def prepare(self) -> None:
        if parent_process() is not None:
            raise WeightsError("another model here")
        super().prepare()


def row(image: PlannedImage, index: int, data: bytes, size: int) -> MaskRow:
    noise = hashlib.shake_256(data + bytes([index])).digest(size)
    place = (0, 0, 3, 4)
    return MaskRow(image.name, str(image.path), 4, 3, index, b"04", 8, *place, 1.5, 2.5, *place, 0.9, 0.95,
                   64, "pad", noise)  # fmt: skip


def make_photos(folder: Path, count: int, bad: Sequence[int] = ()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        start = b"bad" if number in bad else bytes([number])
        (folder / f"{number:04d}.png").write_bytes(start + b"photo")
    return folder


def start(
    worker: ToyWorker, photos: Path, *, overwrite: bool = False, retry_failed: bool = False
) -> LabelRun:
    """What the command does before anything is labelled."""
    images = list(planned(collect_images([photos])))
    plan = worker.folder.claim(worker.record(), images, overwrite=overwrite, retry_failed=retry_failed)
    work = LabelRun(plan.shards, worker, worker.folder.ledger)
    for _ in work.check():
        pass
    return work


def label(
    out: Path,
    photos: Path,
    *,
    engine: EngineName = "local",
    workers: int = 1,
    poison: str = "",
    overwrite: bool = False,
    retry_failed: bool = False,
) -> list[Outcome]:
    """A whole run, as the command has it."""
    worker = ToyWorker(out, poison)
    with worker.folder.lock():
        work = start(worker, photos, overwrite=overwrite, retry_failed=retry_failed)
        return list(work.label(engine, workers))


def content(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, but for the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
