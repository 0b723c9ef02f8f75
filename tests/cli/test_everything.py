"""`maskwright everything`: what a new user finds in the folder, and what a killed run leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImages
from tiny import photo, save_tiny_boundary, save_tiny_model

from maskwright import runtime
from maskwright.cli.main import main
from maskwright.export.labels import read_labels
from maskwright.io.masks import read_label_map
from maskwright.io.rle import RLE
from maskwright.methods.everything.cut import Cut, cut
from maskwright.methods.everything.hierarchy import Hierarchy
from maskwright.methods.everything.settings import CutSettings
from maskwright.models.boundary_files import load_boundary
from maskwright.report.everything import BoundaryFinder
from maskwright.types import FloatArray


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_boundary(tmp_path_factory.mktemp("model") / "outlines.safetensors")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    PILImages.fromarray(photo(48, 70, 1)).save(folder / "a.png")
    gray = photo(33, 40, 2)[..., 0].astype(np.uint16) * 257
    PILImages.fromarray(gray).save(folder / "more" / "b.png")
    return folder


def everything(*words: str | Path) -> int:
    return main(["everything", *map(str, words), "--quiet"])


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_the_segments_of_a_folder_cover_every_pixel_once(photos: Path, model: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "out", tmp_path / "out.json"
    code = everything(photos, "--model", model, "--level", "0.2", "--out", out, "--json", told)
    assert code == 0
    result = read(told)
    assert result["n"] == 2
    assert [image["path"] for image in result["images"]] == ["a.png", "more/b.png"]
    for image in result["images"]:
        size = (image["height"], image["width"])
        masks = [
            RLE(tuple(one["segmentation"]["size"]), one["segmentation"]["counts"])
            for one in image["segments"]
        ]
        assert (np.sum([mask.decode() for mask in masks], axis=0) == 1).all()
        labels = read_label_map(out / image["labels"])
        for number, mask in enumerate(masks, start=1):
            assert np.array_equal(mask.decode(), labels == number)
        assert set(image["seconds"]) == {"boundary", "tree", "segments", "masks"}
        assert all(0 <= one["strength"] <= 1 for one in image["segments"])
        tree = Hierarchy.load(out / image["tree"])
        assert np.array_equal(tree.at(0.2).labels, labels)
        boundary = np.asarray(PILImages.open(out / image["boundary"]))
        assert boundary.shape == labels.shape == size
        for picture in ("overlay", "tree_picture"):
            assert np.asarray(PILImages.open(out / image[picture])).ndim == 3
    [first, second] = read_labels(out / "coco.json")
    assert len(first.masks) == len(result["images"][0]["segments"])
    assert len(second.masks) == len(result["images"][1]["segments"])


def test_a_budget_a_threshold_and_no_pictures(photos: Path, model: Path, tmp_path: Path) -> None:
    told = tmp_path / "out.json"
    words = (photos / "a.png", "--model", model, "--pictures", "no", "--json", told)
    assert everything(*words, "--level", "0", "--segments", "3", "--out", tmp_path / "few") == 0
    assert len(read(told)["images"][0]["segments"]) == 3
    assert not (tmp_path / "few" / "overlays").exists()
    assert everything(*words, "--threshold", "1", "--out", tmp_path / "one") == 0
    [segment] = read(told)["images"][0]["segments"]
    assert segment["strength"] == 1


def test_the_grid_gives_the_same_files(photos: Path, tmp_path: Path) -> None:
    told = tmp_path / "out.json"
    flags = ("--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--points-per-side", "3")
    words = (photos / "a.png", "--method", "grid", "--model", save_tiny_model(tmp_path), *flags)
    assert everything(*words, "--out", tmp_path / "out", "--json", told) == 0
    [image] = read(told)["images"]
    assert image["segments"]
    assert set(image["segments"][0]) >= {"segmentation", "score", "stability"}
    assert set(image["seconds"]) == {"grid"}
    areas = [RLE((48, 70), one["segmentation"]["counts"]).area for one in image["segments"]]
    assert areas == sorted(areas, reverse=True)
    # The smallest mask over a pixel is the one that the label map shows.
    smallest = RLE((48, 70), image["segments"][-1]["segmentation"]["counts"]).decode()
    assert (read_label_map(tmp_path / "out" / image["labels"])[smallest] == len(areas)).all()
    for name in ("boundary", "tree", "overlay", "tree_picture"):
        assert (tmp_path / "out" / image[name]).is_file()


def test_a_run_goes_on_where_it_was_killed(photos: Path, model: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = (photos, "--model", model)
    assert everything(*words, "--out", whole) == 0
    assert everything(*words, "--out", parts) == 0
    records = (parts / "results.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    # As a kill within the second record leaves it, before the labels are written.
    (parts / "results.jsonl").write_text(records[0] + records[1][:40], encoding="utf-8")
    (parts / "coco.json").unlink()
    told = tmp_path / "out.json"
    assert everything(*words, "--out", parts, "--json", told) == 0
    assert read(told)["skipped"] == 1
    assert (parts / "coco.json").read_bytes() == (whole / "coco.json").read_bytes()
    assert everything(*words, "--level", "0.3", "--out", parts) == 2
    assert everything(*words, "--level", "0.3", "--out", parts, "--overwrite") == 0


def test_a_bad_image_is_named_and_the_others_are_cut(
    photos: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:60])
    assert everything(photos, "--model", model, "--out", tmp_path / "out") == 1
    assert "broken.png" in capsys.readouterr().err
    assert len(read_labels(tmp_path / "out" / "coco.json")) == 2


def test_a_processor_that_would_emulate_bfloat16_says_so(
    photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "computes", lambda *_: False)
    told = tmp_path / "out.json"
    options = ("--device", "cpu", "--half", "--out", tmp_path / "out", "--json", told)
    assert everything(photos, "--model", model, *options) == 0
    assert "computes bfloat16 only by slow emulation" in " ".join(read(told)["warnings"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--points-per-side", "4"), "--points-per-side: only with --method grid"),
        (("--heads", "none"), "--heads: only with --method grid"),
        (("--method", "grid", "--level", "0.3", "--half"), "--level, --half: only with --method boundary"),
        (("--level", "0.3", "--threshold", "0.3"), "either --level or --threshold"),
        (("--level", "7"), "--level"),
        (("--resolution", "0"), "error: --resolution must be at least 1"),
        (("--tile", "0"), "error: --tile must be at least 1"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(
    words: tuple[str, ...],
    message: str,
    photos: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        code = everything(photos, "--model", model, "--out", tmp_path / "out", *words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code in (1, 2)
    assert message in capsys.readouterr().err


def test_a_name_with_a_line_break_stays_on_one_line_of_the_table(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "two\nlines.png"
    PILImages.fromarray(photo(20, 24)).save(path)
    assert main(["everything", str(path), "--model", str(model), "--out", str(tmp_path / "out")]) == 0
    assert r"'two\nlines.png'" in capsys.readouterr().out
    assert main(["everything", str(path), "--model", str(model), "--out", str(tmp_path / "out")]) == 0
    assert "1 of 1 images (1 finished before)" in capsys.readouterr().out


def test_compiling_is_no_part_of_the_first_images_time(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[CutSettings] = []

    def counted(boundary: FloatArray, settings: CutSettings, seconds: dict[str, float]) -> Cut:
        calls.append(settings)
        return cut(boundary, settings, seconds)

    monkeypatch.setattr("maskwright.report.everything.cut", counted)
    settings = CutSettings(threshold=0.5, segments=2, min_area=3)
    BoundaryFinder(load_boundary(model, device="cpu"), settings)
    assert calls == [settings]
