"""`maskwright evaluate boundaries` from arguments to tables, JSON, pictures and exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.miniatures import SIZE, make_bsds
from PIL import Image as PILImages

from maskwright.cli.main import main


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "maps").mkdir()
    rng = np.random.default_rng(0)
    for name in ("100", "101"):
        pixels = rng.integers(0, 256, SIZE, dtype=np.uint8)
        PILImages.fromarray(pixels).save(tmp_path / f"maps/{name}.png")
    data = f"bsds500:{make_bsds(tmp_path / 'bsds')}?split=trainval"
    return ["--data", data, "--predictions", str(tmp_path / "maps"), "--thresholds", "4"]


def run(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    target = tmp_path / "result.json"
    code = main(["evaluate", "boundaries", *arguments, "--json", str(target), "--device", "cpu"])
    return code, json.loads(target.read_text())


def test_scores_shows_and_carries_on(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ["--out", str(tmp_path / "out"), "--pictures", str(tmp_path / "shown")]
    code, result = run(tmp_path, *command, *extra, "--markdown", str(tmp_path / "tables.md"))
    assert code == 0, capsys.readouterr().err
    assert {"ods", "ois", "ap", "r50", "covering", "pri", "voi", "n"} <= set(result)
    assert (result["n"], result["skipped"], list(result["images"])) == (2, 0, ["100", "101"])
    assert len(result["curve"]["recalled"]) == len(result["levels"]["covering"]) == 4
    out = capsys.readouterr().out
    assert "without non-maximum suppression" in out
    assert "ODS" in out
    assert "| covering |" in (tmp_path / "tables.md").read_text()
    assert {path.name for path in (tmp_path / "shown").iterdir()} == {
        "report.html",
        "precision.png",
        "levels.png",
    }
    again = run(tmp_path, *command, *extra)[1]
    assert again["skipped"] == 2
    assert again["curve"] == result["curve"]
    assert run(tmp_path, *command, *extra, "--suppress")[0] == 2
    assert run(tmp_path, *command, *extra, "--suppress", "--overwrite")[1]["ods"] != result["ods"]
    assert "after non-maximum suppression" in capsys.readouterr().out


def test_a_missing_map_is_named_and_the_others_are_scored(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "maps/100.png").unlink()
    code, result = run(tmp_path, *command)
    assert (code, result["n"]) == (1, 1)
    assert [failure["item"] for failure in result["failures"]] == ["100"]
    assert "no prediction of 100" in capsys.readouterr().err
    (tmp_path / "maps/101.png").unlink()
    code, result = run(tmp_path, *command)
    assert (code, "ods" in result) == (1, False)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--model", "x"],
        ["--suppress", "--no-suppress"],
        ["--resolution", "64"],
        ["--workers", "0"],
        ["--max-dist", "1.5"],
        ["--overwrite"],
    ],
)
def test_contradictions_are_refused(command: list[str], tmp_path: Path, wrong: list[str]) -> None:
    assert run(tmp_path, *command, *wrong)[0] == 2


def test_a_misspelt_folder_is_named(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [*command[:3], str(tmp_path / "map")]
    assert run(tmp_path, *wrong)[0] == 1
    assert "maps" in capsys.readouterr().err
