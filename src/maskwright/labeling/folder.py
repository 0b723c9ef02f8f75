"""The folder of a labelled set: who may write in it, and to which photos and settings it belongs.

DIR/set.json             kind, model, settings, number of photos, photos a shard; written after the plan
DIR/plan.jsonl           one line a photo, in order
DIR/ledger.jsonl         one line a finished shard, written after its files
DIR/masks/00000.parquet  one row a mask (`io.label_shards`); or, with files = "sa1b":
DIR/sa1b/a/x.json        the masks of photo a/x.jpg, in SA-1B's form (`labeling.sa1b`); or, with "tokens":
DIR/tokens/00000.safetensors, 00000.parquet   tokens and columns, one row a mask (`labeling.tokens`)
DIR/coco/0000000.json    the contours of a photo of subset coco (`io.contour_files`), with files = "dsa"; or,
DIR/contours/00000.parquet   with "contours": one row a photo
DIR/refined/00000.parquet, refined.json, refined_ledger.jsonl   the same for refined masks
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from filelock import FileLock, Timeout

from maskwright.config import difference
from maskwright.errors import ConfigError, DatasetError, FileError
from maskwright.io.files import (
    confine,
    make_folder,
    nearest_name,
    reason,
    remove_stale_parts,
    shown,
    write_json,
)
from maskwright.io.shards import SET_FORMAT, SET_VERSION, read_set, shard_path
from maskwright.labeling.ledger import Ledger
from maskwright.labeling.plan import Plan, PlannedImage, Shard, changes

SHOWN_CHANGES = 8

Files = Literal["parquet", "sa1b", "tokens", "dsa", "contours"]


@dataclass(frozen=True)
class LabelFolder:
    """Names of everything in a labelled set's folder."""

    path: Path

    @property
    def settings(self) -> Path:
        """What the labels were made with."""
        return self.path / "set.json"

    @property
    def plan(self) -> Path:
        """The photos, in order."""
        return self.path / "plan.jsonl"

    @property
    def ledger(self) -> Ledger:
        """The finished shards."""
        return Ledger(self.path / "ledger.jsonl")

    @property
    def refined_settings(self) -> Path:
        """What refined the masks."""
        return self.path / "refined.json"

    @property
    def refined_ledger(self) -> Ledger:
        """The finished shards of refined masks."""
        return Ledger(self.path / "refined_ledger.jsonl")

    def masks(self, shard: int) -> Path:
        """A shard of masks."""
        return shard_path(self.path, "masks", shard)

    def refined(self, shard: int) -> Path:
        """A shard of refined masks."""
        return shard_path(self.path, "refined", shard)

    def tokens(self, shard: int) -> Path:
        """The tokens of a shard; their columns lie beside them, in `.parquet`."""
        return self.path / "tokens" / f"{shard:05d}.safetensors"

    def annotations(self, image: str) -> Path:
        """The masks of one photo in SA-1B's form, named as Meta names them: sa_1.json for sa_1.jpg."""
        return confine(self.path / "sa1b", str(PurePosixPath(image).with_suffix(".json")))

    def contours(self, shard: int) -> Path:
        """A shard of contours."""
        return shard_path(self.path, "contours", shard)

    def contours_of(self, image: str) -> Path:
        """The contours of one photo, as DirectSAM publishes them."""
        return confine(self.path, f"{image}.json")

    def files(self, shard: Shard, kind: Files) -> list[Path]:
        """The files of a shard, in order."""
        if kind == "parquet":
            return [self.masks(shard.number)]
        if kind == "tokens":
            tokens = self.tokens(shard.number)
            return [tokens, tokens.with_suffix(".parquet")]
        if kind == "contours":
            return [self.contours(shard.number)]
        if kind == "dsa":
            return [self.contours_of(image.name) for image in shard.images]
        return [self.annotations(image.name) for image in shard.images]

    def read_settings(self) -> dict[str, Any]:
        """The record of a labelled set.

        Raises:
            FileError: this folder holds none.
            DatasetError: the record lacks something, or is of something else or another version.
        """
        if not self.settings.is_file():
            hint = "" if self.path.is_dir() else nearest_name(self.path)
            message = "holds no labelled set: make one with `maskwright label masks`"
            raise FileError(f"{shown(self.path)} {message}.{hint}")
        record = read_set(self.settings)
        for name, kind in (("kind", str), ("model", str), ("shard_images", int)):
            if not isinstance(record.get(name), kind):
                raise DatasetError(
                    f"{shown(self.settings)}: {name!r} is {record.get(name)!r}; was it edited? Put it "
                    "right, or label anew in another folder."
                )
        return record

    def read_plan(self) -> Plan:
        """The plan of a labelled set.

        Raises:
            FileError: this folder holds none.
        """
        return Plan(self.plan, self.read_settings()["shard_images"])

    def shards_of_masks(self, images: Path | None = None) -> Iterator[Shard]:
        """The finished shards of masks, in order, each with its hash as `inputs`, for work on the masks.

        Photos that could not be labelled are left out.

        Args:
            images: folder that holds the photos by their names in the plan, if they are not where they were.

        Raises:
            FileError: the ledger or the plan cannot be read.
        """
        done = {
            entry.shard: (entry.sha256, {failure.image for failure in entry.failures})
            for entry in self.ledger.entries()
        }
        for shard in self.read_plan().shards():
            if shard.number in done:
                hashed, failed = done[shard.number]
                photos = (image.elsewhere(images) for image in shard.images if image.name not in failed)
                yield Shard(shard.number, tuple(photos), hashed)

    def lock(self) -> FileLock:
        """Make the folder and take it for this process; release the lock at the end.

        Raises:
            FileError: another process is writing in it, or it cannot be made.
        """
        make_folder(self.path)
        try:
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=0)
        except Timeout as error:
            message = "another process is writing labels in this folder; wait, or choose another one"
            raise FileError(f"{shown(self.path)}: {message}.") from error
        except OSError as error:
            raise FileError(f"cannot write in {shown(self.path)}: {reason(error)}.") from error
        # With the lock held nobody else is writing here: what is left half written is from a killed run.
        for folder in (self.path, *(below for below in self.path.rglob("*") if below.is_dir())):
            remove_stale_parts(folder, older_than_s=0)
        return lock

    def claim(
        self, record: dict[str, Any], images: list[PlannedImage], *, overwrite: bool, retry_failed: bool
    ) -> Plan:
        """Make the folder belong to these photos and settings, or check that it does.

        Args:
            record: kind, model, settings, files, shard_images: all that decides the labels.
            images: the photos.
            overwrite: delete what an earlier run made, and start anew.
            retry_failed: forget the shards in which photos failed; those photos may have changed since.

        Raises:
            ConfigError: the folder holds labels made otherwise; the message lists the differences.
            FileError: the folder cannot be read or written, or holds something else.
        """
        record = {"format": SET_FORMAT, "version": SET_VERSION, **record, "images": len(images)}
        # A run that finished nothing, such as one with a mistyped setting, stands in nobody's way.
        if overwrite or not self.settings.exists() or not any(True for _ in self.ledger.entries()):
            self.clear()
            plan = Plan.write(self.plan, images, record["shard_images"])
            write_json(self.settings, record)
            return plan
        theirs = self.read_settings()
        plan = Plan(self.plan, theirs["shard_images"])
        failed = frozenset(failure.image for entry in self.ledger.entries() for failure in entry.failures)
        refuse_changes(
            self.path,
            [
                *changed_settings(theirs, record),
                *changes(plan, images, failed if retry_failed else frozenset()),
            ],
            "" if retry_failed or not failed else " (--retry-failed, if they are photos that failed)",
        )
        if retry_failed:
            # First the plan: with the ledger first, a kill in between would forget who may have changed.
            plan = Plan.write(self.plan, images, plan.shard_images)
            self.ledger.keep(entry.shard for entry in self.ledger.entries() if not entry.failures)
        return plan

    def clear(self) -> None:
        """Delete what runs made here and nothing else; the record goes last, so that a kill leaves it."""
        for ledger in (self.refined_ledger, self.ledger):
            ledger.path.unlink(missing_ok=True)
        if self.settings.exists():
            kind: Files = self.read_settings().get("files", "parquet")
            plan = self.read_plan()
            for shard in plan.shards():
                for path in (*self.files(shard, kind), self.refined(shard.number)):
                    path.unlink(missing_ok=True)
        for path in (self.refined_settings, self.plan, self.settings):
            path.unlink(missing_ok=True)


def changed_settings(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """One line for each difference of two records; the same weights under another name are none."""
    kept: dict[str, Any] = {
        name: before[name]
        for name in ("model", "refiner")
        if name in before and weights_of(str(before[name])) == weights_of(str(after.get(name)))
    }
    return difference(before, {**after, **kept})


def weights_of(signature: str) -> str:
    """The weights' part of a signature; the rest is the name under which they were loaded."""
    return signature.rpartition(":")[2]


def refuse_changes(folder: Path, found: list[str], hint: str = "") -> None:
    """Refuse to go on in a folder whose labels were made from or with something else.

    Raises:
        ConfigError: there are changes; the message lists the first ones.
    """
    if not found:
        return
    listed = "\n  ".join(found[:SHOWN_CHANGES])
    more = f"\n  and {len(found) - SHOWN_CHANGES} more" if len(found) > SHOWN_CHANGES else ""
    raise ConfigError(
        f"{shown(folder)} holds labels that these photos and settings cannot continue:\n  {listed}{more}\n"
        f"Give the same to carry on{hint}, choose another folder, or --overwrite to start anew."
    )
