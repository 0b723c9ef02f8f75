"""Confined paths, atomic JSON and text, readable errors."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import FileError
from maskwright.io.files import (
    atomic_path,
    confine,
    make_folder,
    read_json,
    remove_stale_parts,
    write_bytes,
    write_json,
    write_text,
)


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "a/..",
        "..",
        "/etc/passwd",
        "\\\\host\\x",
        "..\\x",
        "C:\\x",
        "C:x",
        "a\0b",
        "",
        " ",
    ],
)
def test_paths_that_could_leave_the_folder_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(FileError):
        confine(tmp_path, path)


@pytest.mark.parametrize(
    "path", ["x", "a/b/c.png", "..x", "a..b/c", "-x", "ü/\u0075\u0308", "a b\n.png", "./x"]
)
def test_paths_inside_are_joined(tmp_path: Path, path: str) -> None:
    assert confine(tmp_path, path) == tmp_path / path


def test_links_out_of_the_folder_are_refused_and_links_inside_are_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "real").mkdir(parents=True)
    (home / "out").symlink_to(tmp_path)
    (home / "in").symlink_to(home / "real")
    (home / "loop").symlink_to(home / "loop")
    with pytest.raises(FileError, match="through a link"):
        confine(home, "out/x")
    assert confine(home, "in/x") == home / "in" / "x"
    with pytest.raises(FileError):
        confine(home, "loop/x")


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=30))
def test_a_confined_path_is_always_inside(text: str) -> None:
    root = Path("/nonexistent/root")
    try:
        path = confine(root, text)
    except FileError:
        return
    assert Path(os.path.normpath(path)).is_relative_to(root)


def test_json_round_trips_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write_json(tmp_path / "x.json", {"name": name, "text": "ü"})
    assert read_json(tmp_path / "x.json") == {"name": name, "text": "ü"}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", float("nan"))
    assert read_json(tmp_path / "x.json")["text"] == "ü"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1,\n "b"}', "line 2, column"),
        (b"", "not valid JSON"),
        (b"\xff\xfe\xfa\xfb\x00", "JSON"),
        (b"[" * 200_000, "JSON"),
        (b"1" * 10_000, "cannot be read as JSON"),
    ],
)
def test_bad_json_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(FileError, match=message) as caught:
        read_json(path)
    assert "x.json" in str(caught.value)


def test_reading_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe")
    cases = {
        "lables.json": r"does not exist\. Did you mean 'labels\.json'\?",
        ".": "is a folder",
        "pipe": "not a regular file",
        "no/folder.json": "folder .* does not exist either",
        "labels.json/x": "does not exist",
        "a\0b": "null character",
    }
    for name, message in cases.items():
        with pytest.raises(FileError, match=message):
            read_json(tmp_path / name)


def test_writing_respects_the_umask_and_replaces_links_not_their_targets(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "x", "ü\n")
    finally:
        os.umask(old)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
    (tmp_path / "link").symlink_to(tmp_path / "x")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "x").read_text() == "ü\n"


def test_writing_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="it is a folder"):
        write_bytes(tmp_path, b"")
    with pytest.raises(FileError, match=r"cannot write .*no such file or directory"):
        write_bytes(tmp_path / "no" / "x", b"")
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot make the folder"):
        make_folder(tmp_path / "file" / "x")
    with pytest.raises(FileError, match=r"file is a file, not a folder; choose another"):
        make_folder(tmp_path / "file")


def test_names_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    write_bytes(path, b"1")
    assert path.read_bytes() == b"1"


def test_a_library_may_write_to_the_temporary_path(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x.json") as part:
        part.write_text(json.dumps([1]))
        assert not (tmp_path / "x.json").exists()
    assert read_json(tmp_path / "x.json") == [1]


def test_only_old_temporary_files_are_removed(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in (".maskwright-1.part", ".maskwright-2.part", "3.part"))
    for path in (old, young, other):
        path.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    os.utime(other, (time.time() - 7200,) * 2)
    assert remove_stale_parts(tmp_path) == [old]
    os.utime(young, (time.time() - 7200,) * 2)
    assert make_folder(tmp_path) == tmp_path
    assert list(tmp_path.iterdir()) == [other]
