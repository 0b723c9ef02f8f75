"""The review queue: its risk, its order, its files, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from methods.squares import make_squares
from PIL import Image as PILImage
from tiny import save_tiny_heads, save_tiny_model
from work import ModelCalls

from maskwright.cli.main import main
from maskwright.data.registry import open_dataset
from maskwright.errors import InputError
from maskwright.methods.uncertainty.review import expected_range, holds_quality, review, second_opinion
from maskwright.metrics.regions import iou
from maskwright.models.registry import load

MASKS = st.lists(st.booleans(), min_size=12, max_size=12).filter(any).map(lambda values: np.array([values]))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random heads beside it."""
    path = save_tiny_model(tmp_path_factory.mktemp("model"))
    save_tiny_heads(path)
    return path


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_squares(tmp_path_factory.mktemp("squares"), 40, lowest=12, smallest=6, count=3)


def run(*arguments: str | Path) -> int:
    return main(["uncertainty", "review", *map(str, arguments)])


@given(MASKS, MASKS, MASKS)
def test_the_true_iou_lies_in_the_range(label: Any, other: Any, truth: Any) -> None:
    low, high = expected_range(float(iou(label, other)), float(iou(other, truth)))
    assert low - 1e-9 <= float(iou(label, truth)) <= high + 1e-9


def test_a_sure_contradiction_is_riskier_than_not_knowing() -> None:
    def risk(agreement: float, quality: float) -> float:
        return 1 - sum(expected_range(agreement, quality)) / 2

    assert risk(0.95, 0.95) < risk(0.3, 0.3) < risk(0.1, 0.95)


def test_a_model_judges_every_mask(squares: Path, model: Path) -> None:
    dataset, segmenter = open_dataset(f"labels:{squares}"), load(model, device="cpu")
    assert not holds_quality(dataset)
    queue = review(dataset, segmenter, range(len(dataset)))
    assert len(queue) == 6
    assert [one.risk for one in queue] == sorted((one.risk for one in queue), reverse=True)
    for one in queue:
        sample = dataset[one.item]
        k = sample.ids.index(one.mask)
        own = second_opinion(segmenter, segmenter.embed(sample.image), sample.masks[k])
        assert one.agreement == pytest.approx(float(iou(own, sample.masks[k])))
        x, y, width, height = one.box
        masks = segmenter(sample.image, boxes=[x, y, x + width, y + height])
        assert one.quality == pytest.approx(float(masks.extras["quality"]), abs=1e-5)
        assert one.quality is not None
        assert (one.low, one.high) == expected_range(one.agreement or 0.0, one.quality)
        assert one.area == sample.masks[k].sum()


def test_a_photo_is_encoded_once_for_the_queue_and_once_for_the_page(
    squares: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = ModelCalls(monkeypatch)
    assert run(f"labels:{squares}", "--model", model, "--out", tmp_path, "--device", "cpu") == 0
    photos = len(open_dataset(f"labels:{squares}"))
    page = (tmp_path / "review.html").read_text()
    places = [page.index(f">{rank}. ") for rank in range(1, 7)]
    assert places == sorted(places)
    assert calls.encoded == [1] * 2 * photos
    assert photos < 6


def test_empty_masks_are_the_riskiest(squares: Path, model: Path) -> None:
    class Emptied(type(open_dataset(f"labels:{squares}"))):  # type: ignore[misc]
        def read(self, index: int) -> Any:
            sample = super().read(index)
            sample.masks[0] = False
            return sample

    queue = review(Emptied(squares), load(model, device="cpu"), [0])
    assert (queue[0].risk, queue[0].area, queue[0].quality) == (1, 0, None)


def test_a_model_without_heads_is_refused(squares: Path, model: Path) -> None:
    with pytest.raises(InputError, match="train heads"):
        review(open_dataset(f"labels:{squares}"), load(model, heads=None, device="cpu"), [0])


def test_the_command_writes_queue_and_page_and_names_bad_photos(
    squares: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in squares.rglob("*.png"):
        target = tmp_path / "set" / path.relative_to(squares)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    bad = tmp_path / "set/images/1.png"
    bad.write_bytes(bad.read_bytes()[:80])
    out, result = tmp_path / "out", tmp_path / "r.json"
    arguments = (f"labels:{tmp_path / 'set'}", "--model", model, "--out", out, "--json", result)
    assert run(*arguments, "--shown", "2", "--device", "cpu") == 1
    assert "1.png" in capsys.readouterr().err
    with (out / "review.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert {"image", "mask", "risk", "quality", "agreement", "low", "high", "x", "width", "area"} <= set(
        rows[0]
    )
    content = json.loads((out / "review.json").read_text())
    assert [row["risk"] for row in content["masks"]] == [float(row["risk"]) for row in rows]
    page = (out / "review.html").read_text()
    assert page.count("<img") == 2
    assert json.loads(result.read_text())["n"] == 4
    largest = max(int(row["area"]) for row in rows)
    assert run(*arguments, "--min-pixels", str(largest), "--device", "cpu") == 1
    assert {row["area"] for row in json.loads((out / "review.json").read_text())["masks"]} == {largest}


def test_a_folder_that_tells_quality_needs_no_model(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8)
    PILImage.fromarray(pixels).save(tmp_path / "a.png")
    out = tmp_path / "out"
    prompts = ("--box", "5,5,40,25", "--multimask", "--model", str(model), "--device", "cpu")
    assert main(["segment", str(tmp_path / "a.png"), *prompts, "--out", str(out)]) == 0
    record = json.loads((out / "results.jsonl").read_text())
    record["extra"]["quality"] = [0.25, 0.5, 0.75]
    (out / "results.jsonl").write_text(json.dumps(record) + "\n")
    monkeypatch.setattr("maskwright.models.registry.load", None)
    assert run(out, "--out", tmp_path / "review") == 0
    rows = json.loads((tmp_path / "review/review.json").read_text())["masks"]
    best = int(np.argmax(record["scores"]))
    assert [(row["mask"], row["risk"]) for row in rows] == [(best, 1 - record["extra"]["quality"][best])]
    assert (tmp_path / "review/review.html").read_text().count("<img") == 1


def test_a_folder_of_unknown_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--out", tmp_path / "out") == 1
    assert "say what it is as KIND:" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
