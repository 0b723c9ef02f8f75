"""Start-up time of the command line.

`maskwright --help`, which names every command, and the help of one command with all its options, should each
be there within 0.3 s. Beside them: that limit, as a wait; transformers' own `--help`; and what the same
machine takes to import torch, and to start Python for nothing. All but the wait are processes of their own,
from a warm disk, checked by their exit codes and by words of what they print.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from sides import OURS, Comparison

LIMIT = "wait of 0.3 s"
PYTHON = sys.executable
PEERS = {
    "transformers --help": (
        ["-c", "from transformers.cli.transformers import main; main()", "--help"],
        ("serve", "version"),
    ),
    "import torch": (["-c", "import torch; print(torch.__version__)"], (".",)),
    "Python for nothing": (["-c", "print('done')"], ("done",)),
}
"""What Python is told, and words that it then prints."""


def comparisons(quick: bool) -> Iterator[Comparison]:
    """The list of commands, and the options of one."""
    rounds = 3 if quick else 9
    yield comparison([], ("segment", "personalize", "doctor"), rounds)
    yield comparison(["segment"], ("--point", "--prompts", "--model"), rounds)


def comparison(command: list[str], words: tuple[str, ...], rounds: int) -> Comparison:
    """`maskwright … --help`, which prints these words, beside the limit and the peers."""
    told = PEERS | {OURS: (["-m", "maskwright", *command, "--help"], words)}
    sides: dict[str, Callable[[], str]] = {side: partial(output, told[side][0]) for side in (OURS, *PEERS)}
    sides[LIMIT] = wait

    def check(outputs: dict[str, str]) -> str:
        for side, (_, expected) in told.items():
            missing = [word for word in expected if word not in outputs[side]]
            assert not missing, f"{side} does not print {missing}"
        return "exit code 0, and the words expected of each"

    name = " ".join(["maskwright", *command, "--help"])
    return Comparison(name, sides, check, goals={LIMIT: 1.0}, rounds=rounds)


def output(arguments: list[str]) -> str:
    """What Python prints, to its end."""
    return subprocess.run([PYTHON, *arguments], capture_output=True, text=True, check=True).stdout


def wait() -> str:
    """Let the limit pass."""
    time.sleep(0.3)
    return ""
