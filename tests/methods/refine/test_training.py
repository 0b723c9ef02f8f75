"""Training a refiner: what learns, and what a run leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from methods.refine.scene import click, image, settings

from maskwright.cli.main import main
from maskwright.errors import ConfigError
from maskwright.methods.refine.method import RefinerTraining
from maskwright.methods.refine.refiner import MaskRefiner, decoder_of
from maskwright.models.parts import PARTS
from maskwright.models.prompts import to_batch
from maskwright.models.registry import load
from maskwright.models.segmenter import Segmenter
from maskwright.models.selection import select
from maskwright.training.loop import train


def test_only_prompt_encoder_and_decoder_learn_hq_layers_included(base: Segmenter) -> None:
    model = decoder_of(base.model)
    prompts = click(14, 12)
    embedding = base.embed(image())
    features = model.fuse(embedding.features)
    decoded = model.train().decode(features, to_batch(prompts, embedding.geometry, base.device))
    select(decoded, multimask=False, hq="sum")[0].sum().backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    hq = PARTS[base.model.family].hq
    assert touched
    for start in hq:
        assert any(name.startswith(start) for name in touched), start


def test_it_learns_evaluates_exports_and_resumes(
    photos: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    chosen = settings(photos, models["nano"], steps=60, evaluate_every=60, optimizer={"lr": 3e-3})
    method = RefinerTraining(chosen)
    before = {name: value.clone() for name, value in method.model.base.state_dict().items()}
    outcome = train(method, tmp_path / "run", quiet=True)
    assert outcome.model == tmp_path / "run/model/refiner.safetensors"
    assert all(torch.equal(value, before[name]) for name, value in method.model.base.state_dict().items())
    names = {
        "refined_boundary_iou", "input_boundary_iou", "refined_iou", "input_iou", "certain_accuracy",
        "certain_share", "calibration_error", "kept",
    }  # fmt: skip
    assert names <= set(outcome.metrics)
    assert outcome.metrics["input_iou"] == outcome.before["input_iou"]
    assert outcome.metrics["refined_iou"] > 2 * outcome.metrics["input_iou"]
    base = load(models["nano"], device="cpu")
    assert MaskRefiner.load(outcome.model, base).model.family == "nano"
    # Two photos are held out of eight; each of the others is encoded as it is and mirrored, and no more.
    assert method.cache is not None
    assert method.cache.computed <= 2 * 6 + 2
    checkpoint = tmp_path / "run/checkpoints/last.safetensors"
    assert "encoder" not in checkpoint.read_bytes()[:4000].decode("latin-1").replace("prompt_encoder", "")
    again = train(RefinerTraining(chosen), tmp_path / "run", quiet=True)
    assert again.step == 60


def test_the_command_trains_and_says_how_to_go_on(
    photos: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zeros = ("--min-iou", "0", "--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--max-area", "1")
    short = ("--steps", "1", "--batch-size", "1", "--masks-per-image", "2", "--val-share", "0.3")
    given = ("--model", str(models["nano"]), "--data", f"labels:{photos}", "--out", str(tmp_path / "run"))
    assert main(["train", "refiner", *given, *zeros, *short, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "--refine" in out
    assert "maskwright label refine" in out


def test_settings_that_cannot_work_are_refused(photos: Path, models: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="cache needs augment"):
        settings(photos, models["nano"], augment="jitter", cache="memory")
    with pytest.raises(ConfigError, match="no training data"):
        RefinerTraining(settings(photos, models["nano"], data=()))
    method = RefinerTraining(settings(photos, models["nano"], min_iou=1.0))
    with pytest.raises(ConfigError, match="passes the filters: lower --min-iou"):
        method.evaluate()
    assert RefinerTraining(settings(photos, models["nano"], val_share=0)).evaluate() == {}
