"""`maskwright evaluate prompted` from arguments to table, JSON, pictures and exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from maskwright.cli.evaluate import main


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "labels:x"], "give --model NAME|PATH or --baseline"),
        (["--baseline", "box"], "give --data"),
        (["--baseline", "box", "--data", "labels:x", "--clicks", "2"], "1 for baselines"),
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
