"""`maskwright evaluate prompted` from arguments to table, JSON, pictures and exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.refine.scene import save_altered
from PIL import Image as PILImage
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import save_tiny_model

from maskwright.cli.evaluate import main
from maskwright.data.prompts import tight_box
from maskwright.data.registry import open_dataset
from maskwright.methods.refine.refiner import MaskRefiner
from maskwright.metrics.regions import iou
from maskwright.models.prompts import make_prompts
from maskwright.models.registry import load, save
from maskwright.models.task_prompts import add_task_prompts


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """Three photos with label maps of two objects each."""
    folder = tmp_path / "set"
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(3):
        labels = np.zeros((60, 80), np.uint8)
        labels[5:30, 5 + number : 40] = 1
        labels[35:55, 30:70] = 2
        labels[40:50, 40:50] = 0
        pixels = np.array([[30, 30, 30], [200, 60, 60], [60, 60, 200]])[labels] + rng.integers(
            0, 20, (60, 80, 3)
        )
        PILImage.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{number}.png")
        PILImage.fromarray(labels).save(folder / "labels" / f"{number}.png")
    return f"labels:{folder}"


def evaluate(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    target = tmp_path / "result.json"
    code = main(["prompted", *arguments, "--json", str(target), "--device", "cpu"])
    return code, json.loads(target.read_text())


def test_one_combination_gives_the_flat_form(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = evaluate(tmp_path, "--baseline", "box", "--data", dataset, "--prompt", "box")
    assert code == 0
    assert {"n", "miou", "miou_ci95", "boundary_iou", "seconds_per_image", "machine", "versions"} <= set(
        result
    )
    assert (result["n"], result["baseline"], result["data"], result["failures"]) == (6, "box", dataset, [])
    assert result["miou"] == pytest.approx((1 + 700 / 800) / 2)
    assert result["miou_ci95"][0] <= result["miou"] <= result["miou_ci95"][1]
    assert len(result["per_mask"]) == 6
    assert result["per_mask"][0]["image"].endswith("0.png")
    assert f"{result['miou']:.3f}" in capsys.readouterr().out


def test_several_give_a_list_and_one_table(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--baseline", "grabcut", "box", "--baseline", "ellipse", "--data", dataset]
    code, result = evaluate(tmp_path, *arguments, "--prompt", "box", "point")
    assert code == 0
    rows = [(row["prompt"], row["baseline"]) for row in result["results"]]
    methods = ["grabcut", "box", "ellipse"]
    assert rows == [(prompt, name) for prompt in ("box", "point") for name in methods]
    assert [(gap["name"], gap["other"]) for gap in result["differences"]] == [
        ("grabcut", "box"),
        ("grabcut", "ellipse"),
    ] * 2
    scores = {(row["prompt"], row["baseline"]): row["miou"] for row in result["results"]}
    gap = result["differences"][0]
    assert gap["miou"] == pytest.approx(scores["box", "grabcut"] - scores["box", "box"])
    shown = capsys.readouterr().out
    assert shown.count("grabcut − ellipse") == 2


def test_results_repeat(dataset: str, tmp_path: Path) -> None:
    runs = [
        evaluate(tmp_path, "--baseline", "grabcut", "--data", dataset, "--per-image", "1")[1]
        for _ in range(2)
    ]
    assert runs[0]["n"] == 3
    assert runs[0]["per_mask"] == runs[1]["per_mask"]
    assert runs[0]["miou_ci95"] == runs[1]["miou_ci95"]
    other = evaluate(tmp_path, "--baseline", "grabcut", "--data", dataset, "--per-image", "1", "--seed", "3")[
        1
    ]
    assert [score["segment"] for score in runs[0]["per_mask"]] != [
        score["segment"] for score in other["per_mask"]
    ]


def test_a_bad_image_is_named_and_the_rest_is_measured(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set/images/1.png").write_bytes(b"\x89PNG\r\n\x1a\nnot much")
    code, result = evaluate(tmp_path, "--baseline", "box", "--data", dataset)
    assert code == 1
    assert result["n"] == 4
    assert [Path(failure["item"]).name for failure in result["failures"]] == ["1.png"]
    assert "1.png" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_does_not_stop_the_others(dataset: str, tmp_path: Path) -> None:
    code, result = evaluate(
        tmp_path, "--model", str(tmp_path / "no.pth"), "--baseline", "box", "--data", dataset
    )
    assert code == 1
    assert [row["baseline"] for row in result["results"]] == ["box"]
    assert "no.pth" in result["failures"][0]["reason"]


def test_pictures_of_the_worst_and_best(dataset: str, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    code, result = evaluate(tmp_path, "--baseline", "ellipse", "--data", dataset, "--pictures", str(folder))
    assert code == 0
    names = sorted(path.name for path in folder.rglob("*.png"))
    assert names == sorted(f"{kind}-{rank}.png" for kind in ("best", "worst") for rank in range(1, 7))
    picture = np.asarray(PILImage.open(next(folder.rglob("worst-1.png"))))
    assert picture.shape[1] > 2 * 80
    assert result["n"] == 6


def test_a_model(dataset: str, tmp_path: Path, golden_root: Path) -> None:
    arguments = ["--model", str(golden_root / "sam.pth"), "--data", dataset, "--clicks", "3", "--limit", "2"]
    code, result = evaluate(tmp_path, *arguments, "--prompt", "point", "--multimask", "--num-heads", "2")
    assert code == 0
    assert result["model"] == str(golden_root / "sam.pth")
    assert (result["n"], result["multimask"], result["hq"], result["clicks"]) == (4, True, "sum", 3)
    assert [step["click"] for step in result["by_click"]] == [1, 2, 3]
    assert all(score["predicted_iou"] is not None for score in result["per_mask"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two tiny models that differ."""
    folder = tmp_path_factory.mktemp("models")
    one = save_tiny_model(folder)
    weights = load_file(one)
    rng = torch.Generator().manual_seed(1)
    changed = {name: value + 0.1 * torch.randn(value.shape, generator=rng) for name, value in weights.items()}
    with safe_open(one, "pt") as file:
        save_file(changed, folder / "other.safetensors", file.metadata())
    return [str(one), str(folder / "other.safetensors")]


def test_several_models_over_clicks_side_by_side(
    dataset: str, models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", *models, "--data", dataset, "--clicks", "1,3,5", "--choice", "single", "oracle"]
    folder, page = tmp_path / "pictures", tmp_path / "new" / "tables.md"
    code, result = evaluate(tmp_path, *arguments, "--pictures", str(folder), "--markdown", str(page))
    assert code == 0
    rows = [(row["model"], row["choice"]) for row in result["results"]]
    assert rows == [(model, choice) for choice in ("single", "oracle") for model in models]
    for row in result["results"]:
        assert (row["clicks"], row["click_counts"], row["click"]) == (5, [1, 3, 5], "center")
        assert [step["click"] for step in row["by_click"]] == [1, 2, 3, 4, 5]
        assert all(step["miou_ci95"][0] <= step["miou"] <= step["miou_ci95"][1] for step in row["by_click"])
        assert row["miou"] == row["by_click"][-1]["miou"]
    scores = {(row["model"], row["choice"]): row["by_click"][2]["miou"] for row in result["results"]}
    assert [gap["choice"] for gap in result["differences"]] == ["single", "oracle"]
    for gap in result["differences"]:
        expected = scores[models[0], gap["choice"]] - scores[models[1], gap["choice"]]
        assert gap["by_click"][2]["miou"] == pytest.approx(expected)

    text = page.read_text()
    titles = [line for line in text.splitlines() if line.startswith("**")]
    assert [title.partition(",")[2].strip(" *").partition(" (")[0] for title in titles] == [
        *["one output"] * 2,
        *["best of three against the truth"] * 2,
    ]
    # Three counts of two models, twice; three differences, twice; a heading and a rule each.
    assert sum(line.startswith("| ") for line in text.splitlines()) == 2 * (6 + 3) + 4 * 2
    shown = capsys.readouterr().out
    assert all(title.strip("*") in shown for title in titles)
    curves = sorted(path.name for path in folder.glob("curves-*.png"))
    assert len(curves) == 2
    assert np.asarray(PILImage.open(folder / curves[0])).std() > 5
    # Of two paths in one folder, only what tells them apart is shown.
    assert "| tiny.safetensors − other.safetensors |" in text
    assert (folder / "report.html").read_text().count("<table>") == 4


def test_a_model_beside_itself_refined(
    dataset: str, models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = load(models[0], device="cpu")
    refiner = save_altered(Path(models[0]), tmp_path)
    arguments = ["--model", models[0], "--refine", str(refiner), "--data", dataset, "--clicks", "1,2"]
    code, result = evaluate(tmp_path, *arguments)
    assert code == 0
    plain, refined = result["results"]
    assert refined["model"] == f"{models[0]}, refined"
    assert "refiner" not in plain
    assert refined["refiner"] == MaskRefiner.load(refiner, base).signature
    assert plain["per_mask"] != refined["per_mask"]
    (gap,) = result["differences"]
    expected = plain["by_click"][0]["miou"] - refined["by_click"][0]["miou"]
    assert gap["by_click"][0]["miou"] == pytest.approx(expected)
    assert "refined" in capsys.readouterr().out

    photo = open_dataset(dataset)[0]
    embedding, box = base.embed(photo.image), tight_box(photo.masks[0])
    prompts = make_prompts(embedding.geometry, base.model.low_res, boxes=box)
    masks = MaskRefiner.load(refiner, base).refine_masks(embedding, base.decode(embedding, prompts), prompts)
    score = next(score for score in refined["per_mask"] if score["segment"] == photo.ids[0])
    assert score["iou_by_click"][0] == pytest.approx(float(iou(masks.binary()[0, 0], photo.masks[0])))


def test_tasks_have_means_over_their_sets(dataset: str, tmp_path: Path) -> None:
    first = f"{dataset}?background=0,1"
    arguments = ["--baseline", "box", "ellipse", "--task", "entity", dataset, "--data", first]
    code, result = evaluate(tmp_path, *arguments, "--task", "part", first, dataset)
    assert code == 0
    names = [(mean["name"], mean["task"], mean["sets"]) for mean in result["means"]]
    assert names == [
        *((name, "entity", [dataset]) for name in ("box", "ellipse")),
        *((name, "part", [first, dataset]) for name in ("box", "ellipse")),
    ]
    scores = {row["data"]: row["miou"] for row in result["results"] if row["baseline"] == "box"}
    assert result["means"][2]["miou"] == pytest.approx(sum(scores.values()) / 2)
    assert [gap["data"] for gap in result["differences"]] == [first, dataset, "entity", "part"]


def test_models_with_task_prompts_are_told_the_task(dataset: str, models: list[str], tmp_path: Path) -> None:
    model = load(models[1], device="cpu").model
    add_task_prompts(model, ("embedding", "tokens"))
    assert model.task_prompts is not None
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in model.task_prompts.parameters():
            values.normal_(std=3.0, generator=rng)
    tasked = str(save(model, tmp_path / "tasked.safetensors"))
    # The three masks of an ambiguous prompt are nano's first answer, before it refines its single one.
    asked = ["--limit", "1", "--clicks", "1,2", "--choice", "oracle"]
    common = ["--model", tasked, models[1], "--task", "salient", dataset, *asked]
    told, silent = (evaluate(tmp_path, *common, *more)[1] for more in ([], ["--no-task-prompts"]))
    assert [row.get("task") for row in told["results"]] == ["salient", None]
    assert [row.get("task") for row in silent["results"]] == [None, None]
    assert "warnings" not in told
    assert "warnings" not in silent
    untold = evaluate(tmp_path, "--model", tasked, models[1], "--data", dataset, *asked)[1]
    [warning] = untold["warnings"]
    assert "tasked.safetensors has task prompts and is told no task for" in warning
    assert "--no-task-prompts" in warning
    assert told["results"][0]["by_click"][0] != silent["results"][0]["by_click"][0]
    assert told["results"][1]["by_click"] == silent["results"][1]["by_click"]
    code, result = evaluate(tmp_path, *common, "--task", "part", dataset)
    assert (code, len(result["results"])) == (1, 1)
    assert "in the tasks salient and part" in result["failures"][0]["reason"]


def test_several_sets_have_an_overall_mean(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = evaluate(
        tmp_path, "--baseline", "box", "--data", dataset, f"{dataset}?background=0,1", "--prompt", "box"
    )
    assert (code, [mean["task"] for mean in result["means"]]) == (0, ["overall"])
    assert "overall (mean of 2 sets)" in capsys.readouterr().out


def test_the_hq_protocol_needs_an_hq_token(dataset: str, tmp_path: Path, golden_root: Path) -> None:
    sam, hq = str(golden_root / "sam.pth"), str(golden_root / "sam_hq.pth")
    common = ["--data", dataset, "--num-heads", "2", "--protocol", "hq"]
    code, result = evaluate(tmp_path, "--model", sam, hq, *common)
    assert code == 1
    assert "no HQ token" in result["failures"][0]["reason"]
    assert "--hq off" in result["failures"][0]["reason"]
    (row,) = result["results"]
    assert (result["protocol"], row["hq"], row["stretch"], row["per_image"]) == ("hq", "only", True, None)
    assert (row["min_area"], row["max_area"], row["n"]) == (0, 1, 6)
    code, result = evaluate(tmp_path, "--model", sam, *common, "--hq", "off", "--limit", "1")
    assert (code, result["hq"], result["n"]) == (0, "off", 2)


def test_edge_clicks_are_other_clicks(dataset: str, tmp_path: Path) -> None:
    common = ["--baseline", "ellipse", "--data", dataset, "--prompt", "point"]
    center, edge = (evaluate(tmp_path, *common, "--click", kind)[1] for kind in ("center", "edge"))
    assert (center["click"], edge["click"]) == ("center", "edge")
    assert edge["miou"] < center["miou"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "labels:x"], "give --model NAME|PATH or --baseline"),
        (["--baseline", "box"], "give --data"),
        (["--baseline", "box", "--data", "labels:x", "--refine", "nano"], "--refine is for models"),
        (["--baseline", "box", "--data", "labels:x", "--clicks", "2"], "1 for baselines"),
        (["--model", "nano", "--data", "labels:x", "--clicks", "1,x"], "such as 1,3,5"),
        (["--model", "nano", "--data", "labels:x", "--clicks", "0"], "at least 1"),
        (["--model", "nano", "--data", "labels:x", "--multimask", "--choice", "oracle"], "one of the two"),
        (["--baseline", "box", "--data", "labels:x", "--choice", "oracle"], "`single` too"),
        (["--baseline", "box", "--data", "labels:x", "--protocol", "hq"], "HQ tokens"),
        (["--baseline", "box", "--task", "labels:x", "labels:y"], "a name and its datasets"),
        (["--baseline", "box", "--task", "salient"], "a name and its datasets"),
        (["--baseline", "box", "--task", "overall", "labels:x"], "name the task otherwise"),
        (["--baseline", "box", "--data", "labels:x", "--min-area", "0.7"], "shares of the image"),
        (["--baseline", "box", "--data", "labels:x", "--limit", "0"], "--limit"),
    ],
)
def test_contradictions_end_with_code_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = evaluate(tmp_path, *arguments)
    assert code == 2
    assert message in result["error"]
    assert message in capsys.readouterr().err


def test_wrong_words_end_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promted"]) == 2
    assert "Did you mean 'prompted'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["prompted", "--baseline", "grabcat"])
    assert stop.value.code == 2
