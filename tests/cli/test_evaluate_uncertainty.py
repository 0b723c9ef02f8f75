"""`maskwright evaluate uncertainty` from arguments to tables, JSON, pictures and exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from methods.squares import make_squares
from tiny import save_tiny_model

from maskwright.cli.evaluate import main
from maskwright.models.registry import load, save
from maskwright.models.uncertainty import HeadsConfig, UncertaintyHeads


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models, the first one with heads beside it."""
    folder = tmp_path_factory.mktemp("models")
    large = save_tiny_model(folder).rename(folder / "large.safetensors")
    changed = load(large, device="cpu").model
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.mul_(1.1)
    small = save(changed, folder / "small.safetensors")
    digests = tuple((path.name, load(path, device="cpu").digest) for path in (small, large))
    names = ("quality", "model_gap", "prompt_gap", "task_gap")
    heads = UncertaintyHeads(HeadsConfig("selected", names, 96, (8,), digests))
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    heads.save(folder / "small.heads.safetensors")
    return small, large


@pytest.fixture
def data(tmp_path: Path) -> str:
    return f"labels:{make_squares(tmp_path / 'set', 48, lowest=20, smallest=10, count=4)}"


def evaluate(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    target = tmp_path / "result.json"
    fixed = ("--resamples", "5", "--device", "cpu", "--quiet")
    code = main(["uncertainty", *arguments, "--json", str(target), *fixed])
    return code, json.loads(target.read_text())


def test_one_model_gives_the_flat_form(models: tuple[Path, Path], data: str, tmp_path: Path) -> None:
    code, result = evaluate(tmp_path, "--model", str(models[0]), "--data", data, "--prompt", "point")
    assert code == 0
    assert {"quality", "iou_head", "entropy"} <= set(result["pearson"])
    assert all(isinstance(value, float) for value in result["pearson"].values())
    assert isinstance(result["ece"], float)
    assert result["n"] == len(result["per_mask"]) == 8
    assert set(result["relative_auc"]) == {"overall_quality", "prompt_refinement", "task_supervision"}
    assert {"machine", "versions", "published", "ci95", "seed", "data"} <= set(result)
    assert {"quality", "prompt_gap", "task_gap", "iou_head", "group"} <= set(result["per_mask"][0])


def test_models_prompts_and_a_page(models: tuple[Path, Path], data: str, tmp_path: Path) -> None:
    page, lines = tmp_path / "page", tmp_path / "tables.md"
    code, result = evaluate(
        tmp_path,
        *("--model", *map(str, models), "--data", data, "--prompt", "point", "box"),
        *("--answer", "multimask", "--entropies", "--limit", "3"),
        *("--pictures", str(page), "--markdown", str(lines)),
    )
    assert code == 0, result
    asked = [(one["model"], one["prompt"]) for one in result["results"]]
    assert asked == [(path.name, prompt) for path in models for prompt in ("point", "box")]
    first, box, largest, _ = result["results"]
    assert {"model_gap", "h_all", "h_theta", "h_prompt", "h_task"} <= set(
        first["relative_auc"]["model_selection"]
    )
    assert "h_all" not in box["pearson"], "averages are over clicks"
    assert box["published"] is None
    assert "model_selection" not in largest["relative_auc"]
    assert largest["heads"] is None
    assert {mask["mask"] for mask in first["per_mask"]} <= {1, 2, 3}
    text = (page / "report.html").read_text(encoding="utf-8")
    assert "small.safetensors, point" in text
    assert "Believed and bad: quality far above the IoU" in text
    assert len(list(page.glob("*.png"))) == 2 * 5 + 2 * 4
    assert "Relative AUC (published protocol" in lines.read_text(encoding="utf-8")


def test_without_heads_what_is_free_is_measured(models: tuple[Path, Path], data: str, tmp_path: Path) -> None:
    code, result = evaluate(
        tmp_path, "--model", str(models[0]), "--data", data, "--heads", "none", "--limit", "2"
    )
    assert code == 0
    assert result["heads"] is None
    assert set(result["pearson"]) == {"iou_head", "stability", "entropy", "h_task"}


def test_mistakes_are_told(models: tuple[Path, Path], data: str, tmp_path: Path) -> None:
    code, result = evaluate(tmp_path, "--data", data)
    assert code == 2
    assert "--model" in result["error"]
    code, result = evaluate(tmp_path, "--model", str(models[0]), "--data", data, "--min-area", "2")
    assert code == 2
    code, result = evaluate(tmp_path, "--model", str(models[0]), "--data", data, "--min-area", "0.55")
    assert code == 1
    assert "see --min-area" in result["error"]
