"""`maskwright segment` with advice, a guarantee and a larger model; `maskwright uncertainty calibrate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from methods.squares import make_squares
from models.tiny import tiny
from PIL import Image as PILImage
from tiny import save_tiny_heads, save_tiny_model

from maskwright.cli.main import main
from maskwright.io.masks import read_mask
from maskwright.methods.uncertainty.advice import advise
from maskwright.methods.uncertainty.margins import with_margin
from maskwright.methods.uncertainty.settings import AdviceSettings
from maskwright.models.registry import load, save
from maskwright.models.sam import SAM


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = save_tiny_model(tmp_path_factory.mktemp("model"))
    save_tiny_heads(path)
    return path


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, of another family, whose masks have another size."""
    return save(tiny(SAM), tmp_path_factory.mktemp("larger") / "larger.safetensors")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, size in {"a.png": (40, 60), "b.png": (50, 30), "c.png": (24, 24)}.items():
        (tmp_path / "photos").mkdir(exist_ok=True)
        PILImage.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def segment(*arguments: str | Path) -> int:
    return main(["segment", "--device", "cpu", *map(str, arguments)])


def records(out: Path) -> dict[str, dict[str, Any]]:
    lines = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    return {record["path"]: record for record in lines}


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_each_mask_gets_advice(
    photos: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (photos / "a.png", "--point", "20,20", "--multimask", "--model", model, "--out", tmp_path / "out")
    assert segment(*asked, "--advise", "--choose-gain", "0", "--accept-from", "1") == 0
    record = records(tmp_path / "out")["a.png"]["extra"]
    masks = load(model, device="cpu")(str(photos / "a.png"), points=[[20, 20]], multimask=True)
    expected = advise(masks, AdviceSettings(accept_from=1, choose_gain=0))[0]
    assert record["advice"] == [one.action for one in expected]
    assert record["advice_gain"] == pytest.approx([one.gain for one in expected])
    assert record["advice_click"] == [one.to_json()["advice_click"] for one in expected]
    table = capsys.readouterr().out
    assert all(one.action in table for one in expected)
    coco = json.loads((tmp_path / "out/coco.json").read_text())
    assert [entry["advice"] for entry in coco["annotations"]] == record["advice"]
    assert segment(*asked, "--advise") == 2
    assert "advice was" in said(capsys)


@pytest.fixture(scope="module")
def guarantee(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_squares(tmp_path_factory.mktemp("squares"), 40, lowest=12, smallest=6, count=12)
    file = root / "g" / "guarantee.json"
    data = ("--data", f"labels:{root}", "--check", f"labels:{root}")
    asked = ("--model", str(model), "--prompt", "box", "--alpha", "0.6", "--risk", "marginal")
    arguments = ["uncertainty", "calibrate", *asked, *data, "--device", "cpu", "--out", str(file)]
    assert main(arguments) == 0
    return file


def test_calibration_says_what_it_promises_and_of_what(guarantee: Path, model: Path) -> None:
    content = json.loads(guarantee.read_text())
    assert content["format"] == "maskwright-guarantee"
    assert content["digest"] == load(model, device="cpu").digest
    assert content["asked"] == {"prompt": "box", "multimask": False, "hq": "sum", "task": None}
    assert (content["protocol"]["masks"], content["protocol"]["images"]) == (24, 12)
    assert {"keep-marginal", "lower-bound"} <= set(content["guarantees"])
    assert content["guarantees"].keys() | content["refused"].keys() == {
        "keep-marginal",
        "keep-selective",
        "lower-bound",
        "cover-object",
        "cover-pixels",
    }
    # On the calibration itself a promise holds for certain.
    measured = content["checked"]["measured"]
    assert measured["keep-marginal"] <= 0.6
    assert measured["lower-bound"] >= 0.4 - 1e-9


def test_a_guarantee_is_applied_to_masks_asked_for_alike(
    photos: Path, model: Path, guarantee: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = ("--box", "10%,10%,70%,80%", "--model", model, "--out", out, "--guarantee", guarantee)
    content = json.loads(guarantee.read_text())
    margin = content["guarantees"].get("cover-object")
    assert segment(photos, *asked, *(["--margin"] if margin else [])) == 0
    keep, bound = (content["guarantees"][name] for name in ("keep-marginal", "lower-bound"))
    for record in records(out).values():
        extra = record["extra"]
        quality = extra["quality"][0]
        assert extra["kept"] == [keep["threshold"] is not None and quality >= keep["threshold"]]
        assert extra["iou_at_least"] == pytest.approx([min(1, max(0, quality - bound["offset"]))])
        if margin:
            cover = read_mask(out / extra["cover_file"][0])
            assert np.array_equal(
                cover, with_margin(read_mask(out / extra["mask_file"][0]), margin["margin"])
            )
    covers = list((out / "covers").iterdir()) if margin else []
    assert segment(photos / "a.png", "--box", "1,1,9,9", "--model", model, "--out", out, "--overwrite") == 0
    assert not any(path.exists() for path in covers)


def test_what_is_not_kept_is_not_accepted(photos: Path, model: Path, guarantee: Path, tmp_path: Path) -> None:
    content = json.loads(guarantee.read_text())
    content["guarantees"]["keep-marginal"]["threshold"] = None
    strict = tmp_path / "strict.json"
    strict.write_text(json.dumps(content))
    asked = ("--box", "10%,10%,70%,80%", "--model", model, "--out", tmp_path / "out", "--accept-from", "0")
    assert segment(photos, *asked, "--guarantee", strict, "--advise") == 0
    for record in records(tmp_path / "out").values():
        assert (record["extra"]["kept"], record["extra"]["advice"]) == ([False], ["abstain"])


def test_a_guarantee_of_something_else_is_refused(
    photos: Path, model: Path, guarantee: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (photos / "a.png", "--out", tmp_path / "out", "--guarantee", guarantee)
    assert segment(*asked, "--model", model, "--point", "9,9") == 2
    assert "prompt was box and now is point" in said(capsys)
    assert segment(*asked, "--model", model, "--box", "1,1,9,9", "--multimask") == 2
    assert "multimask was False and now is True" in said(capsys)
    heads = save_tiny_heads(model, tmp_path / "other.heads.safetensors", seed=1)
    assert segment(*asked, "--model", model, "--box", "1,1,9,9", "--heads", heads) == 2
    assert "uncertainty heads was" in said(capsys)
    assert segment(*asked, "--model", model, "--box", "1,1,9,9", "--heads", "none") == 2
    assert "train heads" in said(capsys)
    (tmp_path / "x.json").write_text("[]")
    assert segment(*asked[:-1], tmp_path / "x.json", "--model", model, "--box", "1,1,9,9") == 1
    assert "holds no guarantee" in said(capsys)
    assert not (tmp_path / "out" / "results.jsonl").exists()


@pytest.fixture
def clicks(photos: Path, tmp_path: Path) -> Path:
    """Two clicks in each photo but one, which has three."""
    file = tmp_path / "clicks.json"
    two = [{"points": [[5, 5]]}, {"points": [[20, 15]]}]
    file.write_text(json.dumps({"*": two, "b.png": [*two, {"box": [3, 3, 25, 40]}]}))
    return file


@pytest.mark.parametrize(
    ("budget", "expected", "by_what"),
    [("30%", 2, "model_gap"), ("0.99", 6, "quality"), ("100%", 7, "model_gap"), ("0", 0, "quality")],
)
def test_the_larger_model_answers_where_it_gains_most(
    budget: str,
    expected: int,
    by_what: str,
    photos: Path,
    clicks: Path,
    model: Path,
    larger: Path,
    tmp_path: Path,
) -> None:
    out, result = tmp_path / "out", tmp_path / "r.json"
    pair = ("--model", model, "--larger", larger, "--larger-by", by_what)
    asked = (photos, "--prompts", clicks, *pair, "--out", out)
    assert segment(*asked, "--budget", budget, "--json", result) == 0
    gains, by = [], []
    small, large = load(model, device="cpu"), load(larger, device="cpu")
    for name, record in records(out).items():
        extra = record["extra"]
        gains += extra["gain"]
        by += [one == large.name for one in extra["answered_by"]]
        prompts: dict[str, Any] = {"points": [[[5, 5]], [[20, 15]]]}
        if name == "b.png":
            prompts = {"points": [[[5, 5]], [[20, 15]], None], "boxes": [None, None, [3, 3, 25, 40]]}
        for segmenter in (small, large):
            masks = segmenter(str(photos / name), **prompts)
            for number, one in enumerate(extra["answered_by"]):
                if one == segmenter.name:
                    written = read_mask(out / extra["mask_file"][number])
                    assert np.array_equal(written, masks.binary()[number, 0])
                    assert record["scores"][number] == pytest.approx(float(masks.iou[number, 0]), abs=1e-5)
            if segmenter is small:
                gain = masks.extras["model_gap"] if by_what == "model_gap" else 1 - masks.extras["quality"]
                assert extra["gain"] == pytest.approx(gain[:, 0].tolist(), abs=1e-5)
    paying = sum(gain > 0 for gain in gains)
    assert sum(by) == min(expected, paying)
    assert all(
        gain >= sorted(gains)[::-1][sum(by) - 1] for gain, large in zip(gains, by, strict=True) if large
    )
    told = json.loads(result.read_text())["cascade"]
    assert (told["prompts"], told["by_larger"]) == (7, sum(by))


def test_image_by_image_the_threshold_of_a_budget_chooses_alike_and_runs_carry_on(
    photos: Path, clicks: Path, model: Path, larger: Path, tmp_path: Path
) -> None:
    asked = (photos, "--prompts", clicks, "--model", model, "--larger", larger)
    result = tmp_path / "r.json"
    assert segment(*asked, "--budget", "30%", "--out", tmp_path / "one", "--json", result) == 0
    above = json.loads(result.read_text())["cascade"]["gain_above"]
    assert segment(*asked, "--gain-above", str(above), "--out", tmp_path / "two") == 0

    def answered(out: Path) -> dict[str, list[str]]:
        return {name: record["extra"]["answered_by"] for name, record in records(out).items()}

    assert answered(tmp_path / "one") == answered(tmp_path / "two")
    # Cut off after the small model's round: only the larger model's images are done again.
    lines = (tmp_path / "one/results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "one/results.jsonl").write_text("".join(lines[:3]))
    assert segment(*asked, "--budget", "30%", "--out", tmp_path / "one") == 0
    assert answered(tmp_path / "one") == answered(tmp_path / "two")
    before = (tmp_path / "one/results.jsonl").read_bytes()
    assert segment(*asked, "--budget", "30%", "--out", tmp_path / "one") == 0
    assert (tmp_path / "one/results.jsonl").read_bytes() == before


def test_a_budget_of_time_measures_once(
    photos: Path, clicks: Path, model: Path, larger: Path, tmp_path: Path
) -> None:
    asked = (photos, "--prompts", clicks, "--model", model, "--larger", larger, "--out", tmp_path / "out")
    assert segment(*asked, "--budget", "1.5x") == 0
    measured = (tmp_path / "out/cascade.json").read_text()
    assert set(json.loads(measured)) == {"small", "large", "unit"}
    assert segment(*asked, "--budget", "1.5x") == 0
    assert (tmp_path / "out/cascade.json").read_text() == measured


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--budget", "30%"), "name the larger model"),
        (("--larger", "nano", "--budget", "1", "--gain-above", "0.1"), "not both"),
        (("--larger", "nano", "--budget", "30"), "30' is no budget"),
        (("--larger", "nano", "--budget", "0.5x"), "at least 1x"),
        (("--margin",), "--guarantee"),
        (("--guarantee", "g.json", "--larger", "nano"), "one model"),
        (("--advise", "--refine", "nano"), "redrawn"),
        (("--click-gain", "0.3"), "--advise"),
        (("--advise", "--click-gain", "3"), "between 0 and 1"),
    ],
)
def test_flags_that_do_not_fit_are_refused(
    flags: tuple[str, ...],
    message: str,
    photos: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = (photos / "a.png", "--box", "1,1,9,9", "--model", model, "--out", tmp_path / "out")
    assert segment(*asked, *flags) == 2
    assert message in said(capsys)


def test_a_cascade_needs_a_head_that_tells_the_gain(
    photos: Path, model: Path, larger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (photos / "a.png", "--box", "1,1,9,9", "--out", tmp_path / "out", "--larger", model)
    assert segment(*asked, "--model", larger) == 2
    assert "no uncertainty head that tells quality" in said(capsys)
    assert segment(*asked, "--model", model) == 2
    assert "asked first, too" in said(capsys)
    advised = (photos / "a.png", "--box", "1,1,9,9", "--out", tmp_path / "two", "--model", model, "--advise")
    assert segment(*advised, "--larger", larger) == 2
    assert "larger.safetensors has no uncertainty heads" in said(capsys)


def test_models_of_one_name_are_told_apart(
    photos: Path, clicks: Path, model: Path, larger: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / model.name
    twin.write_bytes(larger.read_bytes())
    out, result = tmp_path / "out", tmp_path / "r.json"
    pair = ("--model", model, "--larger", twin, "--budget", "100%")
    assert segment(photos, "--prompts", clicks, *pair, "--out", out, "--json", result) == 0
    assert json.loads(result.read_text())["cascade"]["by_larger"] == 7
    by = {name for record in records(out).values() for name in record["extra"]["answered_by"]}
    assert by == {load(twin, device="cpu").signature}


@pytest.mark.parametrize(
    ("flags", "message"),
    [((), "--data"), (("--alpha", "1"), "--alpha"), (("--min-area", "0.9"), "--min-area")],
)
def test_calibration_refuses_what_makes_no_sense(
    flags: tuple[str, ...], message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = () if not flags else ("--data", f"labels:{tmp_path}")
    out = str(tmp_path / "g.json")
    assert main(["uncertainty", "calibrate", "--model", str(model), *data, *flags, "--out", out]) == 2
    assert message in said(capsys)


def test_too_few_images_promise_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_squares(tmp_path / "squares", 40, lowest=12, smallest=6, count=2)
    arguments = ["uncertainty", "calibrate", "--model", str(model), "--data", f"labels:{root}"]
    assert main([*arguments, "--alpha", "0.01", "--device", "cpu", "--out", str(tmp_path / "g.json")]) == 1
    assert "at least 99 are needed" in said(capsys)
    assert not (tmp_path / "g.json").exists()
