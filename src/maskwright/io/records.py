"""JSON lines: one record a line, appended as work gets done, so that a killed run can carry on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from maskwright.errors import FileError
from maskwright.io.files import reason, require_file, shown


def read_records(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the records of a JSON-lines file; a last line cut off by a kill is left out.

    Returns:
        The records in order; an empty list when the file does not exist yet.

    Raises:
        FileError: naming the line, when any other line is not a JSON object.
    """
    return list(iterate_records(path))


def iterate_records(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Give the records one after the other, as `read_records` does, for files that outgrow memory.

    Raises:
        FileError: naming the line, when it reaches one that is not a JSON object.
    """
    if not Path(path).exists():
        return
    require_file(path)
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                # Without a line break it is the last one, cut off.
                if line.endswith(b"\n") and line.strip():
                    yield _parse(path, number, line)
    except OSError as error:
        raise FileError(f"cannot read {shown(path)}: {reason(error)}.") from error


def encode_record(record: dict[str, Any]) -> bytes:
    """A record's line; NaN and infinity are a ValueError."""
    return json.dumps(record, allow_nan=False).encode() + b"\n"


class RecordWriter:
    """Appends records to a JSON-lines file; opening one first cuts off a half-written last line.

    Every record reaches the operating system at once, so killing the process loses none; closing flushes
    them to the disk.

    Raises:
        FileError: when the file cannot be opened or written (read-only folder, full disk).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            # "r+b" would not create the file, and "ab" cannot be cut.
            self._file: BinaryIO = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
            self._file.truncate(self._complete_length())
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise FileError(f"cannot append to {shown(self.path)}: {reason(error)}.") from error

    def append(self, record: dict[str, Any]) -> None:
        """Append one record; NaN and infinity are a ValueError."""
        line = encode_record(record)
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise FileError(f"cannot append to {shown(self.path)}: {reason(error)}.") from error

    def close(self) -> None:
        """Flush to the disk and close."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _complete_length(self) -> int:
        """Length of the file up to and including its last line break."""
        end = self._file.seek(0, os.SEEK_END)
        step = 1 << 16
        for start in range(end - step, -step, -step):
            self._file.seek(max(start, 0))
            block = self._file.read(min(step, step + start))
            if b"\n" in block:
                return max(start, 0) + block.rindex(b"\n") + 1
        return 0


def _parse(path: str | os.PathLike[str], number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        message = f"{shown(path)}, line {number} is not valid JSON; repair or remove that line"
        raise FileError(f"{message} ({error}).") from error
    if not isinstance(record, dict):
        raise FileError(f"{shown(path)}, line {number} holds {type(record).__name__}, not a JSON object.")
    return record
