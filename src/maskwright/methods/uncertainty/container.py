"""A training set of uncertainty heads: tokens that stay on the disk, columns that are read when asked for.

DIR/tokens.safetensors   one tensor "tokens" (rows, P, C), read through a memory map
DIR/rows.parquet         the columns of `rows.row_schema`, same rows
DIR/container.json       models, counts and sources; written last, so that what has it is whole

Sets larger than memory need no other path: the operating system keeps in memory what is used.
A rows, P tokens of a mask, C channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskwright.errors import ConfigError, DatasetError, FileError
from maskwright.io.files import nearest_name, read_json, shown
from maskwright.io.token_file import open_tensor, read_ahead
from maskwright.methods.uncertainty.rows import Column, read_columns, read_values, row_schema
from maskwright.types import BoolArray, FloatArray

FORMAT, VERSION = "maskwright-tokens", 1
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Model:
    """A model whose tokens a container holds.

    Args:
        name: as in the rows.
        digest: of its weights (`models.segmenter.weights_digest`).
        family: see `models.registry.FAMILIES`.
        channels: width of its tokens; what follows in its rows is zero.
    """

    name: str
    digest: str
    family: str
    channels: int


@dataclass(frozen=True)
class ContainerFolder:
    """Names of a container's files."""

    path: Path

    @property
    def tokens(self) -> Path:
        """All rows' tokens."""
        return self.path / "tokens.safetensors"

    @property
    def rows(self) -> Path:
        """All rows' columns."""
        return self.path / "rows.parquet"

    @property
    def record(self) -> Path:
        """What it is."""
        return self.path / "container.json"

    def read_record(self) -> tuple[tuple[Model, ...], int]:
        """The models, small to large, and the number of rows.

        Raises:
            FileError: the folder holds no container.
            DatasetError: it is of another version, or its record was edited.
        """
        if not self.record.is_file():
            hint = "" if self.path.is_dir() else nearest_name(self.path)
            raise FileError(
                f"{shown(self.path)} holds no container: make one with `maskwright uncertainty "
                f"container`.{hint}"
            )
        record = read_json(self.record)
        try:
            if (record["format"], record["version"]) != (FORMAT, VERSION):
                raise DatasetError(
                    f"{shown(self.record)} is of another kind or version than this Maskwright reads: make "
                    "the container anew."
                )
            return tuple(Model(**model) for model in record["models"]), int(record["rows"])
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{shown(self.record)} is damaged ({error}): make it anew.") from error


class Container:
    """Rows of one or several containers, or some of them.

    `Container.open` gives all rows. Columns and tokens are those of the rows that are left after `filter` and
    `split`; nothing is copied until it is asked for.
    """

    def __init__(self, store: _Store, index_A: Index) -> None:
        self._store = store
        self._index = index_A

    @classmethod
    def open(cls, paths: Sequence[Path]) -> Container:
        """Open containers, whose rows follow one another.

        Raises:
            FileError: a folder holds no container.
            DatasetError: one is damaged.
            ConfigError: they are of different models or shapes of tokens, or none was named.
        """
        store = _Store.open(paths)
        return cls(store, np.arange(store.offsets[-1]))

    def __len__(self) -> int:
        return len(self._index)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, small to large."""
        return tuple(model.name for model in self._store.models)

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the models' weights, in their order."""
        return tuple(model.digest for model in self._store.models)

    @property
    def families(self) -> tuple[str, ...]:
        """Of the models, in their order."""
        return tuple(model.family for model in self._store.models)

    @property
    def token_shape(self) -> tuple[int, int]:
        """(P, C)."""
        _, count, channels = self._store.tensors[0].shape
        return count, channels

    @property
    def rows(self) -> pa.Table:
        """All columns, as a table in memory; `column` reads but one."""
        return pa.concat_tables(self._store.table(None)).take(self._index)

    def column(self, name: str) -> Column:
        """(A,) one column: float64 (NaN where it is not defined), int64, bool, or str objects.

        Raises:
            ConfigError: there is none of this name.
        """
        values: Column = self._store.column(name)[self._index]
        return values

    @property
    def groups(self) -> Column:
        """(A,) what must not be torn apart: each row's video, or image."""
        return self.column("group")

    def tokens(self, index_A: npt.ArrayLike) -> FloatArray:
        """(A, P, C) float32 tokens of some rows, by their places in this container; read from the disk.

        Args:
            index_A: whole numbers, in any order.
        """
        places = self._index[np.asarray(index_A, np.int64)]
        tokens = np.empty((len(places), *self.token_shape), np.float32)
        for tensor, here, rows in self._store.located(places):
            tokens[here] = tensor[rows]
        return tokens

    def read_ahead(self, index_A: npt.ArrayLike) -> None:
        """Let the disk begin to read the tokens of some rows, which are asked for soon."""
        for tensor, _, rows in self._store.located(self._index[np.asarray(index_A, np.int64)]):
            read_ahead(tensor, rows)

    @cached_property
    def channels(self) -> int:
        """Width of the tokens of these rows' models.

        Raises:
            ConfigError: the widths differ, so that nothing can read them all.
        """
        here = set(np.unique(self.column("model").astype(str)).tolist())
        widths = {model.name: model.channels for model in self._store.models if model.name in here}
        if len(set(widths.values())) > 1:
            listed = ", ".join(f"{name} {width}" for name, width in widths.items())
            raise ConfigError(
                f"tokens of different widths ({listed}) cannot be read by the same heads: choose whose rows "
                "they learn from, such as models=nano."
            )
        return next(iter(widths.values()), self.token_shape[1])

    def inputs(self, index_A: npt.ArrayLike) -> FloatArray:
        """(A, V) float32, all that heads may read of some rows: P · C numbers, then F features.

        As `models.uncertainty.mask_inputs` gives them at prediction.
        """
        index = np.asarray(index_A, np.int64)
        tokens = self.tokens(index)[:, :, : self.channels]
        return read_values(tokens, lambda name: self._store.column(name)[self._index[index]])

    def of_models(self, names: Sequence[str]) -> Container:
        """The rows of some of the models.

        Raises:
            ConfigError: there is no model of such a name.
        """
        for name in names:
            if name not in self.models:
                raise ConfigError(f"there is no model {name!r} among {', '.join(self.models)}.")
        return self.filter(np.isin(self.column("model").astype(str), list(names)))

    def filter(self, mask: BoolArray) -> Container:
        """The rows for which (A,) `mask` is true."""
        assert mask.shape == self._index.shape, (mask.shape, self._index.shape)
        return Container(self._store, self._index[mask])

    def split(self, share: float, seed: int) -> tuple[Container, Container]:
        """Part by groups, never through one: (the rest, about `share` of the groups).

        Which side a group is on follows from its name and the seed alone, so it stays there when other data
        are added; with few groups the share is only roughly met, but no side is empty.

        Raises:
            ConfigError: a share outside (0, 1), or fewer than two groups.
        """
        names, places = np.unique(self.groups.astype(str), return_inverse=True)
        if not 0 < share < 1 or len(names) < 2:
            raise ConfigError(
                f"cannot split {len(names)} groups (videos or images) at a share of {share}: it takes two "
                "groups and a share between 0 and 1."
            )
        chances = np.array([_chance(str(name), seed) for name in names])
        order = np.argsort(chances, kind="stable")
        count = min(max(1, int((chances < share).sum())), len(names) - 1)
        taken: BoolArray = np.isin(places, order[:count])
        return self.filter(~taken), self.filter(taken)


def _chance(name: str, seed: int) -> float:
    """A number in [0, 1) that follows from a name and a seed."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class _Store:
    """The files behind containers."""

    def __init__(
        self, folders: Sequence[ContainerFolder], models: tuple[Model, ...], tensors: Sequence[Column]
    ) -> None:
        self.folders, self.models, self.tensors = folders, models, tensors
        self.offsets = np.cumsum([0, *(len(tensor) for tensor in tensors)])
        self._columns: dict[str, Column] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that gets a copy opens the files itself: a map would travel with all that it maps.
        return _Store.open, ([folder.path for folder in self.folders],)

    @classmethod
    def open(cls, paths: Sequence[Path]) -> _Store:
        if not paths:
            raise ConfigError("no container was given.")
        folders = [ContainerFolder(Path(path)) for path in paths]
        records = [folder.read_record() for folder in folders]
        tensors = [open_tensor(folder.tokens) for folder in folders]
        models = records[0][0]
        for folder, (theirs, count), tensor in zip(folders, records, tensors, strict=True):
            if tensor.ndim != 3 or len(tensor) != count:
                raise DatasetError(
                    f"{shown(folder.tokens)} has shape {tensor.shape}, and container.json speaks of {count} "
                    "rows: make the container anew."
                )
            if theirs != models or tensor.shape[1:] != tensors[0].shape[1:]:
                raise ConfigError(
                    f"{shown(folder.path)} holds tokens of {described(theirs)}, {shown(folders[0].path)} of "
                    f"{described(models)}: heads are trained on one set of models."
                )
        return cls(folders, models, tensors)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)

    def located(self, places_A: Index) -> Iterator[tuple[Column, Index, Index]]:
        """By file: its tensor, which of `places_A` lie in it, and at which rows.

        In the file's order, so that each page of it is read once.
        """
        parts = np.searchsorted(self.offsets, places_A, side="right") - 1
        for part in np.unique(parts):
            here = np.flatnonzero(parts == part)
            here = here[np.argsort(places_A[here], kind="stable")]
            yield self.tensors[part], here, places_A[here] - self.offsets[part]

    def table(self, columns: Sequence[str] | None) -> list[pa.Table]:
        tables = [read_columns(folder.rows, self.names, columns) for folder in self.folders]
        for folder, table, tensor in zip(self.folders, tables, self.tensors, strict=True):
            if len(table) != len(tensor):
                raise DatasetError(f"{shown(folder.rows)} has {len(table)} rows for {len(tensor)} tokens.")
        return tables

    def column(self, name: str) -> Column:
        if name not in row_schema(self.names).names:
            raise ConfigError(f"a container of {', '.join(self.names)} has no column {name!r}.")
        if name not in self._columns:
            self._columns[name] = _plain(pa.concat_tables(self.table([name])).column(name))
        return self._columns[name]


def described(models: Sequence[Model]) -> str:
    """Names and digests."""
    return ", ".join(f"{model.name} ({model.digest})" for model in models)


def _plain(values: pa.ChunkedArray) -> npt.NDArray[Any]:
    if pa.types.is_floating(values.type):
        return np.asarray(values.to_numpy(), np.float64)
    if pa.types.is_integer(values.type):
        return np.asarray(values.to_numpy(), np.int64)
    if pa.types.is_boolean(values.type):
        return np.asarray(values.to_numpy(), np.bool_)
    # One object for equal texts: a column of names takes eight bytes a row.
    coded = values.dictionary_encode().unify_dictionaries()
    texts = np.array(coded.chunk(0).dictionary.to_pylist() if coded.num_chunks else [], object)
    codes = [chunk.indices.to_numpy() for chunk in coded.chunks]
    places = np.concatenate(codes) if codes else np.zeros(0, np.int64)
    return texts[places] if len(texts) else np.zeros(0, object)
