"""The rows of an extraction, one a mask: its tokens, and its columns of plain values.

Axes: A rows, P tokens of a mask, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from maskwright.errors import DatasetError
from maskwright.io.files import atomic_path, require_file, shown
from maskwright.models.mask_features import FEATURES

ENTROPIES = ("h_all", "h_theta", "h_prompt", "h_task", "h_augmentation")
BY_MODEL = ("best_iou", "selected_iou", "single_iou")
"""Of which there is a further column for each model NAME, such as best_iou@NAME, of the same prompt."""

FEATURE = "feature_"
"""Begins the name of a column of what heads read beside the tokens (`models.mask_features`)."""

COLUMNS = {
    "image": pa.string(),
    "group": pa.string(),
    "instance": pa.int64(),
    "height": pa.int32(),
    "width": pa.int32(),
    "area": pa.float32(),
    "model": pa.string(),
    "prompt": pa.string(),
    "prompt_number": pa.int32(),
    "mask": pa.int32(),
    "sam_score": pa.float32(),
    "iou": pa.float32(),
    "entropy": pa.float32(),
    "stability": pa.float32(),
    "selected": pa.bool_(),
    "best": pa.bool_(),
    "best_iou": pa.float32(),
    "selected_iou": pa.float32(),
    "single_iou": pa.float32(),
    "refined_best_iou": pa.float32(),
    "refined_iou": pa.float32(),
    **dict.fromkeys(ENTROPIES, pa.float32()),
    **{FEATURE + name: pa.float32() for name in FEATURES},
}
"""Columns whatever the models; docs/reference says what each is."""

Column = npt.NDArray[Any]


def row_schema(models: Sequence[str]) -> pa.Schema:
    """Names and types of the columns of a run with these models."""
    by_model = {f"{name}@{model}": pa.float32() for model in models for name in BY_MODEL}
    return pa.schema(list((COLUMNS | by_model).items()))


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Some rows; floats that are not defined are NaN.

    Args:
        tokens: (A, P, C) float32 or float16.
        columns: (A,) each, by the names of `row_schema`.
    """

    tokens: npt.NDArray[Any]
    columns: dict[str, Column]

    def __len__(self) -> int:
        return len(self.tokens)

    def inputs(self, channels: int) -> npt.NDArray[np.float32]:
        """(A, V) all that heads may read of these rows, whose tokens are so wide."""
        return read_values(self.tokens[:, :, :channels], self.columns.__getitem__)

    def stored_as(self, dtype: npt.DTypeLike) -> TokenRows:
        """The same rows with tokens of another type."""
        return TokenRows(self.tokens.astype(dtype, copy=False), self.columns)

    def table(self, models: Sequence[str]) -> pa.Table:
        """The columns, NaN as null."""
        schema = row_schema(models)
        arrays = [pa.array(self.columns[field.name], field.type, from_pandas=True) for field in schema]
        return pa.Table.from_arrays(arrays, schema=schema)


def read_values(tokens_APC: npt.NDArray[Any], column: Callable[[str], Column]) -> npt.NDArray[np.float32]:
    """(A, V) float32, P · C numbers and F features, as `models.uncertainty.mask_inputs` gives them."""
    features = np.stack([column(FEATURE + name) for name in FEATURES], axis=1)
    values: npt.NDArray[np.float32] = np.concatenate(
        [tokens_APC.reshape(len(tokens_APC), -1), features], axis=1, dtype=np.float32
    )
    return values


def joined(parts: Sequence[TokenRows]) -> TokenRows:
    """Rows one after the other; at least one part."""
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return TokenRows(np.concatenate([part.tokens for part in parts]), columns)


def no_rows(tokens: tuple[int, int], models: Sequence[str]) -> TokenRows:
    """No row at all; `tokens` is (P, C)."""
    empty = {field.name: np.zeros(0, field.type.to_pandas_dtype()) for field in row_schema(models)}
    return TokenRows(np.zeros((0, *tokens), np.float32), empty)


class RowWriter(pq.ParquetWriter):  # type: ignore[misc]
    """Writes tables of rows, with checksums so that flipped bits are noticed; equal rows, equal bytes."""

    def __init__(self, path: Path, models: Sequence[str]) -> None:
        schema = row_schema(models)
        texts = [field.name for field in schema if field.type == pa.string()]
        super().__init__(path, schema, compression="ZSTD", use_dictionary=texts, write_page_checksum=True)


def write_rows(path: Path, rows: TokenRows, models: Sequence[str]) -> None:
    """Write the columns of a shard, atomically.

    Raises:
        FileError: it cannot be written.
    """
    with atomic_path(path) as part, RowWriter(part, models) as writer:
        writer.write_table(rows.table(models))


def read_columns(path: Path, models: Sequence[str], names: Sequence[str] | None = None) -> pa.Table:
    """Some columns of a file of rows, or all.

    Raises:
        DatasetError: it is damaged, cut off, or has other columns.
    """
    with _opened(path, models) as file:
        try:
            return file.read(None if names is None else list(names), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error


def _opened(path: Path, models: Sequence[str]) -> pq.ParquetFile:
    require_file(path)
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    if not file.schema_arrow.equals(row_schema(models)):
        file.close()
        raise DatasetError(f"{shown(path)} holds no rows of {', '.join(models)}: its columns are others.")
    return file


def _unreadable(path: Path, error: Exception) -> DatasetError:
    return DatasetError(f"cannot read {shown(path)}: damaged or cut off ({str(error).splitlines()[0]}).")
