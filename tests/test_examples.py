"""The examples run from start to end, on tiny data made here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import REPOSITORY

from maskwright.io.images import read_image, write_png
from maskwright.io.masks import read_label_map, write_mask
from maskwright.models.hub import local_file

sys.path.insert(0, str(REPOSITORY / "examples"))
import fine_tune_nuclei
import nuclei_labels


def make_cells(root: Path, count: int) -> None:
    """Gray images of bright discs, and their label maps."""
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        pixels = rng.normal(60, 5, (64, 64, 3)).clip(0, 255).astype(np.uint8)
        labels = np.zeros((64, 64), np.uint8)
        for label, (x, y) in enumerate(((16, 18), (44, 40)), 1):
            radius = int(rng.integers(6, 11))
            cv2.circle(pixels, (x, y), radius, (200, 190, 210), -1)
            cv2.circle(labels, (x, y), radius, (label,), -1)
        write_png(root / "images" / f"{index}.png", pixels)
        write_png(root / "labels" / f"{index}.png", labels)


@pytest.mark.slow
def test_fine_tuning_on_nuclei(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if local_file("nano") is None:
        pytest.skip("the packaged model is not there")
    make_cells(tmp_path / "cells", 5)
    out = tmp_path / "out"
    command = ["fine_tune_nuclei.py", "--data", str(tmp_path / "cells"), "--out", str(out), "--steps", "1"]
    monkeypatch.setattr(sys, "argv", command)
    assert fine_tune_nuclei.main() == 0
    rows = json.loads((out / "figures.json").read_text(encoding="utf-8"))["results"]
    assert {row.get("model") or row["baseline"] for row in rows} >= {"nano", "ellipse", "grabcut"}
    assert {row["n"] for row in rows} == {2}, "a fifth of five images, two cells each"
    assert read_image(out / "before_after_0.png").size[1] > 4 * 64


def test_a_folder_an_image_becomes_photos_and_label_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "stage1_train", tmp_path / "set"
    for name in ("a", "empty", "torn"):
        (source / name / "images").mkdir(parents=True)
        (source / name / "masks").mkdir()
        write_png(source / name / "images" / f"{name}.png", np.full((6, 8, 3), 90, np.uint8))
    for k, columns in enumerate((slice(0, 3), slice(5, 8))):
        mask = np.zeros((6, 8), bool)
        mask[1:4, columns] = True
        write_mask(source / "a" / "masks" / f"{k}.png", mask)
    (source / "torn" / "images" / "torn.png").write_bytes(b"no image")
    monkeypatch.setattr(sys, "argv", ["nuclei_labels.py", str(source), str(out)])
    assert nuclei_labels.main() == 1
    told = capsys.readouterr()
    assert "torn.png" in told.err
    assert "2 of 3 images" in told.out
    labels = read_label_map(out / "labels" / "a.png")
    assert labels[2].tolist() == [1, 1, 1, 0, 0, 2, 2, 2]
    assert not read_label_map(out / "labels" / "empty.png").any()
    assert sorted(path.name for path in (out / "images").iterdir()) == ["a.png", "empty.png"]


def test_a_folder_without_images_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nuclei_labels.py", str(tmp_path / "nothere"), str(tmp_path / "set")])
    with pytest.raises(SystemExit, match="2"):
        nuclei_labels.main()
    assert "nothere holds no folder with images/ in it" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
