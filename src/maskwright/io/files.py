"""Writing files so that a kill or a full disk leaves the old file or the new one, never half of one.

A file is written under a temporary name in its own folder, flushed to the disk, then renamed over the final
name; the folder is flushed last. Only the rename makes the new content visible.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from maskwright.debug import debug
from maskwright.errors import FileError, suggestion

_PART_PREFIX, _PART_SUFFIX = ".maskwright-", ".part"
_STALE_AFTER_S = 3600.0


def shown(path: str | os.PathLike[str]) -> str:
    """A path for messages: as it is, or escaped when it holds line breaks or undecodable bytes."""
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)


def reason(error: OSError) -> str:
    """The system's own words for what went wrong, without the path: "no space left on device"."""
    return (error.strerror or str(error) or type(error).__name__).lower()


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the same folder; what was written there becomes `path` when the block ends.

    For libraries that write to a path. The temporary file is removed when the block raises.

    Raises:
        FileError: naming `path`, when the folder is missing, read-only or full.
    """
    final = Path(path)
    if final.is_dir():
        raise FileError(f"cannot write {shown(final)}: it is a folder.")
    part = final.parent / f"{_PART_PREFIX}{uuid.uuid4().hex}{_PART_SUFFIX}"
    try:
        part.touch(exist_ok=False)
        yield part
        _flush_file(part)
        part.replace(final)
        _flush_folder(final.parent)
        debug(lambda: f"wrote {shown(final)}: {final.stat().st_size:,} bytes")
    except OSError as error:
        raise FileError(f"cannot write {shown(final)}: {reason(error)}.") from error
    finally:
        # After the rename there is nothing left to remove.
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file whose content appears under `path` only when the block ends without an error.

    Raises:
        FileError: as `atomic_path` does.
    """
    with atomic_path(path) as part, part.open("wb") as file:
        yield file


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically.

    Raises:
        FileError: naming the path and the reason.
    """
    with atomic_writer(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file atomically, line ends as they are; file names in it keep their very bytes.

    Raises:
        FileError: naming the path and the reason.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise FileError(
            f"cannot write {shown(path)}: its text holds {error.object[error.start]!a}."
        ) from error
    write_bytes(path, data)


def write_json(path: str | os.PathLike[str], value: Any, indent: int | None = 2) -> None:  # noqa: ANN401
    """Write a JSON file atomically.

    Non-ASCII text is escaped, so that file names that are not valid UTF-8 survive; NaN and infinity, which
    JSON does not have, are a ValueError.

    Raises:
        FileError: naming the path and the reason.
    """
    write_text(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a whole regular file.

    Raises:
        FileError: naming the path and the reason, and for a misspelt name the nearest one.
    """
    require_file(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {shown(path)}: {reason(error)}.") from error


def read_json(path: str | os.PathLike[str], encoding: str | None = None) -> Any:  # noqa: ANN401
    """Read a JSON file.

    Args:
        path: the file.
        encoding: of its text; by default the Unicode encoding it is in.

    Raises:
        FileError: naming the path and the reason; for bad JSON the line and column.
    """
    data = read_bytes(path)
    try:
        return json.loads(data.decode(encoding) if encoding else data)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise FileError(f"{shown(path)} is not valid JSON ({error.msg} at {where}).") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{shown(path)} is not a text file, so it is not JSON.") from error
    except (RecursionError, ValueError) as error:
        raise FileError(f"{shown(path)} cannot be read as JSON: {error}.") from error


def require_file(path: str | os.PathLike[str]) -> os.stat_result:
    """Check that a path is a readable regular file; a pipe or a device would block or never end.

    Raises:
        FileError: naming the path and the reason, and for a misspelt name the nearest one.
    """
    path = Path(path)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileError(f"{shown(path)} does not exist.{nearest_name(path)}") from error
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else "the name holds a null character"
        raise FileError(f"cannot read {shown(path)}: {why}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise FileError(f"{shown(path)} is a folder, not a file.")
    if not stat.S_ISREG(status.st_mode):
        raise FileError(f"{shown(path)} is not a regular file.")
    return status


def nearest_name(path: Path) -> str:
    """Suggest the existing sibling whose name is closest to that of a missing path."""
    try:
        siblings = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f" Its folder {shown(path.parent)} does not exist either."
    return suggestion(path.name, siblings)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create an output folder, parents included, and clear it of what a killed run left half written.

    Raises:
        FileError: when it cannot be made, or a file has its name.
    """
    folder = Path(path)
    # Any name inside will do, for it is the folder that gets made.
    make_parents(folder / _PART_PREFIX)
    remove_stale_parts(folder)
    return folder


def make_parents(path: Path) -> Path:
    """Create the folders above a file that is to be written, and return the file's path.

    Raises:
        FileError: when they cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise FileError(f"{shown(path.parent)} is a file, not a folder; choose another folder.") from error
    except OSError as error:
        raise FileError(f"cannot make the folder {shown(path.parent)}: {reason(error)}.") from error
    return path


def remove_stale_parts(folder: Path, older_than_s: float = _STALE_AFTER_S) -> list[Path]:
    """Remove temporary files of killed runs from a folder; younger ones may still be being written."""
    limit = time.time() - older_than_s
    removed = []
    for part in sorted(folder.glob(f"{_PART_PREFIX}*{_PART_SUFFIX}")):
        # Another process may tidy up at the same time, or finish its file.
        with suppress(FileNotFoundError):
            if part.stat().st_mtime <= limit:
                part.unlink()
                removed.append(part)
    return removed


def confine(root: str | os.PathLike[str], relative: str) -> Path:
    """Join a path from a user, an archive or an annotation file to a folder it must not leave.

    Args:
        root: the folder.
        relative: the path, with either kind of slash.

    Returns:
        `root` / `relative`; it need not exist.

    Raises:
        FileError: for an absolute path, a drive, `..`, a null character, or a link that leads out of `root`.
    """
    parts = re.split(r"[/\\]", relative)
    absolute = not parts[0] or re.fullmatch(r"[A-Za-z]:.*", parts[0])
    if not relative.strip() or absolute or ".." in parts or "\0" in relative:
        message = "must be a relative path without '..'"
        raise FileError(f"{relative!a} {message}: it may not leave {shown(root)}.")
    joined = Path(root, relative)
    home = Path(root).resolve()
    try:
        inside = joined.resolve().is_relative_to(home)
    except (OSError, RuntimeError, UnicodeEncodeError) as error:
        raise FileError(f"{relative!a} cannot be followed inside {shown(root)}: {error}.") from error
    if not inside:
        raise FileError(f"{relative!a} leads out of {shown(root)} through a link; it is refused.")
    return joined


def _flush_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(path: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders; its rename is durable by itself.
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
