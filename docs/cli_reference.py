"""Write docs/reference/cli.md from the commands' own `--help`: `python docs/cli_reference.py`."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from unittest.mock import patch

from maskwright.cli.main import main

PAGE = Path(__file__).parent / "reference" / "cli.md"
COLUMNS = "100"
INTRODUCTION = """\
# Command line

What every command's `--help` says; `make docs` writes this page, and a test keeps it true.

Exit codes: 0, all went well; 1, something failed (each failure is named); 2, the command line or the settings
are wrong; 130, interrupted. With `--json FILE` the result is also written as JSON, together with `failures`
and `error`, even when the command failed half-way.
"""


def render() -> str:
    """Return the page: each command's help, subcommands after their parent."""
    sections = [
        f"{'#' * (2 + len(words[1:]))} {' '.join(('maskwright', *words)).strip()}\n\n```text\n{text}```\n"
        for words, text in _helps(())
    ]
    return "\n".join([INTRODUCTION, *sections])


def _helps(words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    text = _help(words)
    yield words, text
    listed = re.search(r"^(?:commands|recipes)\b.*:\n((?:  .*\n)+)", text, re.MULTILINE)
    for name in re.findall(r"^  (\S+)", listed[1] if listed else "", re.MULTILINE):
        yield from _helps((*words, name))


def _help(words: tuple[str, ...]) -> str:
    """The output of one `--help`, without the spaces that pad its lines."""
    out = io.StringIO()
    # Fixed width and no colours, whatever terminal this runs on.
    with patch.dict(os.environ, COLUMNS=COLUMNS, NO_COLOR="1"), redirect_stdout(out), suppress(SystemExit):
        main([*words, "--help"])
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
