"""`maskwright uncertainty`: which masks are wrong, and why."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import cast

from maskwright.cli.commands import dispatch

COMMANDS: dict[str, tuple[str, str]] = {
    "extract": ("maskwright.cli.uncertainty_extract", "Tokens and measures of masks, of which heads learn."),
    "container": ("maskwright.cli.uncertainty_container", "One training set of several extractions."),
    "review": ("maskwright.cli.uncertainty_review", "List the masks of a labelled set by risk."),
    "calibrate": ("maskwright.cli.uncertainty_calibrate", "Guarantees: which masks to keep, for which risk."),
}
"""Command name: module whose `main(argv) -> exit code` runs it, and one line of help."""


def main(argv: list[str]) -> int:
    """Run `maskwright uncertainty …` and return its exit code."""
    table = {name: (partial(_run, module), text) for name, (module, text) in COMMANDS.items()}
    return dispatch("maskwright uncertainty", "Know which masks are wrong, and why.", table, argv)


def _run(module: str, argv: list[str]) -> int:
    return cast(int, import_module(module).main(argv))
