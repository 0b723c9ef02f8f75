"""Several extractions as one training set (`methods.uncertainty.container`), shard by shard.

Every shard is compared with its hash in the ledger, so that no damaged row is ever trained on. Memory is
bounded by one shard.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskwright.errors import ConfigError, DatasetError, FileError
from maskwright.io.files import atomic_path, make_folder, shown, write_json
from maskwright.io.token_file import open_tensor, tensor_writer
from maskwright.labeling.folder import LabelFolder
from maskwright.labeling.ledger import Entry, digest
from maskwright.labeling.tokens import KIND
from maskwright.methods.uncertainty.container import (
    FORMAT,
    VERSION,
    ContainerFolder,
    Model,
    described,
)
from maskwright.methods.uncertainty.rows import RowWriter, read_columns


@dataclass(frozen=True)
class TokenSet:
    """A folder of `maskwright uncertainty extract`.

    Args:
        folder: it.
        record: its set.json.
        entries: finished shards, in order.
    """

    folder: LabelFolder
    record: dict[str, Any]
    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, path: Path) -> TokenSet:
        """Look at a folder.

        Raises:
            FileError: it holds no extraction, or cannot be read.
            DatasetError: its record was edited.
        """
        folder = LabelFolder(path.absolute())
        if not folder.settings.is_file():
            raise FileError(
                f"{shown(path)} holds no extraction: make one with `maskwright uncertainty extract`."
            )
        record = folder.read_settings()
        if record["kind"] != KIND:
            raise DatasetError(f"{shown(path)} holds labels of kind {record['kind']!r}, not tokens.")
        entries = {entry.shard: entry for entry in folder.ledger.entries()}
        found = cls(folder, record, tuple(entries[number] for number in sorted(entries)))
        try:
            _ = found.models, found.shape, found.dtype, found.shards
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{shown(folder.settings)} is damaged ({error}): extract anew.") from error
        return found

    @property
    def models(self) -> tuple[Model, ...]:
        """Small to large."""
        return tuple(Model(**model) for model in self.record["models"])

    @property
    def shape(self) -> tuple[int, int]:
        """(P, C) of the tokens."""
        return int(self.record["tokens"]["count"]), int(self.record["tokens"]["channels"])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the tokens."""
        dtype: np.dtype[Any] = np.dtype(self.record["tokens"]["dtype"])
        return dtype

    @property
    def shards(self) -> int:
        """How many there are, finished or not."""
        return math.ceil(int(self.record["images"]) / int(self.record["shard_images"]))

    @property
    def rows(self) -> int:
        """How many are finished."""
        return sum(entry.masks for entry in self.entries)

    def files(self) -> Iterator[tuple[Path, Path]]:
        """Tokens and columns of each finished shard.

        Raises:
            DatasetError: they are not the ones that were written.
        """
        for entry in self.entries:
            tokens = self.folder.tokens(entry.shard)
            columns = tokens.with_suffix(".parquet")
            if digest([tokens, columns]) != entry.sha256 or len(open_tensor(tokens)) != entry.masks:
                raise DatasetError(
                    f"{shown(tokens)} or its .parquet is missing or damaged: give the same `maskwright "
                    "uncertainty extract` again, which makes it anew."
                )
            yield tokens, columns


def combine(
    paths: Sequence[Path], out: Path, *, partial: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Make one container of extractions.

    Args:
        paths: their folders, in the order of their rows.
        out: the container's folder.
        partial: take what is finished of extractions that are not.
        overwrite: replace a container.

    Returns:
        What container.json says.

    Raises:
        FileError: no extraction, one that is not finished, or a container is there already.
        ConfigError: extractions of different models or shapes of tokens, or of the same images.
        DatasetError: one is damaged, or there are no rows.
    """
    sets = [TokenSet.read(path) for path in paths]
    _check(sets, partial)
    folder = ContainerFolder(out)
    if folder.record.exists() and not overwrite:
        raise FileError(f"{shown(out)} holds a container already: choose another folder, or --overwrite.")
    make_folder(out)
    # First the record: without it, what a kill leaves half replaced is no container.
    folder.record.unlink(missing_ok=True)
    models, count = sets[0].models, sum(part.rows for part in sets)
    names = [model.name for model in models]
    with (
        tensor_writer(folder.tokens, (count, *sets[0].shape), sets[0].dtype) as append,
        atomic_path(folder.rows) as rows,
        RowWriter(rows, names) as writer,
    ):
        for part in sets:
            for tokens, columns in part.files():
                append(open_tensor(tokens))
                writer.write_table(read_columns(columns, names))
    record = _record(sets, count)
    write_json(folder.record, record)
    return record


def _check(sets: Sequence[TokenSet], partial: bool) -> None:
    """Refuse what does not go together, or is not finished."""
    first, seen = sets[0], dict[tuple[str, Path], LabelFolder]()
    for part in sets:
        path = shown(part.folder.path)
        if part.models != first.models:
            raise ConfigError(
                f"{path} holds tokens of {described(part.models)}, {shown(first.folder.path)} of "
                f"{described(first.models)}: extract all data with the same models, in the same order."
            )
        if (part.shape, part.dtype) != (first.shape, first.dtype):
            raise ConfigError(
                f"{path} holds tokens of {part.shape} {part.dtype}, {shown(first.folder.path)} of "
                f"{first.shape} {first.dtype}: extract them alike (--token-dtype)."
            )
        if len(part.entries) < part.shards and not partial:
            raise FileError(
                f"{path}: {len(part.entries)} of {part.shards} shards are finished. Give the same "
                "`maskwright uncertainty extract` again, which carries on, or take what there is with "
                "--partial."
            )
        for image in part.folder.read_plan().images():
            other = seen.setdefault((image.name, image.path), part.folder)
            if other is not part.folder:
                raise ConfigError(
                    f"{image.name} is in {shown(other.path)} and in {path}: its rows would count twice."
                )
    if not any(part.rows for part in sets):
        raise DatasetError(f"{', '.join(shown(part.folder.path) for part in sets)}: there are no rows.")


def _record(sets: Sequence[TokenSet], count: int) -> dict[str, Any]:
    first = sets[0]
    sources = [
        {
            "folder": str(part.folder.path),
            "data": part.record["data"],
            "settings": part.record["settings"],
            "images": sum(entry.images - len(entry.failures) for entry in part.entries),
            "rows": part.rows,
            "complete": len(part.entries) == part.shards,
        }
        for part in sets
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "models": [asdict(model) for model in first.models],
        "tokens": {"count": first.shape[0], "channels": first.shape[1], "dtype": str(first.dtype)},
        "images": sum(source["images"] for source in sources),
        "rows": count,
        "sources": sources,
    }
