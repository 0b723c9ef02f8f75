"""Kill a run with SIGKILL at each of its steps on the disk, carry on, compare: `killed.py FOLDER`.

Prints how many steps were tried. A process of its own, for it forks: each run begins without a fresh import.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from labeling.toy import content, label, make_photos

from maskwright.io.records import RecordWriter

STEPS: list[tuple[Any, str]] = [
    (Path, "touch"),
    (os, "fsync"),
    (Path, "replace"),
    (Path, "unlink"),
    (RecordWriter, "append"),
]


# pyarrow imports it, where there is one, with the first table: a third of a second that no fork then pays.
with suppress(ImportError):
    import_module("pandas")


def arm(fatal: int) -> None:
    """Die before the step numbered `fatal`, which is after the one before it."""
    counted = 0

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def counting(*arguments: Any, **options: Any) -> Any:
            nonlocal counted
            counted += 1
            if counted == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        setattr(owner, name, counting)

    for owner, name in STEPS:
        wrap(owner, name)


def in_child(work: Any) -> int:
    """Run in a fork and return how it ended: 0, or the number of a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def main(root: Path) -> None:
    # What a killed process has written is in the system's memory; waiting for the disk shows nothing here.
    os.fsync = lambda fd: None
    photos = make_photos(root / "photos", 3, bad=[2])
    # A set of other photos lies there, so that deleting it is among the steps.
    old = root / "old"
    assert in_child(lambda: label(old, make_photos(root / "others", 1))) == 0
    whole, out = root / "whole", root / "out"
    assert in_child(lambda: label(whole, photos)) == 0
    expected = content(whole)

    def doomed(fatal: int) -> None:
        arm(fatal)
        label(out, photos, overwrite=True)

    for fatal in range(1, 100):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(old, out)
        ended = in_child(partial(doomed, fatal))
        if ended == 0:
            sys.stdout.write(f"{fatal - 1}\n")
            return
        assert ended == -signal.SIGKILL, (fatal, ended)
        # As long as the old ledger is there, the user must say --overwrite again.
        again = content(out).get("ledger.jsonl") == content(old)["ledger.jsonl"]
        assert in_child(partial(label, out, photos, overwrite=again)) == 0, fatal
        assert content(out) == expected, (fatal, sorted(content(out)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
