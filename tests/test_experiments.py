"""The parts of the experiments: labels are spoiled as said, seeds and masks averaged, pages made of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from conftest import REPOSITORY

from maskwright.cli.main import main
from maskwright.data.registry import open_dataset
from maskwright.io.byte_maps import decode_map, encode_map
from maskwright.io.files import write_json
from maskwright.io.images import write_png
from maskwright.io.label_shards import MaskRow, read_masks
from maskwright.io.rle import RLE
from maskwright.metrics.regions import iou

sys.path.insert(0, str(REPOSITORY / "experiments"))
import spoil
import sum_page
from disagreement import compare
from sum_summary import METHODS, Outcome, summarise


def disc(index: int) -> MaskRow:
    """A disc in a photo of 128 x 128, as a model with masks of 64 x 64 gives it."""
    low = np.full((64, 64), 3, np.uint8)
    cv2.circle(low, (30, 34), 18, (250,), -1)
    rle = RLE.encode(cv2.resize(low, (128, 128), interpolation=cv2.INTER_LINEAR) > 127)
    whole = (0, 0, 128, 128)
    return MaskRow(
        *("a.png", "a.png", 128, 128, index, rle.counts.encode("ascii"), rle.area, *rle.box, 60.0, 68.0),
        *(*whole, 0.9, 0.9, 256, "pad", encode_map(low)),
    )


def decoded(row: MaskRow) -> Any:
    return RLE.from_coco({"size": [row.height, row.width], "counts": row.rle}).decode()


def test_masks_are_spoiled_but_not_beyond_recognition() -> None:
    rows = [disc(index) for index in range(40)]
    made = [spoil.spoiled(row, seed=0) for row in rows]
    again = [spoil.spoiled(row, seed=0) for row in rows]
    assert made == again
    scores = np.array([float(iou(decoded(new), decoded(old))) for old, new in zip(rows, made, strict=True)])
    assert scores.max() < 0.98
    assert 0.3 < scores.min()
    assert 0.5 < scores.mean() < 0.9
    for row in made:
        mask, found = decoded(row), RLE.from_coco({"size": [128, 128], "counts": row.rle}).box
        assert row.area == mask.sum()
        assert (row.bbox_x, row.bbox_y, row.bbox_w + 1, row.bbox_h + 1) == found
        soft = decode_map(row.prob, "a")
        assert float(iou(cv2.resize(soft, (128, 128)) > 127, mask)) > 0.95


def test_a_spoiled_set_is_a_set(tmp_path: Path) -> None:
    photos, clean, worse = (tmp_path / name for name in ("photos", "clean", "worse"))
    photos.mkdir()
    write_png(photos / "coffee.png", skimage.data.coffee()[::2, ::2])
    how = ["--points-per-side", "4", "--pred-iou-thresh", "0.2", "--stability-score-thresh", "0.2"]
    assert main(["label", "masks", str(photos), "--out", str(clean), *how]) == 0
    assert spoil.spoil_set(clean, worse, seed=0) == len(read_masks(clean / "masks" / "00000.parquet")) > 0
    before, after = (open_dataset(f"labelled:{folder}?min_ratio=0")[0] for folder in (clean, worse))
    assert before.ids == after.ids
    assert (before.masks != after.masks).any()
    assert main(["label", "masks", str(photos), "--out", str(worse), *how]) == 0, "its ledger fits its files"


def test_pixels_are_counted_by_difference_and_confidence() -> None:
    label = np.array([0.9, 0.9, 0.1, 0.1, 1.0])
    refined = np.array([0.92, 0.02, 0.98, 0.9, 0.0])
    truth = np.array([True, False, True, False, True])
    (first, second, third) = compare(label, refined, truth)
    assert (first["uncertainty"], first["confidence"], first["share"]) == ([0.0, 0.1], [0.7, 0.9], 0.2)
    assert first["label_right"] == first["refined_right"] == 1.0
    assert (second["share"], second["label_right"], second["refined_right"]) == (0.2, 1.0, 0.0)
    assert third["confidence"] == [0.9, 1.0]
    assert (third["share"], third["label_right"], third["refined_right"]) == (0.6, 1 / 3, 2 / 3)


def measured(shift: float) -> list[dict[str, Any]]:
    """An evaluation of four masks on two datasets; every score is `shift` above 0.5 + click / 100."""

    def result(data: str, prompt: str, clicks: int) -> dict[str, Any]:
        scores = [0.5 + shift + click / 100 for click in range(clicks)]
        masks = [
            {
                "image": f"{n // 2}.jpg",
                "iou_by_click": scores,
                "boundary_iou_by_click": [s - 0.2 for s in scores],
            }
            for n in range(4)
        ]
        return {"data": data, "prompt": prompt, "per_mask": masks}

    sets = ("bsds500:X/BSDS500", "davis2016:X/DAVIS2016")
    return [result(data, prompt, clicks) for prompt, clicks in (("box", 1), ("point", 5)) for data in sets]


def test_summary_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gains = {"vanilla": -0.02, "mask-refinement": 0.0, "sum": 0.03, "sum-refined": 0.04}
    outcomes = [Outcome("base", None, None, measured(0.0))]
    for labels in ("labels", "spoiled"):
        outcomes += [
            Outcome(method, labels, seed, measured(gain + 0.01 * (seed - 1)))
            for method, gain in gains.items()
            for seed in (0, 1, 2)
        ]
    refiner = dict.fromkeys(("input_iou", "refined_iou", "input_boundary_iou", "refined_boundary_iou"), 0.8)
    refiner |= dict.fromkeys(("certain_accuracy", "doubtful_accuracy", "certain_share"), 0.5)
    settings = {"steps": 3, "rate": 1e-4, "seeds": [0, 1, 2], "photos": 9, "masks": 30, "clicks": (1, 3, 5)}
    settings |= {"points_per_side": 8, "pred_iou_thresh": 0.4}
    right = {
        "uncertainty": [0.4, 1.0],
        "confidence": [0.9, 1.0],
        "share": 0.02,
        "label_right": 0.1,
        "refined_right": 0.9,
    }
    differ = {"labels": [], "spoiled": [right]}
    content = summarise(outcomes, {"metrics": refiner}, differ, settings)
    assert len(content["rows"]) == 2 * 4 * (1 + len(METHODS))
    rows = {
        row["method"]: row
        for row in content["rows"]
        if row["labels"] == "labels" and row["prompt"] == "point"
    }
    assert rows["sum"]["by_click"][4]["miou"] == pytest.approx(0.57)
    assert rows["sum"]["seed_std"][0][0] == pytest.approx(0.01)
    gaps = {
        (gap["one"], gap["other"]): gap["by_click"]
        for gap in content["gaps"]
        if gap["labels"] == "spoiled" and gap["prompt"] == "point"
    }
    assert gaps["sum", "vanilla"][2]["boundary_iou"] == pytest.approx(0.05)
    assert gaps["sum-refined", "mask-refinement"][0]["miou"] == pytest.approx(0.04)
    assert rows["vanilla"]["seeds"] == 3
    assert rows["base"]["seed_std"] is None

    monkeypatch.setattr(sum_page, "FOLDER", tmp_path)
    write_json(tmp_path / "sum.json", content)
    sum_page.write_page(tmp_path / "sum.json")
    page = (tmp_path / "sum.md").read_text(encoding="utf-8")
    assert (
        "| BSDS500 test, 3 clicks, IoU | 0.520 | 0.500 ± 0.010 | 0.520 ± 0.010 | 0.550 ± 0.010 | 0.560 ±"
        in page
    )
    assert "| DAVIS 2016, box, IoU | +0.050 [+0.050, +0.050] | +0.030 [+0.030, +0.030] |" in page
    assert "| 0.4 to 1 | 0.9 to 1 | 2.0% | 10.0% | 90.0% |" in page
    for picture in ("sum-labels-bsds500.png", "sum-spoiled-davis.png"):
        assert (tmp_path / picture).is_file()
        assert f"]({picture})" in page
