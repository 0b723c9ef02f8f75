"""Whole runs: what is refused, what is held out, and that it learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.finetune.scene import settings

from maskwright.errors import ConfigError
from maskwright.methods.finetune.config import FinetuneSettings
from maskwright.methods.finetune.method import Finetune
from maskwright.methods.settings import OptimizerSettings
from maskwright.models.registry import load, save
from maskwright.models.sam import SAM
from maskwright.training.loop import train


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cache": "memory", "train": "all", "augment": "none"}, "cache needs"),
        ({"cache": "memory", "train": "hq", "augment": "jitter"}, "cache needs"),
        ({"scale": (2.0, 0.5)}, "scale is"),
        ({"prompts": ()}, "at least one"),
    ],
)
def test_contradictions_are_refused(photos: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(photos, **changes)


def test_no_data_is_an_error(nano: Path) -> None:
    with pytest.raises(ConfigError, match=r"no training data.*--data"):
        Finetune(FinetuneSettings(steps=1, model=str(nano)))


def test_validation_photos_are_not_trained_on(photos: Path, nano: Path) -> None:
    method = Finetune(settings(photos, model=str(nano), val_share=0.25))
    assert method.validation is not None
    ours = {str(method.training.image_path(i)) for i in range(len(method.training))}
    held = {str(method.validation.image_path(i)) for i in range(len(method.validation))}
    assert len(held) == 2
    assert not ours & held
    given = Finetune(settings(photos, model=str(nano), val=(f"labels:{photos}",)))
    assert given.validation is not None
    assert len(given.training) == len(given.validation) == 8


def test_nano_learns_and_what_is_exported_loads(tmp_path: Path, photos: Path, nano: Path) -> None:
    chosen = settings(
        photos,
        model=str(nano),
        steps=40,
        evaluate_every=40,
        batch_size=4,
        prompts=("box",),
        augment="flip",
        val=(f"labels:{photos}",),
        val_images=4,
        optimizer=OptimizerSettings(lr=5e-3),
        encoder_rate=1.0,
    )
    outcome = train(Finetune(chosen), tmp_path / "run", quiet=True)
    assert outcome.metrics["miou"] > outcome.before["miou"] + 0.2
    assert set(outcome.metrics) == {"miou", "boundary_iou", "click_miou", "click_boundary_iou"}
    assert outcome.model is not None
    segmenter = load(outcome.model)
    again = Finetune(chosen)
    again.model.load_state_dict(segmenter.model.state_dict())
    assert again.evaluate()["miou"] == pytest.approx(outcome.metrics["miou"], abs=1e-6)


def test_a_plain_sam_becomes_a_sam_hq_whose_hq_logits_learn(tmp_path: Path, photos: Path, sam: SAM) -> None:
    path = str(save(sam, tmp_path / "sam.safetensors"))
    chosen = settings(
        photos, model=path, train="hq", steps=24, prompts=("box",), augment="none", cache="memory",
        batch_size=4, val_share=0.0, optimizer=OptimizerSettings(name="adam", lr=1e-2), log_every=1,
    )  # fmt: skip
    method = Finetune(chosen)
    outcome = train(method, tmp_path / "run", quiet=True)
    assert method.cache is not None
    assert method.cache.computed == 8
    rows = (tmp_path / "run/log.jsonl").read_text().splitlines()
    losses = [json.loads(row)["loss"] for row in rows]
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])
    assert outcome.model is not None
    trained = load(outcome.model).model
    assert trained.family == "sam_hq"
    for name, value in sam.state_dict().items():
        assert torch.equal(trained.state_dict()[name], value), name


def test_the_golden_sam_hq_trains_in_its_decoder(tmp_path: Path, photos: Path, golden_root: Path) -> None:
    chosen = settings(
        photos, model=str(golden_root / "sam_hq.pth"), num_heads=2, train="decoder", steps=1, batch_size=1,
        masks_per_image=2, val_share=0.0, prompts=("points",),
    )  # fmt: skip
    method = Finetune(chosen)
    before = {name: value.clone() for name, value in method.model.state_dict().items()}
    outcome = train(method, tmp_path, quiet=True)
    assert outcome.model is not None
    changed = {n for n, value in method.model.state_dict().items() if not torch.equal(value, before[n])}
    assert any("mask_decoder" in name for name in changed)
    assert not any("vision_encoder" in name for name in changed)
