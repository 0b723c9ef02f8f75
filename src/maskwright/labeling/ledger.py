"""The record of finished shards: one line each, appended after the shard's files are whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maskwright.errors import FileError
from maskwright.io.files import atomic_writer, read_bytes
from maskwright.io.records import RecordWriter, encode_record, iterate_records
from maskwright.labeling.plan import Shard


@dataclass(frozen=True)
class Failure:
    """A photo that could not be labelled, and why."""

    image: str
    reason: str


@dataclass(frozen=True)
class Entry:
    """One finished shard.

    Args:
        shard: its number.
        images: how many photos it has, failed ones included.
        masks: how many rows its files hold.
        failures: photos without labels.
        sha256: of its files, one after the other.
        inputs: of what it was made from besides the photos; see `Shard.inputs`.
    """

    shard: int
    images: int
    masks: int
    failures: tuple[Failure, ...]
    sha256: str
    inputs: str = ""

    def to_record(self) -> dict[str, Any]:
        """As plain values; no times among them, so that equal labels have equal ledgers."""
        record = asdict(self)
        record["failures"] = [asdict(failure) for failure in self.failures]
        return record if self.inputs else {key: value for key, value in record.items() if key != "inputs"}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Entry:
        """The entry of `to_record`.

        Raises:
            FileError: the record is no entry.
        """
        try:
            failures = tuple(Failure(**failure) for failure in record["failures"])
            return cls(**{**record, "failures": failures})
        except (KeyError, TypeError) as error:
            raise FileError(f"{record} is no entry of a ledger ({error}): remove its line.") from error


@dataclass(frozen=True)
class Totals:
    """What a ledger holds all in all."""

    shards: int
    images: int
    masks: int
    failures: int


class Ledger:
    """A file of entries, in the order in which shards were finished until `keep` sorts them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> Iterator[Entry]:
        """The entries, read one by one.

        Raises:
            FileError: one is not JSON, or no entry.
        """
        return map(Entry.from_record, iterate_records(self.path))

    def append(self, entry: Entry) -> None:
        """Add an entry; it is on the disk when this returns.

        Raises:
            FileError: it cannot be written.
        """
        with RecordWriter(self.path) as file:
            file.append(entry.to_record())

    def keep(self, numbers: Iterable[int] | None = None) -> None:
        """Keep only the entries of these shards (all by default), in the shards' order.

        Raises:
            FileError: it cannot be written.
        """
        found = [entry.shard for entry in self.entries()]
        wanted = set(found if numbers is None else numbers)
        if found == sorted(wanted):
            return
        # Lines are short: a million photos make some twenty megabytes.
        kept = {entry.shard: entry for entry in self.entries() if entry.shard in wanted}
        with atomic_writer(self.path) as file:
            for number in sorted(kept):
                file.write(encode_record(kept[number].to_record()))

    def totals(self) -> Totals:
        """Count what is finished."""
        sums = [0, 0, 0, 0]
        for entry in self.entries():
            parts = (1, entry.images, entry.masks, len(entry.failures))
            sums = [total + part for total, part in zip(sums, parts, strict=True)]
        return Totals(*sums)

    def intact(
        self, shards: Iterable[Shard], files: Callable[[Shard], list[Path]]
    ) -> Iterator[tuple[Shard, bool]]:
        """Yield each shard, and whether it is finished: its entry is here, and fits its files and inputs."""
        known = {entry.shard: (entry.sha256, entry.inputs) for entry in self.entries()}
        for shard in shards:
            expected = known.get(shard.number)
            yield shard, expected is not None and expected == (digest(files(shard)), shard.inputs)


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of the files' bytes, one file after the other; one that is not there counts as a mark."""
    total = hashlib.sha256()
    for path in files:
        total.update(read_bytes(path) if path.is_file() else b"\0missing")
    return total.hexdigest()
