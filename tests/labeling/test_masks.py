"""`maskwright label masks`: what can be read back of either format, and flags that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from tiny import save_tiny_model

from maskwright.cli.main import main
from maskwright.data.registry import open_dataset

LOOSE = ("--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--points-per-side", "2")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A wide colour photo, a tall deep grey one, and, in a folder, a tiny one."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos/sub").mkdir(parents=True)
    wide = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    tall = rng.integers(0, 65536, (50, 30), dtype=np.uint16)
    PILImage.fromarray(wide).save(tmp_path / "photos/wide.png")
    PILImage.fromarray(tall).save(tmp_path / "photos/tall.png")
    PILImage.fromarray(wide[:3, :5]).save(tmp_path / "photos/sub/tiny.png")
    return tmp_path / "photos"


def test_both_formats_hold_the_same_masks(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ("--model", str(save_tiny_model(tmp_path)), "--device", "cpu", "--quiet", *LOOSE)
    assert main(["label", "masks", "photos", "--out", "rows", *given]) == 0
    assert main(["label", "masks", "photos", "--out", "json", "--format", "sa1b", *given]) == 0
    everything = "min_ratio=0&max_ratio=1"
    rows = open_dataset(f"labelled:rows?{everything}")
    texts = open_dataset(f"sa1b:json/sa1b?images={photos}&{everything}")
    assert len(rows) == len(texts) == 3
    for index in range(3):
        [other] = [k for k in range(3) if texts.image_path(k).name == rows.image_path(index).name]
        assert np.array_equal(rows[index].masks, texts[other].masks)
    assert sum(len(rows[index].masks) for index in range(3))


def test_thresholds_that_leave_no_mask_are_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--model", str(save_tiny_model(tmp_path)), "--device", "cpu", "--points-per-side", "2")
    out = ("--out", str(tmp_path / "set"), "--json", str(tmp_path / "r.json"))
    assert main(["label", "masks", str(photos), *out, *given, "--pred-iou-thresh", "2"]) == 0
    error = capsys.readouterr().err
    assert "no mask was kept in any photo. They need a predicted IoU above 2.0 (--pred-iou-thresh)" in error
    assert len(json.loads((tmp_path / "r.json").read_text())["warnings"]) == 1


def test_settings_that_cannot_be_are_named_by_their_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["label", "masks", "x", "--out", str(tmp_path / "y"), "--points-per-side", "0"])
    assert "--points-per-side: Input should be greater than 0" in capsys.readouterr().err
    assert not (tmp_path / "y").exists()
