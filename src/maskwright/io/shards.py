"""Shards of a labelled set: Parquet files of rows about photos, with checksums, and the set's record.

The same rows always give the same bytes: no times, no identifiers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from maskwright.errors import DatasetError, FileError
from maskwright.io.files import atomic_path, read_json, require_file, shown

SET_FORMAT, SET_VERSION = "maskwright-labels", 1
# Sets whose masks have values of uncertainty heads, in columns that version 1 does not know.
SCORED_VERSION = 2
SET_VERSIONS = (SET_VERSION, SCORED_VERSION)


def read_set(path: Path) -> dict[str, Any]:
    """The record of a labelled set (`labeling.folder`), set.json.

    Raises:
        FileError: it cannot be read.
        DatasetError: it is something else, or of a version that is not known here.
    """
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format") != SET_FORMAT:
        raise DatasetError(f"{shown(path)} is not of a labelled set; choose another folder.")
    if record.get("version") not in SET_VERSIONS:
        raise DatasetError(
            f"{shown(path)} has version {record.get('version')}, and this Maskwright reads versions "
            f"{' and '.join(map(str, SET_VERSIONS))}: use the one that made it, or label anew."
        )
    return record


def shard_path(root: Path, kind: Literal["masks", "refined", "contours"], number: int) -> Path:
    """A shard's file in the folder of a labelled set."""
    return root / kind / f"{number:05d}.parquet"


@contextmanager
def shard_writer(
    path: str | os.PathLike[str],
    schema: pa.Schema,
    **options: Any,  # noqa: ANN401
) -> Iterator[pq.ParquetWriter]:
    """Write a shard, which appears when the block ends; page checksums make flipped bits noticed.

    Args:
        path: the file.
        schema: its columns.
        options: of `pyarrow.parquet.ParquetWriter`.

    Raises:
        FileError: naming the path and the reason, or the name that cannot be stored.
    """
    try:
        with (
            atomic_path(path) as part,
            pq.ParquetWriter(part, schema, write_page_checksum=True, **options) as writer,
        ):
            yield writer
    except UnicodeEncodeError as error:
        raise FileError(
            f"cannot write {shown(path)}: the name {error.object!a} is not valid Unicode; rename that photo."
        ) from error


@contextmanager
def open_shard(
    path: str | os.PathLike[str], kind: str, schemas: Sequence[pa.Schema]
) -> Iterator[pq.ParquetFile]:
    """Open a shard of `kind` that has the columns of one of the schemas; errors of the block's reads count.

    Raises:
        FileError: naming the file, when it is missing, damaged, cut off or no such shard.
    """
    require_file(path)
    try:
        with pq.ParquetFile(Path(path), page_checksum_verification=True) as file:
            if not any(file.schema_arrow.equals(schema) for schema in schemas):
                raise FileError(f"{shown(path)} is no shard of {kind}: its columns are others.")
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"cannot read {shown(path)}: it is damaged or cut off ({str(error).splitlines()[0]})."
        ) from error
