"""Options, exit codes, `--json` and progress, as every command has them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from maskwright.cli import common
from maskwright.cli.common import Common, Positional, Session, parse, plain, run
from maskwright.errors import ConfigError, InputError


@dataclass(frozen=True, kw_only=True)
class Count(Common):
    """Count things."""

    folder: Positional[Path]
    """Where they are."""
    pattern: str = "*"
    """Which of them."""


def work_of(error: BaseException | None = None) -> Callable[[Count, Session], None]:
    def work(options: Count, session: Session) -> None:
        session.result["n"] = 3
        session.print(f"counted {options.pattern}")
        if error is not None:
            raise error

    return work


def options(tmp_path: Path, *more: str) -> Count:
    argv = [str(tmp_path), "--json", str(tmp_path / "out.json"), *more]
    parsed = parse(Count, argv, prog="maskwright count")
    assert isinstance(parsed, Count)
    return parsed


def written(tmp_path: Path) -> dict[str, object]:
    content = json.loads((tmp_path / "out.json").read_text())
    assert isinstance(content, dict)
    return content


def test_options_are_parsed_and_shared(tmp_path: Path) -> None:
    parsed = options(tmp_path, "--seed", "7", "--device", "cpu", "--quiet", "--pattern", "*.png")
    assert parsed == Count(
        json=tmp_path / "out.json", device="cpu", seed=7, quiet=True, folder=tmp_path, pattern="*.png"
    )


def test_unknown_flag_is_a_usage_error_with_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(Count, ["here", "--patern", "x"], prog="maskwright count")
    assert stop.value.code == 2
    assert "--pattern" in capsys.readouterr().err


def test_success_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(options(tmp_path), work_of()) == 0
    assert written(tmp_path) == {"n": 3, "failures": [], "error": None}
    assert capsys.readouterr().out == "counted *\n"


def test_brackets_in_names_are_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(options(tmp_path, "--pattern", "[red] [/x] [1].png"), work_of(InputError("[red] is bad"))) == 1
    shown = capsys.readouterr()
    assert "counted [red] [/x] [1].png" in shown.out
    assert "error: [red] is bad" in shown.err


def test_errors_keep_their_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(options(tmp_path), work_of(InputError("it looks like this:\n  a/\n    b.png")))
    assert capsys.readouterr().err == "error: it looks like this:\n  a/\n    b.png\n"


def test_quiet_prints_nothing_but_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(options(tmp_path, "--quiet"), work_of(InputError("no such thing"))) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: no such thing\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("wrong\n  prompt"), 1), (ConfigError("a contradicts b"), 2), (KeyboardInterrupt(), 130)],
)
def test_user_errors_are_printed_and_keep_the_partial_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    assert run(options(tmp_path), work_of(error)) == code
    content = written(tmp_path)
    assert content["n"] == 3
    assert content["error"] == (str(error) or "interrupted")
    prefix = "error: " if str(error) else "interrupted"
    assert capsys.readouterr().err == f"{prefix}{error}\n"


def test_programming_errors_are_raised_after_the_result_is_written(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run(options(tmp_path), work_of(ZeroDivisionError()))
    assert written(tmp_path)["error"]


def test_failed_items_are_named_and_end_with_code_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: Count, session: Session) -> None:
        session.fail("a[red].png", "it is empty")
        session.fail(Path("b.png"), InputError("b.png is truncated"))

    assert run(options(tmp_path), work) == 1
    failures = [
        {"item": "a[red].png", "reason": "it is empty"},
        {"item": "b.png", "reason": "b.png is truncated"},
    ]
    assert written(tmp_path)["failures"] == failures
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["error: a[red].png: it is empty", "error: b.png is truncated"]
    assert "2 failed" in lines[2]


def test_result_that_cannot_be_written_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "out.json"
    assert run(Count(folder=tmp_path, json=target), work_of()) == 1
    assert "could not be written" in capsys.readouterr().err


def test_the_folder_of_the_result_is_made(tmp_path: Path) -> None:
    assert run(options(tmp_path, "--json", str(tmp_path / "new" / "out.json")), work_of()) == 0
    assert json.loads((tmp_path / "new" / "out.json").read_text())["n"] == 3


def test_progress_off_a_terminal_is_plain_and_rare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(Count(folder=tmp_path))
    assert list(session.track(range(3), "counting")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(common, "PLAIN_PROGRESS_SECONDS", 0.0)
    assert list(session.track(iter("ab"), "counting")) == ["a", "b"]
    assert capsys.readouterr().err == "counting: 1\ncounting: 2\n"
    clock = iter([0.0, 60.0, 100.0, 300.0])
    monkeypatch.setattr("maskwright.cli.common.time.monotonic", lambda: next(clock))
    assert list(session.track("abc", "counting")) == ["a", "b", "c"]
    lines = ["1 of 3, 2 min 00 s left", "2 of 3, 50 s left", "3 of 3, 0 s left"]
    assert capsys.readouterr().err == "".join(f"counting: {line}\n" for line in lines)
    quiet = Session(Count(folder=tmp_path, quiet=True))
    assert list(quiet.track(range(2), "counting")) == [0, 1]
    assert capsys.readouterr().err == ""


def test_plain_values() -> None:
    value = {
        1: np.float32(0.5),
        "path": Path("a/b"),
        "list": (np.arange(2), torch.ones(1), {True}),
        "nan": [math.nan, np.array([math.inf, 1.0])],
    }
    assert plain(value) == {
        "1": 0.5,
        "path": str(Path("a/b")),
        "list": [[0, 1], [1.0], [True]],
        "nan": [None, [None, 1.0]],
    }
