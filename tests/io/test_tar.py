from __future__ import annotations

import gzip
import io
import re
import tarfile
from pathlib import Path

import pytest

from maskwright.errors import FileError
from maskwright.io import tar
from maskwright.io.tar import read_tar

TEXT = re.compile(r"[a-z]+\.txt")


def archive(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w") as file:
        for member, data in members:
            file.addfile(member, io.BytesIO(data))
    return path


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    return info, data


def test_files_are_found_by_name_in_any_folder(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.tar",
        [
            member("./x/", kind=tarfile.DIRTYPE),
            member("./x/a.txt", b"one"),
            member("b.txt"),
            member("c.png", b"p"),
        ],
    )
    assert read_tar(path, TEXT) == {"a.txt": b"one", "b.txt": b""}
    assert read_tar(archive(tmp_path / "none.tar", []), TEXT) == {}


def test_nothing_is_written_and_links_are_not_followed(tmp_path: Path) -> None:
    link, _ = member("a.txt", kind=tarfile.SYMTYPE)
    link.linkname = "/etc/passwd"
    hard, _ = member("b.txt", kind=tarfile.LNKTYPE)
    hard.linkname = "../../x"
    deep = tmp_path / "one" / "two"
    deep.mkdir(parents=True)
    path = archive(
        deep / "a.tar",
        [(link, b""), (hard, b""), member("../../c.txt", b"up"), member("/d.txt", b"root"),
         member("e.txt", kind=tarfile.FIFOTYPE)],
    )  # fmt: skip
    assert read_tar(path, TEXT) == {"c.txt": b"up", "d.txt": b"root"}
    assert sorted(tmp_path.rglob("*")) == [deep.parent, deep, path]


def test_a_cut_archive_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [member("a.txt", b"1" * 700), member("b.txt", b"2" * 700)])
    whole = path.read_bytes()
    for cut in (0, 100, 512, 1000, 1536, 1600, 2048, 3000, 3072):
        path.write_bytes(whole[:cut])
        with pytest.raises(FileError, match=r"a\.tar"):
            read_tar(path, TEXT)
    path.write_bytes(whole[: 3072 + 512])
    assert len(read_tar(path, TEXT)) == 2


def test_a_damaged_header_is_no_end(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [member("a.txt", b"1"), member("b.txt", b"2")])
    whole = bytearray(path.read_bytes())
    whole[1024 + 3] ^= 255
    path.write_bytes(whole)
    with pytest.raises(FileError, match="damaged"):
        read_tar(path, TEXT)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(gzip.compress(archive(tmp_path / "b.tar", [member("a.txt", b"1")]).read_bytes()))
    with pytest.raises(FileError, match="no plain tar"):
        read_tar(path, TEXT)
    with pytest.raises(FileError, match="does not exist"):
        read_tar(tmp_path / "c.tar", TEXT)


def test_limits_and_names_that_occur_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.tar", [member("x/a.txt", b"1"), member("y/a.txt", b"2")])
    with pytest.raises(FileError, match=r"a\.tar holds 'a\.txt' twice"):
        read_tar(path, TEXT)
    path = archive(tmp_path / "b.tar", [member("a.txt", b"12345"), member("b.txt", b"12345")])
    for limit, value, message in (
        ("MAX_MEMBER", 4, "'a.txt' has 5 bytes"),
        ("MAX_TOTAL", 9, "'b.txt' has 5 bytes"),
        ("MAX_MEMBERS", 1, "more than 1 members"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(tar, limit, value)
            with pytest.raises(FileError, match=re.escape(message)):
                read_tar(path, TEXT)
    # A header that promises more than there is takes no memory for it.
    whole = bytearray(path.read_bytes())
    info = tarfile.TarInfo("a.txt")
    info.size = 60 << 20
    path.write_bytes(info.tobuf() + bytes(whole[512:]))
    with pytest.raises(FileError, match="damaged, cut off"):
        read_tar(path, TEXT)
