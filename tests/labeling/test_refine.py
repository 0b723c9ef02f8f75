"""`maskwright label refine`: what it stores, that it resumes, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from labeling.toy import content
from methods.refine.scene import save_altered
from PIL import Image as PILImage
from tiny import save_tiny_model

from maskwright.cli.main import main
from maskwright.io.label_shards import (
    MaskRow,
    decode_probability,
    encode_probability,
    read_masks,
    read_refined,
    to_logits,
)
from maskwright.methods.refine.refiner import MaskRefiner, decoder_of, save_refiner
from maskwright.models.registry import load, save

SIZES = {"a.png": (40, 60), "sub/b.jpg": (50, 30), "c.png": (64, 64), "d.png": (33, 47)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def refiner(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_altered(model, tmp_path_factory.mktemp("refiner"))


@pytest.fixture(scope="module")
def labelled(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled set of four photos in two shards, with crops."""
    root = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        path = root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PILImage.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    loose = ("--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--points-per-side", "2")
    crops = ("--crop-n-layers", "1", "--shard-images", "2", "--box-nms-thresh", "0.95")
    out = ("--model", str(model), "--out", str(root / "set"), "--device", "cpu")
    assert main(["label", "masks", str(root / "photos"), *out, *loose, *crops]) == 0
    return root


@pytest.fixture
def folder(labelled: Path, tmp_path: Path) -> Path:
    """A fresh copy of the labelled set."""
    return shutil.copytree(labelled / "set", tmp_path / "set")


def refine(folder: Path, model: Path, refiner: Path | str, *more: str) -> int:
    given = ("--model", str(model), "--refiner", str(refiner), "--device", "cpu")
    return main(["label", "refine", str(folder), *given, *more])


def masks_of(folder: Path) -> list[MaskRow]:
    return [row for shard in (0, 1) for row in read_masks(folder / f"masks/{shard:05d}.parquet")]


def test_each_mask_gets_the_refiners_answer_on_its_crop(
    labelled: Path, folder: Path, model: Path, refiner: Path
) -> None:
    assert refine(folder, model, refiner, "--json", str(folder.parent / "r.json")) == 0
    rows = masks_of(folder)
    assert {(row.crop_x, row.crop_y) for row in rows} != {(0, 0)}, "the crops found nothing"
    refined = [row for shard in (0, 1) for row in read_refined(folder / f"refined/{shard:05d}.parquet")]
    assert [(row.image, row.index) for row in refined] == [(row.image, row.index) for row in rows]
    base = load(model, device="cpu")
    by_hand = MaskRefiner.load(refiner, base)
    changed = 0
    for row, new in zip(rows[::5], refined[::5], strict=True):
        pixels = np.asarray(PILImage.open(labelled / "photos" / row.image).convert("RGB"))
        crop = pixels[row.crop_y : row.crop_y + row.crop_h, row.crop_x : row.crop_x + row.crop_w]
        logits = torch.from_numpy(to_logits(decode_probability(row.prob)))[None]
        left, top = row.bbox_x - row.crop_x, row.bbox_y - row.crop_y
        point = torch.tensor([[row.point_x - row.crop_x, row.point_y - row.crop_y]])
        # SA-1B's boxes end on the last pixel, those of prompts behind it.
        box = torch.tensor([[left, top, left + row.bbox_w + 1, top + row.bbox_h + 1]])
        expected = by_hand.refine(base.embed(crop), logits, box, point)[0]
        got = decode_probability(new.prob)
        assert np.abs(got - decode_probability(encode_probability(expected))).max() <= 2 / 255
        changed += bool(np.abs(got - decode_probability(row.prob)).max() > 0.1)
    assert changed
    record = json.loads((folder / "refined.json").read_text())
    assert record["refiner"] == by_hand.signature
    result = json.loads((folder.parent / "r.json").read_text())
    assert (result["n"], result["masks"], result["shards"]) == (4, len(rows), 2)


def test_again_does_nothing_and_after_an_interruption_the_bytes_are_the_same(
    folder: Path, model: Path, refiner: Path, tmp_path: Path
) -> None:
    cut = shutil.copytree(folder, tmp_path / "cut")
    assert refine(folder, model, refiner) == 0
    whole = content(folder)
    assert refine(folder, model, refiner) == 0
    assert content(folder) == whole
    assert refine(cut, model, refiner) == 0
    # As after a kill between the second shard's file and its line in the ledger.
    ledger = cut / "refined_ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])
    (cut / "refined/00001.parquet").write_bytes(b"half a file")
    assert refine(cut, model, refiner) == 0
    assert content(cut) == whole


def test_masks_that_were_made_anew_are_refined_anew(folder: Path, model: Path, refiner: Path) -> None:
    assert refine(folder, model, refiner) == 0
    ledger = folder / "refined_ledger.jsonl"
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert all(line["inputs"] for line in lines)
    (folder / "refined/00000.parquet").unlink()
    lines[0]["inputs"] = "0" * 64
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert refine(folder, model, refiner) == 0
    assert (folder / "refined/00000.parquet").is_file()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("--workers", "0"), "--workers must be at least 1"),
        (("--gpus", "1"), "--gpus is for --engine ray"),
        (("--overwrite", "--retry-failed"), "give one of them"),
    ],
)
def test_options_that_cannot_be_are_refused(
    folder: Path, given: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refine(folder, Path("not-loaded"), "not-loaded", *given) == 2
    assert reason in capsys.readouterr().err


def test_other_models_refiners_and_folders_are_refused(
    folder: Path, model: Path, refiner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refine(tmp_path, model, refiner) == 1
    assert "holds no labelled set" in capsys.readouterr().err
    assert refine(folder, model, tmp_path / "no.safetensors") == 1
    assert "does not exist" in capsys.readouterr().err
    assert refine(folder, model, model) == 1
    assert "holds a whole model, not a refiner" in capsys.readouterr().err
    base = load(model, device="cpu").model
    with torch.no_grad():
        next(base.parameters()).add_(1)
    other = save(base, tmp_path / "other.safetensors")
    assert refine(folder, other, refiner) == 2
    assert "give the model that made them as --model" in capsys.readouterr().err
    assert refine(folder, model, refiner) == 0
    second = save_refiner(decoder_of(load(model, device="cpu").model), load(model, device="cpu").model,
                          tmp_path / "second.safetensors")  # fmt: skip
    assert refine(folder, model, second) == 2
    assert "refiner" in capsys.readouterr().err
    assert refine(folder, model, second, "--overwrite") == 0


def test_a_photo_that_is_gone_is_named_and_the_others_are_refined(
    labelled: Path, folder: Path, model: Path, refiner: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = labelled / "photos/c.png"
    moved = photo.rename(photo.with_suffix(".gone"))
    try:
        assert refine(folder, model, refiner) == 1
    finally:
        moved.rename(photo)
    assert "c.png" in capsys.readouterr().err
    names = {row.image for shard in (0, 1) for row in read_refined(folder / f"refined/{shard:05d}.parquet")}
    assert names == set(SIZES) - {"c.png"}


def test_photos_that_were_touched_or_have_moved_are_refined_and_others_are_not(
    labelled: Path,
    folder: Path,
    model: Path,
    refiner: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refine(folder, model, refiner) == 0
    whole = content(folder)
    copies = shutil.copytree(labelled / "photos", tmp_path / "photos", copy_function=shutil.copyfile)
    moved = (labelled / "photos").rename(labelled / "gone")
    try:
        assert refine(folder, model, refiner, "--overwrite") == 1
        assert "does not exist" in capsys.readouterr().err
        assert refine(folder, model, refiner, "--retry-failed", "--images", str(copies)) == 0
        assert content(folder) == whole
        (copies / "a.png").write_bytes((copies / "a.png").read_bytes() + b"more")
        assert refine(folder, model, refiner, "--overwrite", "--images", str(copies)) == 1
        assert "a.png has changed since the plan was made: label it again" in capsys.readouterr().err
        assert refine(folder, model, refiner, "--images", str(tmp_path / "photo")) == 1
        assert "is no folder" in capsys.readouterr().err
    finally:
        moved.rename(labelled / "photos")
    for photo in (labelled / "photos").rglob("*.*"):
        os.utime(photo)
    assert refine(folder, model, refiner, "--overwrite") == 0
    assert content(folder) == whole


def test_the_same_weights_under_another_name_go_on(
    folder: Path, model: Path, refiner: Path, tmp_path: Path
) -> None:
    assert refine(folder, model, refiner) == 0
    whole = content(folder)
    other = shutil.copyfile(refiner, tmp_path / "other.safetensors")
    assert refine(folder, shutil.copyfile(model, tmp_path / "same.safetensors"), other) == 0
    assert content(folder) == whole


def test_an_edited_record_is_refused_with_what_to_do(
    folder: Path, model: Path, refiner: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((folder / "set.json").read_text())
    del record["shard_images"]
    (folder / "set.json").write_text(json.dumps(record))
    assert refine(folder, model, refiner) == 1
    error = capsys.readouterr().err
    assert "'shard_images' is None; was it edited? Put it right, or label anew" in error


def test_photos_without_labels_are_counted_alike_and_told(
    model: Path, refiner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for name in "abc":
        (tmp_path / f"photos/{name}.png").write_bytes(b"no photo")
    PILImage.new("RGB", (40, 30), "red").save(tmp_path / "photos/d.png")
    folder, counts = tmp_path / "set", []
    given = (
        "--model",
        str(model),
        "--device",
        "cpu",
        "--points-per-side",
        "1",
        "--json",
        str(tmp_path / "r.json"),
    )
    assert main(["label", "masks", str(tmp_path / "photos"), "--out", str(folder), *given]) == 1
    counts.append(json.loads((tmp_path / "r.json").read_text()))
    assert ", 3 could not be done" in capsys.readouterr().out
    assert refine(folder, model, refiner, "--json", str(tmp_path / "r.json")) == 0
    counts.append(json.loads((tmp_path / "r.json").read_text()))
    assert [(count["n"], count["failed"]) for count in counts] == [(1, 3), (1, 0)]
    assert "3 photos could not be labelled" in capsys.readouterr().err
