"""The command `maskwright`: choose a command by its first word and import only that command's module."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib import import_module
from typing import cast

from maskwright import __version__
from maskwright.cli.commands import dispatch

COMMANDS: dict[str, tuple[str, str]] = {
    "segment": ("maskwright.cli.segment", "Cut objects out of images, from points, boxes or masks."),
    "everything": ("maskwright.cli.everything", "Cut images into all there is, without a prompt."),
    "personalize": ("maskwright.cli.personalize", "Find an object everywhere, from one photo with one mask."),
    "track": ("maskwright.cli.track", "Follow objects through a video, from their first masks."),
    "train": ("maskwright.cli.train", "Train a model by a recipe, or fine-tune one on your own data."),
    "label": ("maskwright.cli.label", "Label many photos by machine: masks of everything, in shards."),
    "uncertainty": ("maskwright.cli.uncertainty", "Know which masks are wrong, and why."),
    "evaluate": ("maskwright.cli.evaluate", "Measure a model or a baseline on a dataset."),
    "models": ("maskwright.cli.models", "List, fetch, inspect and convert models."),
    "data": ("maskwright.cli.data", "Check a dataset before training; turn stacks into masks."),
    "export": ("maskwright.cli.export", "Write labels and models for other tools."),
    "doctor": ("maskwright.cli.doctor", "Say what this machine has and whether everything works on it."),
    "demo": ("maskwright.cli.demo", "Segment real photos in every mode and write a report page."),
}
"""Command name: module whose `main(argv) -> exit code` runs it, and one line of help."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line on `argv` (default: the process's) and return the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["--version"]:
        sys.stdout.write(f"maskwright {__version__}\n")
        return 0
    table = {name: (partial(_run, module), text) for name, (module, text) in COMMANDS.items()}
    try:
        return dispatch("maskwright", "Masks that can be trusted.", table, arguments)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:  # whoever read the output, as `| head`, has seen enough
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # nothing is written at the end, either
        return 141


def _run(module: str, argv: list[str]) -> int:
    return cast(int, import_module(module).main(argv))
