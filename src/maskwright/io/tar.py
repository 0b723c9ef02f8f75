"""Reading small files out of tar archives, in memory: no path in an archive is ever written to.

Every length is checked before anything is read, and an archive must end as archives do: Python's reader takes
one that is cut off, or damaged in a header, for a shorter one.
"""

from __future__ import annotations

import os
import re
import tarfile
from pathlib import Path, PurePosixPath

from maskwright.errors import FileError
from maskwright.io.files import require_file, shown

MAX_MEMBER = 64 << 20
MAX_TOTAL = 1 << 30
MAX_MEMBERS = 100_000


def read_tar(path: str | os.PathLike[str], pattern: re.Pattern[str]) -> dict[str, bytes]:
    """Read the regular files whose name, without folders, fits `pattern` wholly.

    Args:
        path: an archive without compression.
        pattern: names of the wanted files.

    Returns:
        The files' bytes by name.

    Raises:
        FileError: naming the archive: missing, damaged, cut off, a name twice, or beyond the limits.
    """
    require_file(path)
    found: dict[str, bytes] = {}
    try:
        with Path(path).open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for count, member in enumerate(archive):
                if count >= MAX_MEMBERS:
                    raise FileError(f"{shown(path)} has more than {MAX_MEMBERS:,} members; split it.")
                name = PurePosixPath(member.name).name
                if member.isreg() and pattern.fullmatch(name):
                    if name in found:
                        raise FileError(f"{shown(path)} holds {name!a} twice, in different folders.")
                    room = min(MAX_MEMBER, MAX_TOTAL - sum(map(len, found.values())))
                    found[name] = _read(path, archive, member, room)
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError("its end is missing")
    except (tarfile.TarError, OSError, ValueError) as error:
        raise FileError(
            f"cannot read {shown(path)}: it is damaged, cut off, or no plain tar archive ({error})."
        ) from error
    return found


def _read(
    path: str | os.PathLike[str], archive: tarfile.TarFile, member: tarfile.TarInfo, room: int
) -> bytes:
    if member.size > room:
        raise FileError(f"{shown(path)}: {member.name!a} has {member.size:,} bytes, more than are read.")
    stream = archive.extractfile(member)
    assert stream is not None, member.name
    data = stream.read()
    if len(data) != member.size:
        raise tarfile.ReadError(f"{member.name!a} is cut off")
    return data
