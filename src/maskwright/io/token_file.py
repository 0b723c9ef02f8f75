"""Safetensors files of one tensor that may be larger than memory: written in a stream, read where they lie.

The layout is that of any safetensors file, so every library opens them: eight bytes with the header's length,
the header in JSON, then the numbers, little-endian. Here the header is followed by nothing but one tensor.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.errors import DatasetError
from maskwright.io.files import atomic_writer, reason, require_file, shown

Append = Callable[[npt.NDArray[Any]], None]

TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
HEADER_LIMIT = 2**20
NAME = "tokens"
_ALIGN = 8
NEAR = 2**17
"""Bytes between rows that are read rather than left out: what a disk reads at once."""


@contextmanager
def tensor_writer(
    path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, metadata: Mapping[str, str] | None = None
) -> Iterator[Append]:
    """Write a file part by part; it appears when the block ends and all rows were given.

    Args:
        path: the file.
        shape: of the whole tensor, rows first.
        dtype: float32 or float16.
        metadata: texts for the header.

    Yields:
        A function that appends an array (rows, …).

    Raises:
        FileError: it cannot be written.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    [code] = [name for name, known in TYPES.items() if known == kind]
    size = math.prod(shape) * kind.itemsize
    header: dict[str, Any] = {NAME: {"dtype": code, "shape": list(shape), "data_offsets": [0, size]}}
    if metadata:
        header["__metadata__"] = dict(metadata)
    text = json.dumps(header, sort_keys=True).encode()
    # Spaces, as the format allows, so that the numbers begin at a multiple of their size.
    text += b" " * (-len(text) % _ALIGN)
    rows = 0

    with atomic_writer(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)

        def append(part: npt.NDArray[Any]) -> None:
            nonlocal rows
            assert part.shape[1:] == shape[1:], (part.shape, shape)
            rows += len(part)
            file.write(np.ascontiguousarray(part, kind).data if part.size else b"")

        yield append
        assert rows == shape[0], f"{rows} rows were given for {shape[0]}"


def open_tensor(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """The tensor of a file, mapped: rows are read when they are looked at, and nothing can be written.

    Raises:
        FileError: the file is missing.
        DatasetError: it is cut off, damaged, or holds something else.
    """
    size = require_file(path).st_size
    try:
        with Path(path).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, HEADER_LIMIT):
                raise _damaged(path, f"its header claims {length} bytes in a file of {size}")
            header = file.read(length)
    except OSError as error:
        raise DatasetError(f"cannot read {shown(path)}: {reason(error)}.") from error
    kind, shape = _parse(path, header, size - 8 - length)
    if not math.prod(shape):
        return np.zeros(shape, kind)  # nothing can be mapped of nothing
    return np.memmap(path, kind, "r", offset=8 + length, shape=shape)


def read_ahead(tensor: npt.NDArray[Any], rows_A: npt.NDArray[np.int64]) -> None:
    """Have the system read some rows of a mapped tensor into its file cache, while the caller goes on.

    Whoever then looks at them one by one, in any order, does not wait for the disk each time. Rows near each
    other are read with what lies between them. Where the system takes no such advice, nothing happens.
    """
    if not isinstance(tensor, np.memmap) or not len(rows_A) or not hasattr(os, "posix_fadvise"):
        return
    width = tensor[0].nbytes
    rows = np.unique(rows_A)
    breaks = np.flatnonzero(np.diff(rows) * width > NEAR)
    firsts, lasts = rows[np.r_[0, breaks + 1]], rows[np.r_[breaks, -1]]
    with Path(str(tensor.filename)).open("rb") as file:
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            start = tensor.offset + first * width
            os.posix_fadvise(file.fileno(), start, (last + 1 - first) * width, os.POSIX_FADV_WILLNEED)


def _parse(path: str | os.PathLike[str], text: bytes, size: int) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape in a header that fits `size` bytes of numbers."""
    try:
        header = json.loads(text, object_pairs_hook=_unique)
        entry = header[NAME]
        kind, shape, offsets = TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        others = header.keys() - {NAME, "__metadata__"}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"its header describes no tensor {NAME!r} of floats") from error
    whole = isinstance(shape, list) and all(type(side) is int and side >= 0 for side in shape)
    if others or not whole or not shape:
        raise _damaged(path, f"its header does not describe one tensor {NAME!r} alone")
    expected = math.prod(shape) * kind.itemsize
    if offsets != [0, expected] or size != expected:
        raise _damaged(path, f"a tensor of shape {shape} takes {expected} bytes, and the file has {size}")
    return kind, tuple(shape)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _damaged(path: str | os.PathLike[str], why: str) -> DatasetError:
    return DatasetError(f"{shown(path)}: {why}; it is damaged, cut off, or no file of tokens.")
