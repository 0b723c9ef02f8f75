"""`maskwright track` and `maskwright evaluate video` from arguments to files, tables, JSON and exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from methods.video.clips import make_clip, scene
from tiny import save_tiny_model

from maskwright.cli.main import main
from maskwright.io.masks import read_label_map


def run(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    target = tmp_path / "result.json"
    code = main([*arguments, "--json", str(target), "--device", "cpu"])
    return code, json.loads(target.read_text())


@pytest.fixture
def data(tmp_path: Path) -> str:
    make_clip(tmp_path / "davis", "b", make=lambda number: np.minimum(scene(number), 1), count=6)
    return f"davis2017:{make_clip(tmp_path / 'davis', 'a')}"


def test_evaluate_tracks_scores_and_shows(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny_model(tmp_path)
    command = ["evaluate", "video", "--data", data, "--model", str(model), "--out", str(tmp_path / "out")]
    pictures = ["--pictures", str(tmp_path / "pictures"), "--markdown", str(tmp_path / "tables.md")]
    code, result = run(tmp_path, *command, *pictures)
    assert code == 0, capsys.readouterr().err
    assert {"jf_mean", "j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay"} <= set(result)
    assert {name: list(video["objects"]) for name, video in result["sequences"].items()} == {
        "a": ["1", "2", "3"],
        "b": ["1"],
    }
    assert (result["n"], result["skipped"]) == (4, 0)
    assert result["tracker"].startswith("previous-mask")
    assert result["seconds_per_frame"] > 0
    out = capsys.readouterr().out
    assert "J&F" in out
    assert "each object" in out
    assert (tmp_path / "tables.md").read_text().count("| all |") == 1
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {"report.html", *(f"{name}-{kind}.png" for name in "ab" for kind in ("curve", "frames"))}
    assert "<h2>a</h2>" in (tmp_path / "pictures/report.html").read_text()
    # The same command again tracks nothing, and the same label maps can be scored by themselves.
    again = run(tmp_path, *command)[1]
    assert again["skipped"] == 2
    assert again["sequences"] == result["sequences"]
    code, scored = run(tmp_path, "evaluate", "video", "--data", data, "--results", str(tmp_path / "out"))
    assert code == 0
    assert scored["sequences"] == result["sequences"]
    assert "tracker" not in scored


def test_only_sequences_with_results_are_scored_and_holes_are_errors(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(tmp_path, "evaluate", "video", "--data", data, "--tracker", "copy", "--out", str(out))[0] == 0
    for path in (out / "a").iterdir():
        path.unlink()
    (out / "a").rmdir()
    code, result = run(tmp_path, "evaluate", "video", "--data", data, "--results", str(out))
    assert (code, list(result["sequences"])) == (0, ["b"])
    (out / "b/00002.png").unlink()
    code, result = run(tmp_path, "evaluate", "video", "--data", data, "--results", str(out))
    assert code != 0
    assert "lacks 00002.png of 4 frames" in capsys.readouterr().err
    assert [failure["item"] for failure in result["failures"]] == ["b"]


@pytest.mark.parametrize("given", [[], ["--out", "x", "--results", "y"]])
def test_either_out_or_results(data: str, tmp_path: Path, given: list[str]) -> None:
    code, result = run(tmp_path, "evaluate", "video", "--data", data, *given)
    assert code == 2
    assert "--out DIR" in result["error"]


def test_a_bad_frame_ends_with_code_1_and_the_rest_is_scored(data: str, tmp_path: Path) -> None:
    bad = tmp_path / "davis/JPEGImages/480p/a/00003.png"
    bad.write_bytes(b"no image")
    code, result = run(
        tmp_path, "evaluate", "video", "--data", data, "--tracker", "copy", "--out", str(tmp_path / "out")
    )
    assert code == 1
    assert str(bad) in [failure["item"] for failure in result["failures"]]
    assert list(result["sequences"]) == ["b"]


def test_track_follows_a_users_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_clip(tmp_path / "davis")
    frames, mask = root / "JPEGImages/480p/squares", root / "Annotations/480p/squares/00000.png"
    command = ["track", str(frames), "--mask", str(mask), "--out", str(tmp_path / "out"), "--tracker", "copy"]
    code, result = run(tmp_path, *command)
    assert (code, result["skipped"]) == (0, 0)
    assert "8 frames" in capsys.readouterr().out
    assert (read_label_map(tmp_path / "out/squares/00007.png") == scene(0)).all()
    assert run(tmp_path, *command)[1]["skipped"] == 1
    assert run(tmp_path, *command, "--overwrite")[1]["skipped"] == 0


def test_track_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_clip(tmp_path / "davis")
    frames = str(root / "JPEGImages/480p/squares")
    out = ["--out", str(tmp_path / "out"), "--tracker", "copy"]
    code, result = run(tmp_path, "track", frames, "--mask", str(tmp_path / "no.png"), *out)
    assert code == 1
    assert "no.png" in str(result)
    mask = str(root / "Annotations/480p/squares/00000.png")
    code, result = run(tmp_path, "track", frames, "--mask", mask, "--out", str(tmp_path), "--tracker", "cpoy")
    assert code == 2
    assert "Did you mean 'copy'" in result["error"]
