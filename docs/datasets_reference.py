"""Write docs/reference/datasets.md from the registry of datasets: `python docs/datasets_reference.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from maskwright.data.kinds import COMMON_OPTIONS, KINDS, Kind
from maskwright.data.options import Option

PAGE = Path(__file__).parent / "reference" / "datasets.md"
INTRODUCTION = """\
# Datasets

Every kind of dataset that is read as it comes; `make docs` writes this page from the registry, and a test
keeps it true. `maskwright data list` says the same. A dataset is given in one line,
`KIND:FOLDER?option=value&option=value`, and `maskwright data check` looks through it. Licences are short
notes, not advice: read the terms where the data come from.
"""


def render() -> str:
    """Return the page: a table of all kinds, then each one's folder and options."""
    rows = [
        f"| [`{name}`](#{name}) | {_cell(kind.task)} | {_cell(kind.images)} | {_cell(kind.licence)} |"
        for name, kind in sorted(KINDS.items())
    ]
    table = "\n".join(["| kind | task | images | licence |", "|---|---|---|---|", *rows])
    common = f"Every kind also takes:\n\n{_options(COMMON_OPTIONS)}"
    sections = [_section(name, kind) for name, kind in sorted(KINDS.items())]
    return "\n".join([INTRODUCTION, f"{table}\n", f"{common}\n", *sections])


def _section(name: str, kind: Kind) -> str:
    parts = [
        f"## {name}",
        f"{kind.summary[0].upper()}{kind.summary[1:]}.",
        f"Task: {kind.task}. Images: {kind.images}. Licence: {kind.licence}.",
        f"```text\n{dedent(kind.tree)}\n```",
    ]
    if kind.options:
        parts.append(_options(kind.options))
    return "\n\n".join(parts) + "\n"


def _options(options: Mapping[str, Option]) -> str:
    return "\n".join(f"- `{name}=`: {option.help}" for name, option in options.items())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
