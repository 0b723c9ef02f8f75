"""The command table: help, version, unknown names."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

import maskwright
from maskwright.cli.main import COMMANDS, main


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
    assert main([]) == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"maskwright {maskwright.__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"), [("segmnt", "'segment'"), ("--versoin", "--help"), ("x", "--help")]
)
def test_unknown_word_is_a_usage_error(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("module", [module for module, _ in COMMANDS.values()])
def test_every_command_has_its_module(module: str) -> None:
    assert find_spec(module) is not None


def test_the_rest_of_the_words_reaches_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("maskwright.cli.doctor")
    seen: list[list[str]] = []

    def record(argv: list[str]) -> int:
        seen.append(argv)
        return 5

    monkeypatch.setattr(fake, "main", record, raising=False)
    monkeypatch.setitem(sys.modules, "maskwright.cli.doctor", fake)
    assert main(["doctor", "--json", "x"]) == 5
    assert seen == [["--json", "x"]]


def test_interruption_gives_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake = ModuleType("maskwright.cli.doctor")

    def interrupt(argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(fake, "main", interrupt, raising=False)
    monkeypatch.setitem(sys.modules, "maskwright.cli.doctor", fake)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m maskwright segment --help | head -n 1"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert result.returncode in (0, 141)
    assert "usage: maskwright segment" in result.stdout
    assert result.stderr == ""
