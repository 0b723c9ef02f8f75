"""Training of boundary models: that it learns, goes on where it stopped, and what it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data.miniatures import make_bsds
from methods.everything.discs import make_discs
from tiny import save_tiny_boundary, save_tiny_transformers

from maskwright.cli.train import main
from maskwright.data.outlines import outline
from maskwright.data.registry import open_dataset
from maskwright.errors import ConfigError
from maskwright.methods.base import ItemKey, Losses, StepContext
from maskwright.methods.everything.config import BoundarySettings
from maskwright.methods.everything.items import Batch
from maskwright.methods.everything.method import BoundaryTraining
from maskwright.methods.everything.validation import Validation
from maskwright.models.boundary_files import load_boundary, save_boundary
from maskwright.models.nano_boundary import NanoBoundary, NanoBoundaryConfig
from maskwright.recipes import read_recipe
from maskwright.training.checkpoint import read_state
from maskwright.training.folder import RunFolder
from maskwright.training.loop import train


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_discs(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_boundary(tmp_path_factory.mktemp("start") / "tiny.safetensors")


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = NanoBoundaryConfig(8, 8, 16, 32, depth=1, heads=2, width=16, detail=8, head=8)
    file = tmp_path_factory.mktemp("nano") / "nano.safetensors"
    return save_boundary(NanoBoundary(config), file, resolution=None)


def settings(discs: Path, start: Path, **changes: Any) -> BoundarySettings:
    values = {
        "steps": 4,
        "batch_size": 2,
        "model": str(start),
        "data": (f"labels:{discs}",),
        "val_share": 0.25,
        "val_images": 2,
        "crop": 64,
        "device": "cpu",
        **changes,
    }
    return BoundarySettings.model_validate(values)


def test_a_small_segformer_learns_to_outline_discs(discs: Path, start: Path, tmp_path: Path) -> None:
    out, result = tmp_path / "run", tmp_path / "result.json"
    code = main(
        f"boundary --data labels:{discs} --model {start} --out {out} --json {result} --quiet --device cpu "
        "--steps 120 --batch-size 4 --crop 64 --resolution None --scale 0.8 1.2 "
        "--val-share 0.25 --evaluate-every 120 --optimizer.lr 0.01 --schedule.warmup 5 --ema 0.9 "
        "--log-every 5".split()
    )
    assert code == 0
    found = json.loads(result.read_text())
    assert found["before"]["ods"] < 0.4
    assert found["metrics"]["ods"] > found["before"]["ods"] + 0.25
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:2])
    detector = load_boundary(found["model"], device="cpu")
    assert (detector.resolution, detector.keep_aspect) == (None, False)
    photo = discs / "images/00.png"
    probability = detector(photo)
    assert probability.shape == (72, 96)
    held_out = Validation(open_dataset(f"labels:{discs}"), settings(discs, start, val_images=12))
    assert held_out.measure(detector.model)["ods"] > found["before"]["ods"] + 0.25


def a_batch(method: BoundaryTraining) -> Batch:
    items = method.training_data()
    return items.collate([items[ItemKey(index, 0, 0)] for index in range(2)])


CONTEXT = StepContext(0, 1, torch.Generator())


@pytest.mark.parametrize("dice", [0.0, 0.5])
@pytest.mark.parametrize("loss", ["bce", "balanced", "consensus", "soft"])
def test_every_loss_learns_from_what_is_known_and_from_nothing_else(
    discs: Path, start: Path, loss: str, dice: float
) -> None:
    method = BoundaryTraining(settings(discs, start, loss=loss, dice=dice))
    batch = a_batch(method)
    method.train_mode()
    before = method.training_step(batch, CONTEXT)["loss"]
    before.backward()
    gradients = {name: p.grad for name, p in method.model.named_parameters()}
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients.values())
    optimizer = torch.optim.Adam(method.model.parameters(), 1e-3)
    for _ in range(5):
        optimizer.step()
        optimizer.zero_grad()
        method.training_step(batch, CONTEXT)["loss"].backward()
    assert float(method.training_step(batch, CONTEXT)["loss"].detach()) < float(before.detach())
    optimizer.zero_grad()
    unknown = batch._replace(ignore_BHW=torch.ones_like(batch.ignore_BHW))
    nothing = method.training_step(unknown, CONTEXT)["loss"]
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not any(p.grad.any() for p in method.model.parameters() if p.grad is not None)


def test_everything_learns_and_the_encoder_at_its_own_rate(discs: Path, start: Path, nano: Path) -> None:
    for model in (start, nano):
        method = BoundaryTraining(settings(discs, model, encoder_rate=0.1))
        groups = {group.name: group for group in method.parameter_groups()}
        assert set(groups) == {"encoder", "encoder vectors", "head", "head vectors"}
        assert {name: group.lr_scale for name, group in groups.items()} == {
            "encoder": 0.1,
            "encoder vectors": 0.1,
            "head": 1.0,
            "head vectors": 1.0,
        }
        named = [name for group in groups.values() for name in group.parameters]
        assert sorted(named) == sorted(name for name, _ in method.model.named_parameters())
        assert all("head." in name for name in groups["head"].parameters)
        assert groups["head"].weight_decay is None
        assert groups["head vectors"].weight_decay == 0.0


def test_a_resumed_run_equals_one_that_was_not_stopped(discs: Path, start: Path, tmp_path: Path) -> None:
    class Stopped(BoundaryTraining):
        asked = False

        def training_step(self, batch: Batch, context: StepContext) -> Losses:
            if context.step == 2 and not self.asked:
                self.asked = True
                signal.raise_signal(signal.SIGTERM)
            return super().training_step(batch, context)

    wanted = settings(discs, start, steps=5, batch_size=3, ema=0.9, accumulate=2, evaluate_every=2)
    whole = train(BoundaryTraining(wanted), tmp_path / "whole", quiet=True)
    first = train(Stopped(wanted), tmp_path / "parts", quiet=True)
    assert first.stopped == signal.SIGTERM
    assert first.step < 5
    second = train(BoundaryTraining(wanted), tmp_path / "parts", quiet=True)
    assert second.metrics == whole.metrics
    states = [read_state(RunFolder(tmp_path / name).last) for name in ("whole", "parts")]
    assert states[0].tensors.keys() == states[1].tensors.keys()
    for name, value in states[0].tensors.items():
        assert torch.equal(value, states[1].tensors[name]), name
    assert states[0].values["random"] == states[1].values["random"]


def test_two_processes_learn_what_one_does(discs: Path, nano: Path, tmp_path: Path) -> None:
    """With nano-boundary, which has no batch norm, to the last bits of rounding."""
    flags = (
        f"nano-boundary --data labels:{discs} --model {nano} --quiet --device cpu --precision fp32 "
        "--workers 0 --steps 2 --crop 32 --val-share 0 --scale 1 1"
    ).split()
    assert main([*flags, "--batch-size", "2", "--out", str(tmp_path / "one")]) == 0
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*run, "-m", "maskwright", "train", *flags, "--batch-size", "1", "--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (read_state(RunFolder(tmp_path / name).last).part("model") for name in ("one", "two"))
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-5), name


def test_a_segmenter_gets_a_new_classifier_that_the_seed_decides(discs: Path, tmp_path: Path) -> None:
    folder = save_tiny_transformers(tmp_path / "segmenter", classes=19)
    models = [BoundaryTraining(settings(discs, folder, seed=seed)).model for seed in (1, 1, 2)]
    weights = [model.state_dict()["net.decode_head.classifier.weight"] for model in models]
    assert weights[0].shape[0] == 1
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_exported_model_knows_how_it_was_trained(discs: Path, start: Path, tmp_path: Path) -> None:
    changes = {"resolution": 80, "keep_aspect": True, "augment": "published", "steps": 1, "val_share": 0}
    outcome = train(BoundaryTraining(settings(discs, start, **changes)), tmp_path / "run", quiet=True)
    assert outcome.metrics == {}
    assert outcome.model == tmp_path / "run/model/boundary.safetensors"
    detector = load_boundary(outcome.model, device="cpu")
    assert (detector.resolution, detector.keep_aspect) == (80, True)
    commands = BoundaryTraining(settings(discs, start)).next_steps(outcome.model)
    assert all(str(outcome.model) in command for command in commands)


def test_validation_measures_what_each_annotator_drew(tmp_path: Path, start: Path) -> None:
    bsds = open_dataset(f"bsds500:{make_bsds(tmp_path)}?split=trainval")
    held_out = Validation(bsds, settings(tmp_path, start, val_images=5))
    assert held_out.chosen == [0, 1]
    drawn = bsds.contours(0)
    assert drawn is not None
    found = held_out.boundaries(0, (24, 32))
    assert all(np.array_equal(a, b) for a, b in zip(found, drawn.maps, strict=True))
    labels = open_dataset(f"labels:{make_discs(tmp_path / 'discs', 2)}")
    (only,) = Validation(labels, settings(tmp_path, start)).boundaries(0, (72, 96))
    assert np.array_equal(only, outline(labels.shapes(0), thickness=1))


def test_without_data_it_says_how_to_name_them(discs: Path, start: Path) -> None:
    with pytest.raises(ConfigError, match="--data KIND:FOLDER"):
        BoundaryTraining(settings(discs, start, data=()))


def test_the_published_recipes_are_as_published() -> None:
    stage_1, stage_3 = (read_recipe(name).values for name in ("boundary-sa1b", "boundary-merged"))
    for values in (stage_1, stage_3):
        assert values["resolution"] == 1024
        assert values["clip_norm"] == 0.04
        assert (values["augment"], values["style"], values["loss"]) == ("published", "official", "bce")
        rest = {"name": "adamw", "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}
        assert values["optimizer"] == {"lr": values["optimizer"]["lr"], **rest}
        assert values["schedule"] == {"name": "constant", "warmup": 5000}
    assert (stage_1["batch_size"], stage_1["thickness"], stage_1["optimizer"]["lr"]) == (8, 5, 1e-4)
    assert (stage_3["batch_size"], stage_3["accumulate"], stage_3["optimizer"]["lr"]) == (16, 4, 5e-5)
