"""What is told before a training that may not be meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from methods.interactive.scene import alternating_settings, make_machine, make_world, sum_settings

from maskwright.cli.main import main
from maskwright.methods.interactive.alternating import AlternatingSUM
from maskwright.methods.interactive.method import SUM


def test_labels_without_uncertainty_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path / "world")
    raw = (str(make_machine(tmp_path / "raw", refined=False)),)
    for method in (
        SUM(sum_settings(world, unlabeled=raw)),
        AlternatingSUM(alternating_settings(world, unlabeled=raw)),
    ):
        [message] = method.warnings()
        assert message.startswith(f"{raw[0]} has no uncertainty maps")
        assert "maskwright label refine" in message
    off = {"use_uncertainty_loss": False, "use_uncertainty_clicks": False}
    assert not SUM(sum_settings(world, unlabeled=raw, **off)).warnings()
    assert not SUM(sum_settings(world)).warnings()
    given = ["--model", str(world / "nano.safetensors"), "--labeled", f"labels:{world / 'human'}"]
    short = ["--steps", "1", "--batch-size", "1", "--accumulate", "1", "--rounds", "1", "--val-share", "0"]
    out = ["--device", "cpu", "--out", str(tmp_path / "run"), "--min-refine-ratio", "1"]
    assert main(["train", "sum", "--unlabeled", *raw, *given, *short, *out]) == 0
    assert "has no uncertainty maps" in " ".join(capsys.readouterr().err.split())
