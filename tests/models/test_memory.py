"""The account of a model's memory: it adds up, and what it says of single modules is true."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from models.tiny import tiny
from tiny import save_tiny_model

from maskwright.models.base import MaskModel
from maskwright.models.memory import MemoryReport, ModuleMemory, measure, shown_rows
from maskwright.models.registry import load
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ

ADDITIVE = ("parameters", "weights", "made", "held", "gradients", "optimizer")


def models(tmp_path: Path, golden_root: Path) -> list[MaskModel]:
    return [
        tiny(SAM),
        tiny(SAMHQ),
        load(save_tiny_model(tmp_path)).model,
        load(golden_root / "sam2.pt").model,
    ]


def row(report: MemoryReport, name: str) -> ModuleMemory:
    return next(row for row in report.modules if row.name == name)


def test_it_adds_up_for_every_family(tmp_path: Path, golden_root: Path) -> None:
    for model in models(tmp_path, golden_root):
        for training in (False, True):
            report = measure(model, training=training)
            whole, *below = report.modules
            unique = {id(value): value for value in (*model.parameters(), *model.buffers())}
            assert whole.weights == sum(value.nbytes for value in unique.values())
            assert whole.parameters == sum(value.numel() for value in model.parameters())
            assert report.peak >= whole.peak >= max(other.peak for other in below)
            assert whole.made > whole.peak > 0
            assert whole.gradients == training * sum(value.nbytes for value in model.parameters())
            assert whole.optimizer == 2 * whole.gradients
            assert report.total == whole.weights + report.peak + whole.optimizer
            for holder in report.modules:
                children = [r for r in below if r.name.rpartition(".")[0] == holder.name]
                assert all(sum(getattr(c, f) for c in children) <= getattr(holder, f) for f in ADDITIVE)
            for depth in (0, 1, 2, 9):
                shown = shown_rows(report, depth)
                holders = {r.name.rpartition(".")[0] for r in shown if r.name and r.kind}
                finest = [r for r in shown if r.name not in holders]
                assert all(sum(getattr(r, f) for r in finest) == getattr(whole, f) for f in ADDITIVE)
                assert all(getattr(shown[-1], field) >= 0 for field in ADDITIVE)


def test_what_a_single_layer_makes(tmp_path: Path) -> None:
    model = tiny(SAM)
    report = measure(model, images=3)
    # A 16 x 16 patch each 16 pixels of 64: 3 images of 4 x 4 cells, 32 wide, float32.
    patches = row(report, "net.vision_encoder.patch_embed.projection")
    assert patches.made == 3 * 4 * 4 * 32 * 4
    assert patches.parameters == 32 * 3 * 16 * 16 + 32
    assert patches.kind == "Conv2d"
    # What goes into the GELU is held for the backward pass only: 3 x 4 x 4 cells, 128 wide.
    hidden = "net.vision_encoder.layers.0.mlp.lin1"
    assert row(report, hidden).held == 0
    assert row(measure(model, images=3, training=True), hidden).held == 3 * 4 * 4 * 128 * 4


def test_training_holds_more_and_prompts_cost(tmp_path: Path) -> None:
    model = tiny(SAMHQ)
    plain, training, many = measure(model), measure(model, training=True), measure(model, prompts=5)
    assert training.peak > plain.peak
    assert training.modules[0].held > plain.modules[0].held
    assert row(many, "net.mask_decoder").made > 3 * row(plain, "net.mask_decoder").made
    assert row(many, "net.vision_encoder").made == row(plain, "net.vision_encoder").made


@pytest.mark.parametrize("mode", [True, False])
def test_the_model_stays_as_it_was(mode: bool) -> None:
    model = tiny(SAM).train(mode)
    model.net.prompt_encoder.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure(model, training=True)
    assert model.training is mode
    assert not model.net.prompt_encoder.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
