"""The demo: its photos are there, every mode answers, and the report is whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from tiny import save_tiny_boundary, save_tiny_heads, save_tiny_model

from maskwright.cli.main import main
from maskwright.report import demo_photos
from maskwright.report.demo import rough_mask
from maskwright.report.demo_photos import PHOTOS

MODES = ["box", "click", "clicks", "corrected", "mask", "several", "hq_off", "hq_only"]


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.name)
def test_prompts_lie_inside_their_photos(photo: demo_photos.DemoPhoto) -> None:
    height, width = photo.read().size
    for x0, y0, x1, y1 in (photo.box, *photo.parts.values()):
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
    x0, y0, x1, y1 = photo.box
    for (x, y), label in ((photo.click, 1), *photo.clicks):
        assert 0 <= x < width
        assert 0 <= y < height
        if label == 1:
            assert x0 <= x < x1
            assert y0 <= y < y1


def test_the_command_writes_a_page_figures_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tiny_model(tmp_path)
    save_tiny_heads(model)
    monkeypatch.setattr(demo_photos, "PHOTOS", PHOTOS[1:2])
    boundary = save_tiny_boundary(tmp_path / "boundary.safetensors")
    words = ["--model", str(model), "--boundary-model", str(boundary), "--quiet"]
    assert main(["demo", "--out", str(tmp_path / "demo"), *words]) == 0

    content = json.loads((tmp_path / "demo/report.json").read_text())
    assert content["model"]["family"] == "nano"
    # The name of the build, such as +cu130, may be missing in what is installed.
    assert torch.__version__.startswith(content["versions"]["torch"])
    (photo,) = content["photos"]
    assert (photo["name"], photo["height"], photo["width"]) == ("cat", 300, 451)
    assert [mode["mode"] for mode in photo["modes"]] == MODES
    for mode in photo["modes"]:
        assert mode["ms"] > 0
        assert len(mode["predicted_iou"]) == len(mode["area"]) == (3 if mode["mode"] == "several" else 1)
        assert len(mode["quality"]) == len(mode["area"])
        for picture in mode["pictures"]:
            with PILImage.open(tmp_path / "demo" / picture["file"]) as opened:
                assert max(opened.size) == 760
    page = (tmp_path / "demo/report.html").read_text()
    scene = content["one_shot"]
    assert (scene["reference"], scene["test"]) == ("motorcycle_left.png", "motorcycle_right.png")
    assert scene["similarity"] is None or scene["threshold"] <= scene["similarity"] <= 1
    assert page.count("data:image/jpeg") == 1 + 2 + 3 + sum(len(mode["pictures"]) for mode in photo["modes"])
    assert (tmp_path / "demo/pictures/one-shot-2.jpg").is_file()
    (cut,) = content["everything"]
    assert 1 <= cut["segments"] <= cut["finest"]
    assert (tmp_path / "demo/pictures/cat-everything-3.jpg").is_file()
    assert "Cat" in page
    assert "quality" in page


def test_a_missing_model_is_said_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.safetensors"
    assert main(["demo", "--out", str(tmp_path / "demo"), "--model", str(missing)]) == 1
    assert "none.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_a_rough_mask_is_inside_what_it_was_made_of_or_an_ellipse() -> None:
    mask = np.zeros((100, 160), np.bool_)
    mask[20:80, 30:120] = True
    rough, origin = rough_mask(mask, (30, 20, 120, 80))
    assert 0 < (rough & mask).sum() <= mask.sum()
    assert rough.sum() < mask.sum()
    assert "shrunken" in origin
    ellipse, origin = rough_mask(np.zeros_like(mask), (30, 20, 120, 80))
    assert "ellipse" in origin
    assert abs(ellipse.sum() / (90 * 60) - np.pi / 4) < 0.02
