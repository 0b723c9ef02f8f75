"""What uncertainty heads tell of each mask, through every command that makes masks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.tiny import tiny
from PIL import Image as PILImage
from tiny import random_heads, save_tiny_heads, save_tiny_model

import maskwright
from maskwright.cli import doctor
from maskwright.cli.main import main
from maskwright.export.labels import read_labels
from maskwright.io.label_shards import read_masks
from maskwright.io.weights import sha256
from maskwright.models import hub
from maskwright.models.sam import SAM
from maskwright.models.segmenter import Segmenter
from maskwright.models.uncertainty import ENDING, VALUES, UncertaintyHeads

LOOSE = ("--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--points-per-side", "2")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with heads beside it, and other heads in others.safetensors."""
    file = save_tiny_model(tmp_path_factory.mktemp("model"))
    save_tiny_heads(file)
    save_tiny_heads(file, file.with_name("others.safetensors"), seed=1)
    return file


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name, size in {"tall.png": (50, 30), "wide.png": (40, 60)}.items():
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        PILImage.fromarray(pixels).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def run(*arguments: str | Path) -> int:
    return main(list(map(str, arguments)))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_segment_tells_the_uncertainty_of_every_mask(
    photos: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, result = tmp_path / "out", tmp_path / "r.json"
    given = ("--point", "50%,50%", "--multimask", "--model", model)
    formats = ("--format", "coco", "--format", "geojson", "--format", "labelstudio")
    assert run("segment", photos, *given, "--out", out, *formats, "--json", result) == 0
    printed = capsys.readouterr().out
    for title in ("quality", "model gap", "prompt gap", "task gap"):
        assert title in printed
    content = read(result)
    segmenter = maskwright.load(model, device="cpu")
    assert segmenter.heads is not None
    assert content["heads"] == read(out / "run.json")["heads"] == segmenter.heads.digest()
    coco = {label.path: label for label in read_labels(out / "coco.json")}
    for record in content["images"]:
        height, width = record["height"], record["width"]
        masks = segmenter(photos / record["path"], points=[[[width / 2, height / 2]]], multimask=True)
        features = read(out / "geojson" / f"{record['path']}.geojson")["features"]
        assert [(mask["prompt"], mask["choice"]) for mask in record["masks"]] == [(0, 0), (0, 1), (0, 2)]
        for name in VALUES:
            expected = pytest.approx(masks.extras[name].flatten().tolist(), abs=1e-5)
            assert [mask[name] for mask in record["masks"]] == expected
            assert list(coco[record["path"]].extra[name]) == expected
            assert [feature["properties"][name] for feature in features] == expected
        assert [mask["score"] for mask in record["masks"]] == record["scores"]
    [first, *_] = read(out / "labelstudio.json")
    [told, *_] = content["images"][0]["masks"]
    notes = [f"{name} {told[name]:.3f}" for name in VALUES]
    assert first["predictions"][0]["result"][0]["meta"] == {"text": notes}


def test_other_heads_are_another_run(
    photos: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, result = tmp_path / "out", tmp_path / "r.json"
    given = ("segment", photos, "--point", "9,9", "--model", model, "--out", out, "--json", result)
    assert run(*given) == 0
    assert run(*given) == 0
    others = model.with_name("others.safetensors")
    assert run(*given, "--heads", others) == 2
    assert "heads was" in capsys.readouterr().err
    assert run(*given, "--heads", "none") == 2
    assert run(*given, "--heads", "none", "--overwrite") == 0
    assert read(result)["heads"] is None
    assert "quality" not in read(result)["images"][0]["masks"][0]
    assert run(*given, "--heads", others, "--overwrite") == 0
    assert read(result)["heads"] == UncertaintyHeads.load(others).digest()
    assert run(*given, "--heads", tmp_path / "missing.safetensors") == 1


def test_a_run_from_before_there_were_heads_goes_on(photos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ("segment", photos, "--point", "9,9", "--model", model, "--heads", "none", "--out", out)
    assert run(*given) == 0
    settings = read(out / "run.json")
    del settings["heads"]
    (out / "run.json").write_text(json.dumps(settings))
    assert run(*given) == 0


def test_labels_keep_what_the_heads_tell(photos: Path, model: Path, tmp_path: Path) -> None:
    given = ("label", "masks", photos, "--model", model, "--device", "cpu", "--quiet", *LOOSE)
    assert run(*given, "--out", tmp_path / "rows") == 0
    assert read(tmp_path / "rows/set.json")["version"] == 2
    rows = read_masks(tmp_path / "rows/masks/00000.parquet")
    assert rows
    assert all(row.quality is not None and 0 <= row.quality <= 1 for row in rows)
    assert all(-0.5 <= getattr(row, name) <= 0.5 for row in rows for name in VALUES[1:])
    assert run(*given, "--out", tmp_path / "json", "--format", "sa1b") == 0
    for name in ("tall", "wide"):
        annotations = read(tmp_path / f"json/sa1b/{name}.json")["annotations"]
        mine = [row for row in rows if row.image.startswith(name)]
        assert [[one[key] for key in VALUES] for one in annotations] == [
            [getattr(row, key) for key in VALUES] for row in mine
        ]
    assert run(*given, "--out", tmp_path / "rows", "--heads", "none") == 2
    middle = sorted(row.quality or 0 for row in rows)[len(rows) // 2]
    best = ("--out", tmp_path / "best", "--min-quality", str(middle), "--box-nms-thresh", "1")
    assert run(*given, *best) == 0
    kept = read_masks(tmp_path / "best/masks/00000.parquet")
    assert kept
    assert all((row.quality or 0) >= middle for row in kept)
    labelled = maskwright.open_dataset(f"labelled:{tmp_path / 'rows'}?min_ratio=0&max_ratio=1")
    assert sum(len(sample.masks) for sample in labelled) == len(rows)


def test_labels_without_heads_are_as_they_were(
    photos: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("label", "masks", photos, "--model", model, "--device", "cpu", "--quiet", *LOOSE)
    out = tmp_path / "set"
    assert run(*given, "--out", out, "--heads", "none") == 0
    record = read(out / "set.json")
    assert record["version"] == 1
    assert "heads" not in record
    assert "min_quality" not in record["settings"]
    assert all(row.quality is None for row in read_masks(out / "masks/00000.parquet"))
    assert run(*given, "--out", tmp_path / "x", "--heads", "none", "--min-quality", "0.5") == 1
    assert "no uncertainty heads that tell the quality" in capsys.readouterr().err


def test_personalize_tells_the_uncertainty_of_what_it_finds(
    photos: Path, model: Path, tmp_path: Path
) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 10:40] = 255
    PILImage.fromarray(mask).save(tmp_path / "mask.png")
    reference = ("--reference", photos / "wide.png", tmp_path / "mask.png", "--threshold", "-1")
    for method in ("persam", "persam-f", "match"):
        out, result = tmp_path / method, tmp_path / f"{method}.json"
        given = ("personalize", photos, *reference, "--method", method, "--model", model)
        assert run(*given, "--out", out, "--json", result) == 0
        found = [one for record in read(result)["images"] for one in record["masks"]]
        assert found
        assert all(set(VALUES) <= set(one) for one in found)


def test_an_exported_checkpoint_keeps_its_heads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segmenter = Segmenter(tiny(SAM))
    segmenter.heads = random_heads(64, segmenter.digest).bound_to(segmenter.digest, "sam")
    file = maskwright.save(segmenter, tmp_path / "mine.safetensors")
    assert run("export", "checkpoint", file, tmp_path / "theirs.pth", "--num-heads", "2") == 0
    for argument in (
        ("models", "convert", file, tmp_path / "folder"),
        ("export", "checkpoint", file, tmp_path / "none.pth", "--heads", "none"),
    ):
        assert run(*argument) == 0
    assert not (tmp_path / "none.heads.safetensors").exists()
    for exported in ("theirs.pth", "folder"):
        again = maskwright.load(tmp_path / exported, num_heads=2, device="cpu")
        assert again.heads is not None
        assert again.heads.digest() == segmenter.heads.digest()
    strange = random_heads(64, "another").save(tmp_path / "strange.safetensors")
    assert run("export", "checkpoint", file, tmp_path / "x.pth", "--heads", strange) == 1
    assert "trained for small, mine, and not for" in capsys.readouterr().err


def test_doctor_checks_the_packaged_heads(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    assert [finding.ok for finding in doctor.check_heads()] in ([], [None], [True])
    monkeypatch.setattr(hub, "PACKAGED", model.parent)
    heads = model.with_name(f"{model.stem}{ENDING}")
    named = replace(hub.NAMED["nano"], file=model.name)
    for expected, ok in ((None, None), ("0", False), (sha256(heads), True)):
        monkeypatch.setitem(hub.NAMED, "nano", replace(named, heads_sha256=expected))
        assert [finding.ok for finding in doctor.check_heads()] == [ok]
    monkeypatch.setitem(hub.NAMED, "nano", replace(named, file="gone.safetensors", heads_sha256="0"))
    assert [finding.ok for finding in doctor.check_heads()] == [False]


def test_models_say_which_heads_they_have(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "info", model) == 0
    assert "tiny.heads.safetensors: quality, model_gap, prompt_gap, task_gap" in capsys.readouterr().out
    assert run("models", "list", "--json", tmp_path / "list.json") == 0
    assert all("heads" in row for row in read(tmp_path / "list.json")["models"])
