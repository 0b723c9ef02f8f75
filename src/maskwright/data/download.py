"""Fetching the archives of a link list: a table with the columns file_name and cdn_link, separated by tabs.

SA-V and SA-1B are published so: dozens of archives of gigabytes each, behind links that expire. A file is
written to NAME.part, carried on from where it broke off (HTTP Range, RFC 9110 section 14), checked, and only
then renamed. A table may have a column sha256 or md5 as well, which is then checked.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from maskwright.errors import FileError, MaskwrightError
from maskwright.io.files import confine, make_folder, make_parents, reason, require_file, shown

COLUMNS = ("file_name", "cdn_link")
DIGESTS = ("sha256", "md5")

_CHUNK = 1 << 20
_TIMEOUT_S = 60.0
_LONGEST_PAUSE_S = 30.0
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
# What a disk says and a connection does not.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EIO, errno.EISDIR}


@dataclass(frozen=True)
class Link:
    """A file to fetch: its name, its http address, and its digest (algorithm, hexadecimal) if it is known."""

    name: str
    address: str
    digest: tuple[str, str] | None = None


@dataclass(frozen=True)
class Fetched:
    """A file that is there, its size in bytes, and how many of them this run fetched."""

    path: Path
    size: int
    received: int


class _Interrupted(Exception):
    """Another thread asked to stop."""


class _TryAgain(Exception):
    """The connection broke off, or the server asks to come again."""


def read_links(path: Path) -> list[Link]:
    """Read a link list.

    Raises:
        FileError: it is missing or no text, lacks a column, names no address, or names a file twice.
    """
    require_file(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{shown(path)} cannot be read as a table: {error}.") from error
    missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
    if missing:
        raise FileError(
            f"{shown(path)} has no column {' and no column '.join(missing)}. Its first line must name the "
            "columns, separated by tabs: file_name, cdn_link."
        )
    links: dict[Path, Link] = {}
    for number, row in enumerate(rows, 2):
        name, address = ((row[column] or "").strip() for column in COLUMNS)
        if not name or urlsplit(address).scheme not in {"http", "https"}:
            raise FileError(f"{shown(path)}, line {number}: {name!a} has no http or https link: {address!a}.")
        if Path(name) in links:
            raise FileError(f"{shown(path)}, line {number}: {name!a} is listed twice.")
        digest = next(((how, row[how].strip().lower()) for how in DIGESTS if row.get(how)), None)
        links[Path(name)] = Link(name, address, digest)
    return list(links.values())


@dataclass
class Download:
    """Fetches files into a folder, several at a time.

    Args:
        folder: where they go; made if need be.
        jobs: how many at a time.
        retries: how often to try again without having got a single byte more.
        pause_s: the wait before the first new try; it doubles from try to try.
    """

    folder: Path
    jobs: int = 4
    retries: int = 5
    pause_s: float = 1.0
    received: int = field(default=0, init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def run(
        self, links: Sequence[Link], tick_s: float = 1.0
    ) -> Iterator[tuple[Link, Fetched | MaskwrightError] | None]:
        """Fetch all; yields each file with what became of it, and None every `tick_s` seconds in between.

        `received` counts the bytes of all files. What is fetched stays when the iteration is given up.
        """
        make_folder(self.folder)
        pool = ThreadPoolExecutor(self.jobs)
        try:
            waiting: dict[Future[Fetched], Link] = {pool.submit(self.fetch, link): link for link in links}
            while waiting:
                done, _ = wait(waiting, timeout=tick_s, return_when=FIRST_COMPLETED)
                for future in done:
                    link = waiting.pop(future)
                    try:
                        yield link, future.result()
                    except MaskwrightError as error:
                        yield link, error
                if not done:
                    yield None
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)

    def fetch(self, link: Link) -> Fetched:
        """Fetch one file, or what is missing of it; a file that is there is checked only.

        Raises:
            FileError: naming the file and what stands in the way.
        """
        path = make_parents(confine(self.folder, link.name))
        if path.is_dir():
            raise FileError(f"cannot write {shown(path)}: it is a folder.")
        if path.exists() and _flaw(path, link) is None:
            return Fetched(path, path.stat().st_size, 0)
        part, tag = (path.with_name(path.name + ending) for ending in (".part", ".part.etag"))
        before = self._fetch_all(link, part, tag)
        flaw = _flaw(part, link)
        if flaw is not None:
            part.unlink()
            tag.unlink(missing_ok=True)
            raise FileError(f"{link.name}: what came is damaged ({flaw}); it was removed. Try again.")
        size = part.stat().st_size
        try:
            part.replace(path)
        except OSError as error:
            raise FileError(f"cannot write {shown(path)}: {reason(error)}.") from error
        tag.unlink(missing_ok=True)
        return Fetched(path, size, size - before)

    def _fetch_all(self, link: Link, part: Path, tag: Path) -> int:
        """Fetch until the part is whole; returns how many bytes of it were there at the beginning."""
        before = size = _size(part)
        tries = 0
        while True:
            try:
                self._fetch_some(link, part, tag)
                return min(before, _size(part))
            except _TryAgain as error:
                tries = 0 if _size(part) > size else tries + 1
                size = _size(part)
                if tries > self.retries:
                    raise FileError(
                        f"{link.name}: {error}; given up after {self.retries} new tries, with {size:,} bytes "
                        "fetched. The same command carries on from there."
                    ) from error
                if self._stop.wait(min(self.pause_s * 2**tries, _LONGEST_PAUSE_S)):
                    raise _Interrupted from error

    def _fetch_some(self, link: Link, part: Path, tag: Path) -> None:
        """Ask for what is missing of a part and append what comes.

        Raises:
            _TryAgain: not all came.
            FileError: the server refuses, or the disk does.
        """
        start = _size(part)
        request = Request(link.address, headers={"User-Agent": "maskwright"})  # noqa: S310 (see read_links)
        if start:
            request.add_header("Range", f"bytes={start}-")
            if tag.exists():
                # Should the file have changed since, the whole of it comes.
                request.add_header("If-Range", tag.read_text())
        try:
            with urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
                self._receive(response, link, part, tag, start)
        except HTTPError as error:
            error.close()
            if error.code == 416 and start:
                if error.headers.get("Content-Range") == f"bytes */{start}":
                    return
                part.unlink()
                raise _TryAgain(f"the file is not the one that {start:,} bytes were fetched of") from error
            message = f"the server answers {error.code} {error.reason}"
            if error.code in _TRY_AGAIN:
                raise _TryAgain(message) from error
            hint = " Such links expire: get a new list." if error.code in {401, 403, 404, 410} else ""
            raise FileError(f"{link.name}: {message}.{hint}") from error
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _DISK:
                raise FileError(f"cannot write {shown(part)}: {reason(error)}.") from error
            raise _TryAgain(f"the connection broke off ({error})") from error

    def _receive(self, response: HTTPResponse, link: Link, part: Path, tag: Path, start: int) -> None:
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(
            f"bytes {start}-"
        ):
            raise FileError(f"{link.name}: the server sends another part of the file than was asked for.")
        mode: Literal["ab", "wb"] = "ab" if response.status == 206 else "wb"
        start = start if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        if total is not None and total - start > shutil.disk_usage(part.parent).free:
            raise FileError(f"{link.name}: {total - start:,} bytes more do not fit on the disk.")
        if not start:
            tag.unlink(missing_ok=True)
            # A weak tag (W/…) does not promise the same bytes.
            if (name := response.headers.get("ETag", "")).startswith('"'):
                tag.write_text(name)
        with part.open(mode) as file:
            while data := response.read1(_CHUNK):
                if self._stop.is_set():
                    raise _Interrupted
                file.write(data)
                with self._lock:
                    self.received += len(data)
            file.flush()
            os.fsync(file.fileno())
        if total is not None and _size(part) != total:
            raise _TryAgain(f"the connection broke off at {_size(part):,} of {total:,} bytes")


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _flaw(path: Path, link: Link) -> str | None:
    """What is wrong with a fetched file, in words; None for nothing that can be known."""
    if link.digest is not None:
        how, expected = link.digest
        with path.open("rb") as file:
            found = hashlib.file_digest(file, how).hexdigest()
        if found != expected:
            return f"its {how} is {found}, not {expected}"
    if link.name.lower().endswith((".tar", ".tar.gz", ".tgz")):
        try:
            # Members are skipped, not read; the skip past the last one tells whether the file is whole.
            with tarfile.open(path) as archive:
                if not sum(1 for _ in archive):
                    return "it is an empty archive"
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            return f"it is no archive: {error}"
    return None
