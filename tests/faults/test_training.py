"""Whatever happens while a checkpoint is saved, the old or the new one loads; a run never starts over."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from training.toy import Toy, ToySettings

from maskwright.errors import MaskwrightError, TrainingError
from maskwright.training import checkpoint
from maskwright.training.checkpoint import State, read_state, write_state
from maskwright.training.folder import RunFolder
from maskwright.training.loop import train


class Killed(BaseException):
    """Stands for SIGKILL: no handler of ours may catch it."""


def state(step: int) -> State:
    return State(step, {"model.w": torch.full((50, 50), float(step))}, {"progress": {"step": step}})


def steps_of_saving() -> dict[str, tuple[Any, str]]:
    """Where saving touches the system, by name: the object and its attribute."""
    return {
        "serialise": (checkpoint, "save_file"),
        "open": (os, "open"),
        "touch": (Path, "touch"),
        "fsync": (os, "fsync"),
        "rename": (Path, "replace"),
        "remove": (Path, "unlink"),
    }


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("where", list(steps_of_saving()))
@pytest.mark.parametrize("which", [0, 1])
def test_a_kill_at_any_point_of_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, late: bool, which: int
) -> None:
    path = tmp_path / "last.safetensors"
    write_state(path, state(1))
    owner, name = steps_of_saving()[where]
    real: Callable[..., Any] = getattr(owner, name)
    calls = []

    def deadly(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == which + 1 and not late:
            raise Killed
        result = real(*arguments, **options)
        if len(calls) == which + 1:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, deadly)
        try:
            write_state(path, state(2))
        except Killed:
            assert len(calls) > which
    found = read_state(path)
    assert found.step in (1, 2)
    assert torch.equal(found.tensors["model.w"], state(found.step).tensors["model.w"])
    write_state(path, state(3))
    assert read_state(path).step == 3


@pytest.mark.parametrize("where", ["serialise", "fsync", "rename", "touch"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_or_read_only_disk_is_told_and_the_old_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, code: int
) -> None:
    path = tmp_path / "last.safetensors"
    write_state(path, state(1))
    owner, name = steps_of_saving()[where]

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, refuse)
        with pytest.raises(
            TrainingError, match=f"(?i)step 2 could not be saved.*{os.strerror(code)}.*untouched"
        ):
            write_state(path, state(2))
    assert read_state(path).step == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.safetensors"]


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def pickle_it(path: Path) -> None:
    torch.save({"step": 1}, path)


def foreign(path: Path) -> None:
    save_file(load_file(path), path, metadata={"format": "pt"})


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, empty, pickle_it, foreign])
def test_a_damaged_checkpoint_is_refused_and_the_run_does_not_start_over(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    settings = ToySettings(steps=2, batch_size=2)
    train(Toy(settings), tmp_path, quiet=True)
    log = (tmp_path / "log.jsonl").read_text()
    damage(RunFolder(tmp_path).last)
    with pytest.raises(TrainingError, match=r"last\.safetensors") as error:
        train(Toy(settings), tmp_path, quiet=True)
    assert "--out" in str(error.value)
    assert (tmp_path / "log.jsonl").read_text() == log


def test_nothing_in_a_checkpoint_is_pickled(tmp_path: Path) -> None:
    train(Toy(ToySettings(steps=2, batch_size=2, ema=0.5)), tmp_path, quiet=True)
    for path in (tmp_path / "checkpoints").iterdir():
        assert path.suffix == ".safetensors"
        assert path.read_bytes()[8:9] == b"{"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MaskwrightError, match="file"):
        train(Toy(ToySettings(steps=2)), tmp_path / "file", quiet=True)


def test_left_overs_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    part = tmp_path / "checkpoints" / ".maskwright-0.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    train(Toy(ToySettings(steps=2, batch_size=2)), tmp_path, quiet=True)
    assert not part.exists()


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from training.toy import Toy, ToySettings
from maskwright.training.loop import train

if __name__ == "__main__":
    settings = ToySettings(steps=int(sys.argv[3]), batch_size=2, save_every=1, evaluate_every=5000)
    outcome = train(Toy(settings), Path(sys.argv[2]), quiet=True)
    sys.exit(143 if outcome.stopped else 0)
"""


def start(tmp_path: Path, out: Path, steps: int) -> subprocess.Popen[bytes]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    tests = Path(__file__).parent.parent
    command = [sys.executable, str(script), str(tests), str(out), str(steps)]
    environment = {**os.environ, "PYTHONPATH": str(tests.parent / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment)


def wait_for_checkpoint(out: Path, process: subprocess.Popen[bytes]) -> int:
    """Wait until the process has saved something new, and say up to which step."""
    before = RunFolder(out).last.stat().st_mtime_ns if RunFolder(out).last.exists() else 0
    limit = time.monotonic() + 120
    while time.monotonic() < limit and process.poll() is None:
        if RunFolder(out).last.exists() and RunFolder(out).last.stat().st_mtime_ns > before:
            return read_state(RunFolder(out).last).step
        time.sleep(0.005)
    pytest.fail(f"no checkpoint appeared; the process ended with {process.poll()}")


def test_a_real_kill_and_a_real_sigterm(tmp_path: Path) -> None:
    steps, out = 2000, tmp_path / "run"
    process = start(tmp_path, out, steps)
    reached = wait_for_checkpoint(out, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    killed = read_state(RunFolder(out).last).step
    assert reached <= killed < steps
    process = start(tmp_path, out, steps)
    reached = wait_for_checkpoint(out, process)
    assert reached > killed
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    stopped = read_state(RunFolder(out).last).step
    assert reached <= stopped < steps
    assert json.loads((out / "result.json").read_text())["stopped"] == "SIGTERM"
