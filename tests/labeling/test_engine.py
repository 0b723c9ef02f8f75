"""The labelling engine: same bytes whatever happens, failures named, changes refused, memory bounded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from conftest import REPOSITORY
from labeling.toy import StrangerElsewhere, TellsThreads, ToyWorker, content, label, make_photos, start

from maskwright.errors import ConfigError, FileError, LabelingError, WeightsError
from maskwright.io.files import atomic_path
from maskwright.io.label_shards import read_masks
from maskwright.labeling.engine import cores
from maskwright.labeling.folder import LabelFolder
from maskwright.labeling.ledger import Entry, Failure, Ledger, Totals
from maskwright.labeling.plan import Shard, batched

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY / "tests")]),
    "OMP_NUM_THREADS": "1",
}


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def reasons(outcomes: Sequence[object]) -> list[str]:
    return [outcome.reason for outcome in outcomes if outcome.reason]  # type: ignore[attr-defined]


def test_a_folder_holds_plan_shards_and_ledger(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 5, bad=[1])
    outcomes = label(tmp_path / "out", photos)
    assert [outcome.image.name for outcome in outcomes] == [f"{k:04d}.png" for k in range(5)]
    assert reasons(outcomes) == ["0001.png is bad."]
    folder = LabelFolder(tmp_path / "out")
    record = json.loads(folder.settings.read_text())
    assert (record["format"], record["version"], record["kind"]) == ("maskwright-labels", 1, "masks")
    assert (record["images"], record["shard_images"]) == (5, 2)
    status = (photos / "0000.png").stat()
    assert records(folder.plan)[0] == {
        "name": "0000.png",
        "path": str(photos / "0000.png"),
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
    }
    entries = list(folder.ledger.entries())
    assert [(entry.shard, entry.images, entry.masks) for entry in entries] == [
        (0, 2, 0),
        (1, 2, 5),
        (2, 1, 0),
    ]
    assert entries[0].failures == (Failure("0001.png", "0001.png is bad."),)
    assert folder.ledger.totals() == Totals(shards=3, images=5, masks=5, failures=1)
    assert [row.image for row in read_masks(folder.masks(1))] == ["0002.png"] * 2 + ["0003.png"] * 3


def test_a_finished_run_is_not_done_again(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 4, bad=[0])
    label(tmp_path / "out", photos)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    whole = content(tmp_path / "out")
    assert label(tmp_path / "out", photos) == []
    assert content(tmp_path / "out") == whole
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")} == before


def test_a_kill_at_any_step_then_the_same_command_gives_the_same_bytes(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killed.py")
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


@pytest.mark.parametrize("damage", ["missing", "changed", "cut off"])
def test_a_damaged_shard_is_made_again(tmp_path: Path, damage: str) -> None:
    photos = make_photos(tmp_path / "photos", 6)
    label(tmp_path / "out", photos)
    whole = content(tmp_path / "out")
    path = LabelFolder(tmp_path / "out").masks(1)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-9] if damage == "cut off" else data[:50] + bytes([data[50] ^ 1]) + data[51:])
    outcomes = label(tmp_path / "out", photos)
    assert [outcome.image.name for outcome in outcomes] == ["0002.png", "0003.png"]
    assert content(tmp_path / "out") == whole


def test_several_processes_give_the_same_bytes_in_whatever_order(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 9, bad=[4])
    label(tmp_path / "one", photos)
    outcomes = label(tmp_path / "two", photos, workers=2)
    assert sorted(outcome.image.name for outcome in outcomes) == [f"{k:04d}.png" for k in range(9)]
    assert reasons(outcomes) == ["0004.png is bad."]
    assert content(tmp_path / "two") == content(tmp_path / "one")


def test_several_processes_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores()))  # what a process alone takes
    worker = TellsThreads(tmp_path / "out")
    with worker.folder.lock():
        outcomes = list(start(worker, make_photos(tmp_path / "photos", 3)).label(workers=2))
    assert set(reasons(outcomes)) == {str(max(1, cores() // 2))}


def test_a_process_that_dies_ends_the_run_and_costs_only_its_shard(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 7)
    label(tmp_path / "whole", photos)
    with pytest.raises(LabelingError, match=r"has died .*the same command goes on from there"):
        label(tmp_path / "out", photos, workers=2, poison="0005.png")
    label(tmp_path / "out", photos, workers=2, poison="0005.png")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_worker_that_cannot_be_prepared_in_another_process_says_why(tmp_path: Path) -> None:
    worker = StrangerElsewhere(tmp_path / "out")
    with worker.folder.lock(), pytest.raises(WeightsError, match="another model here"):
        list(start(worker, make_photos(tmp_path / "photos", 5)).label(workers=2))


ORPHANS = """
import os, sys, time
from pathlib import Path
from labeling.toy import ToyWorker, label

class Slow(ToyWorker):
    def label(self, image):
        (self.folder.path.parent / str(os.getpid())).touch()
        time.sleep(60)

if __name__ == "__main__":
    import labeling.toy
    labeling.toy.ToyWorker = Slow
    label(Path(sys.argv[1]), Path(sys.argv[2]), workers=2)
"""


def test_no_process_outlives_a_killed_run(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 8)
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS)
    # Their output is a pipe of ours, which ends only when the last of them does; else this times out.
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "marks/out"), str(photos)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
    )
    marks = tmp_path / "marks"
    while process.poll() is None and len(list(marks.glob("[0-9]*"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL


def test_other_settings_or_photos_are_refused_with_the_difference(tmp_path: Path) -> None:
    photos, out = make_photos(tmp_path / "photos", 4), tmp_path / "out"
    label(out, photos)
    whole = content(out)
    with pytest.raises(ConfigError, match=r"settings.size: 100 -> 101\n.*--overwrite to start anew"):
        start(ToyWorker(out, size=101), photos)
    (photos / "0001.png").unlink()
    (photos / "0002.png").write_bytes(b"another photo")
    (photos / "0009.png").write_bytes(b"new")
    with pytest.raises(ConfigError) as refused:
        label(out, photos)
    for line in ("photo missing: 0001.png", "photo changed: 0002.png", "photo added: 0009.png"):
        assert line in str(refused.value)
    assert content(out) == whole
    make_photos(photos, 40)
    with pytest.raises(ConfigError, match=r"and \d+ more"):
        label(out, photos)
    label(out, photos, overwrite=True)
    assert LabelFolder(out).ledger.totals().images == 40


def test_settings_under_which_nothing_was_finished_may_be_corrected(tmp_path: Path) -> None:
    photos, out = make_photos(tmp_path / "photos", 2), tmp_path / "out"
    out.mkdir()
    start(ToyWorker(out, size=7), photos)
    assert len(label(out, photos)) == 2


def test_failed_photos_are_tried_again_when_asked_for(tmp_path: Path) -> None:
    photos, out = make_photos(tmp_path / "photos", 6, bad=[1, 4]), tmp_path / "out"
    label(out, photos)
    make_photos(photos, 6, bad=[4])
    for number in (0, 2, 3, 5):  # only the repaired photo has a new time
        stamp = records(out / "plan.jsonl")[number]["modified_ns"]
        os.utime(photos / f"{number:04d}.png", ns=(stamp, stamp))  # type: ignore[arg-type]
    os.utime(photos / "0001.png", ns=(1, 1))
    with pytest.raises(ConfigError, match=r"photo changed: 0001\.png\n(.|\n)*--retry-failed"):
        label(out, photos)
    outcomes = label(out, photos, retry_failed=True)
    assert [outcome.image.name for outcome in outcomes] == ["0000.png", "0001.png", "0004.png", "0005.png"]
    assert reasons(outcomes) == ["0004.png is bad."]
    label(tmp_path / "fresh", photos)
    assert content(out) == content(tmp_path / "fresh")
    (photos / "0000.png").write_bytes(b"\1other")
    with pytest.raises(ConfigError, match=r"photo changed: 0000\.png"):
        label(out, photos, retry_failed=True)


def test_a_photo_that_changes_during_the_run_fails(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 2)
    worker = ToyWorker(tmp_path / "out")
    with worker.folder.lock():
        work = start(worker, photos)
        (photos / "0001.png").write_bytes(b"\2other")
        outcomes = list(work.label())
    assert len(reasons(outcomes)) == 1
    assert "0001.png has changed since the plan was made" in reasons(outcomes)[0]


def test_overwriting_deletes_only_what_a_run_made(tmp_path: Path) -> None:
    photos, out = make_photos(tmp_path / "photos", 6), tmp_path / "out"
    label(out, photos)
    (out / "masks/mine.txt").write_text("not of a run")
    for number in range(2, 6):
        (photos / f"{number:04d}.png").unlink()
    label(out, photos, overwrite=True)
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["00000.parquet", "mine.txt"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    photos, out = make_photos(tmp_path / "photos", 1), tmp_path / "out"
    label(out, photos)
    (out / "set.json").write_text('{"format": "other"}')
    with pytest.raises(FileError, match=r"set\.json is not of a labelled set"):
        label(out, photos, overwrite=True)
    (out / "set.json").write_text('{"format": "maskwright-labels", "version": 3}')
    with pytest.raises(FileError, match="version 3"):
        label(out, photos)
    with pytest.raises(FileError, match=r"holds no labelled set.*Did you mean 'out'"):
        LabelFolder(tmp_path / "ou").read_settings()


def test_a_folder_belongs_to_one_process(tmp_path: Path) -> None:
    code = "import sys, pathlib; from maskwright.labeling.folder import LabelFolder as F\n"
    code += "try: F(pathlib.Path(sys.argv[1])).lock()\nexcept Exception as e: print(e)"
    with LabelFolder(tmp_path / "out").lock():
        command = [sys.executable, "-c", code, str(tmp_path / "out")]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "another process is writing labels" in done.stdout, done.stderr


def test_what_a_killed_run_left_half_written_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    # A killed process removes nothing.
    with suppress(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with ExitStack() as stack:
            for folder in ("masks", "refined", "sa1b/a/b", "."):
                (out / folder).mkdir(parents=True, exist_ok=True)
                stack.enter_context(atomic_path(out / folder / "x")).touch()
            raise KeyboardInterrupt
    assert len(list(out.rglob("*.part"))) == 4
    with LabelFolder(out).lock():
        assert not list(out.rglob("*.part"))


def test_a_name_that_is_not_unicode_fails_alone_and_travels_as_text(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 3)
    (photos / "0001.png").rename(photos / os.fsdecode(b"\xff.png"))
    outcomes = label(tmp_path / "out", photos)
    assert len(reasons(outcomes)) == 1
    assert "udcff.png': its name is not valid Unicode; rename it" in reasons(outcomes)[0]
    for shard in LabelFolder(tmp_path / "out").read_plan().shards():
        assert Shard.from_json(shard.to_json()) == shard


def test_shards_of_masks_carry_their_hash_for_the_work_that_follows(tmp_path: Path) -> None:
    photos, out = make_photos(tmp_path / "photos", 5), tmp_path / "out"
    label(out, photos)
    folder = LabelFolder(out)
    entries = list(folder.ledger.entries())
    assert [shard.inputs for shard in folder.shards_of_masks()] == [entry.sha256 for entry in entries]
    folder.ledger.keep([0, 2])
    assert [shard.number for shard in folder.shards_of_masks()] == [0, 2]


def test_a_ledger_is_sorted_and_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number in (2, 0, 1):
        ledger.append(Entry(number, 1, 0, (), "0" * 64))
    ledger.keep()
    assert [entry.shard for entry in ledger.entries()] == [0, 1, 2]
    ledger.path.write_text('{"shard": 1}\n')
    with pytest.raises(FileError, match="is no entry of a ledger"):
        list(ledger.entries())


def test_groups_are_cut_in_order() -> None:
    assert list(batched(range(5), 2)) == [(0, 1), (2, 3), (4,)]
    assert list(batched([], 2)) == []


def test_memory_does_not_grow_with_the_number_of_shards(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        photos = make_photos(tmp_path / f"photos{count}", count)
        worker = ToyWorker(tmp_path / f"out{count}", size=200_000)
        with worker.folder.lock():
            work = start(worker, photos)
            tracemalloc.start()
            try:
                assert sum(1 for _ in work.label()) == count
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    few, many = peak(12), peak(120)
    assert many < 1.2 * few + 100_000, (few, many)
