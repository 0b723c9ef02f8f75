"""The documentation is true: its blocks run, its command reference is current, its links lead somewhere.

In README.md and docs/: every ```python block and every ```console block is run, page by page, in a new
folder, in order; a page's python blocks share their names. In a console block, lines that begin with `$ ` are
`maskwright` commands, and what follows them is their output, `...` standing for anything. A comment that
begins with `<!-- set-up` holds python that prepares the folder and is not shown. What cannot be run here
(hours of training, downloads) is in ```sh or ```text blocks.
"""

from __future__ import annotations

import doctest
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from conftest import REPOSITORY

from maskwright.cli.main import main
from maskwright.models.hub import local_file

sys.path.insert(0, str(REPOSITORY / "docs"))
import cli_reference
import datasets_reference

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$|^<!-- set-up\n(.*?)^-->$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def blocks(page: Path) -> list[tuple[str, str]]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(kind or "python", code or setup) for kind, code, setup in found]


def named(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=named)
def test_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if local_file("nano") is None:
        pytest.skip("the packaged model is not there, and the pages use it")
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    names: dict[str, Any] = {"__name__": "page"}
    for kind, code in blocks(page):
        if kind == "python":
            exec(compile(code, named(page), "exec"), names)
        else:
            run_console(code, capsys)


def run_console(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = COMMAND.findall(code)
    assert commands, f"no line begins with '$ ':\n{code}"
    for line, expected in commands:
        program, *argv = shlex.split(line.replace("\\\n", " "), comments=True)
        assert program == "maskwright", f"{program} is not run in the tests: use a sh block"
        capsys.readouterr()
        code_ = main(argv)
        out, err = capsys.readouterr()
        assert code_ == 0, f"$ {line}\nended with {code_}\n{err}"
        if expected.strip():
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert doctest.OutputChecker().check_output(expected, out, flags), f"$ {line}\n{out}"


def test_command_reference_is_current() -> None:
    written = cli_reference.PAGE.read_text(encoding="utf-8")
    assert written == cli_reference.render(), "out of date: run `python docs/cli_reference.py`"


def test_dataset_reference_is_current() -> None:
    written = datasets_reference.PAGE.read_text(encoding="utf-8")
    assert written == datasets_reference.render(), "out of date: run `python docs/datasets_reference.py`"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    broken = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert not broken


def test_every_page_is_in_the_navigation() -> None:
    navigation = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = set(re.findall(r"[\w/-]+\.md", navigation))
    assert listed == {str(page.relative_to(REPOSITORY / "docs")) for page in PAGES[1:]}
