"""Kill the writing process at every step, fill the disk: the old file must stay whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maskwright.errors import FileError
from maskwright.io import files
from maskwright.io.records import RecordWriter, read_records

SOURCE = Path(files.__file__).resolve().parents[2]
OLD, NEW = b"old" * 1000, b"new" * 300_000

KILLER = """
import os, signal, sys
from pathlib import Path
from maskwright.io import files

victim, owner, name, target = sys.argv[1:]
home = {"os": os, "Path": Path}[owner]
real = getattr(home, name)
def die(*arguments, **options):
    if victim == "after":
        real(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(home, name, die)
files.write_bytes(target, b"new" * 300_000)
"""
STEPS = [
    ("before", "Path", "touch", OLD),
    ("after", "Path", "touch", OLD),
    ("before", "Path", "open", OLD),
    ("after", "Path", "open", OLD),
    ("before", "os", "fsync", OLD),
    ("after", "os", "fsync", OLD),
    ("before", "Path", "replace", OLD),
    ("after", "Path", "replace", NEW),
    ("before", "Path", "unlink", NEW),
]


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, check=False
    )


@pytest.mark.parametrize(("victim", "owner", "name", "expected"), STEPS)
def test_a_kill_at_any_step_leaves_a_whole_file(
    tmp_path: Path, victim: str, owner: str, name: str, expected: bytes
) -> None:
    target = tmp_path / "result.bin"
    target.write_bytes(OLD)
    done = run(KILLER, victim, owner, name, str(target))
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert target.read_bytes() == expected
    leftovers = [path for path in tmp_path.iterdir() if path != target]
    assert sorted(files.remove_stale_parts(tmp_path, older_than_s=-1)) == sorted(leftovers)
    assert list(tmp_path.iterdir()) == [target]


def test_a_kill_before_the_first_version_leaves_no_file(tmp_path: Path) -> None:
    target = tmp_path / "result.bin"
    assert run(KILLER, "before", "Path", "replace", str(target)).returncode == -signal.SIGKILL
    assert not target.exists()


def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path: Path) -> None:
    target = tmp_path / "result.bin"
    target.write_bytes(OLD)
    code = """
import resource, signal, sys
from maskwright.errors import FileError
from maskwright.io.files import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_bytes(sys.argv[1], b"x" * 1_000_000)
except FileError as error:
    print(error)
"""
    done = run(code, str(target))
    assert done.stdout.decode().strip() == f"cannot write {target}: file too large.", done.stderr.decode()
    assert target.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [target]


def test_a_disk_that_fills_up_at_the_flush_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "result.bin"
    target.write_bytes(OLD)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"cannot write .*result\.bin: no space left on device"):
        files.write_bytes(target, NEW)
    assert target.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "result.bin"
    target.write_bytes(OLD)
    with pytest.raises(TypeError), files.atomic_writer(target) as file:
        file.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert target.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FileError, match="permission denied"):
        files.write_bytes(tmp_path / "x", b"")


def test_records_survive_kills_at_random_bytes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    records = [{"id": number, "name": "ü\n" * number} for number in range(6)]
    with RecordWriter(path) as writer:
        for record in records:
            writer.append(record)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        kept = whole[:length].count(b"\n")
        assert read_records(path) == records[:kept]
        with RecordWriter(path) as writer:
            writer.append({"id": "next"})
        assert read_records(path) == [*records[:kept], {"id": "next"}]


def test_a_killed_writer_loses_no_finished_record(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from maskwright.io.records import RecordWriter
writer = RecordWriter(sys.argv[1])
for number in range(100):
    writer.append({"id": number})
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "ledger.jsonl"
    assert run(code, str(path)).returncode == -signal.SIGKILL
    assert [record["id"] for record in read_records(path)] == list(range(100))


def test_a_long_cut_off_line_is_found_across_blocks(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"id": 0}\n{"id": "' + b"x" * 300_000)
    RecordWriter(path).close()
    assert path.read_bytes() == b'{"id": 0}\n'


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"id": 0}\n{"id"\n{"id": 2}\n')
    with pytest.raises(FileError, match="line 2 is not valid JSON"):
        read_records(path)
    path.write_bytes(b"[1]\n")
    with pytest.raises(FileError, match="line 1 holds list"):
        read_records(path)
