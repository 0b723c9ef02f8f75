"""Gradients taken round by round are those of one backward pass; each block has its own learning rate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from methods.interactive.scene import SIDE, make_nano, make_world, sum_settings
from models.tiny import tiny

from maskwright.methods.base import StepContext
from maskwright.methods.interactive.gradients import Gradients
from maskwright.methods.interactive.layers import layered_groups, rate_scales
from maskwright.methods.interactive.method import SUM
from maskwright.methods.interactive.rounds import interact
from maskwright.models.parts import PARTS
from maskwright.models.registry import load
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.training.optimizer import freeze_rest
from maskwright.training.stream import Batches


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


def context() -> StepContext:
    return StepContext(0, 1, torch.Generator())


@pytest.mark.parametrize("family", ["nano", "sam", "sam_hq"])
@pytest.mark.parametrize("train", ["decoder", "all"])
def test_rounds_one_by_one_are_all_rounds_at_once(world: Path, family: str, train: str) -> None:
    method = SUM(sum_settings(world, train=train, rounds=3, cache="off"))
    if family != "nano":
        method.model = tiny(SAM if family == "sam" else SAMHQ)
    data = method.training_data()
    freeze_rest(method)
    method.model.train()
    [keys] = Batches(data, 1, 4).keys(0)
    batch = data.collate([data[key] for key in keys])
    method.training_step(batch, context())["loss"].backward()
    ours = {name: p.grad for name, p in method.model.named_parameters()}
    method.model.zero_grad()

    features = method._features(batch.pixels)
    total = torch.zeros(())
    for row, objects in enumerate(batch.objects):
        if len(objects.masks):
            part = features.map(lambda values, row=row: values[row : row + 1])
            losses = [one["loss"] for one in interact(method.model, part, objects, method.settings)]
            total = total + torch.stack(losses).mean() / len(batch.objects)
    total.backward()
    assert any(gradient is not None for gradient in ours.values())
    for name, parameter in method.model.named_parameters():
        mine = ours[name]
        if parameter.grad is None or mine is None:
            assert parameter.grad is mine, name
            continue
        scale = parameter.grad.abs().max() + 1e-6
        assert (mine - parameter.grad).abs().max() / scale < 1e-3, name
    encoder = [name for name in ours if name.startswith(PARTS[family].encoder)]
    learned = any(ours[name] is not None and ours[name].any() for name in encoder)  # type: ignore[union-attr]
    assert learned == (train == "all")


def test_nothing_added_sends_zeros() -> None:
    model = tiny(SAM)
    features = model.encode(torch.zeros(1, 3, SIDE, SIDE))
    gradients = Gradients(list(model.parameters()), features)
    gradients.loss(torch.zeros(())).backward()
    found = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(found) == 1
    assert not found[0].any()


def test_mixed_precision_gives_about_the_same(world: Path) -> None:
    method = SUM(sum_settings(world))
    data = method.training_data()
    freeze_rest(method)
    method.model.train()
    batch = data.collate([data[key] for key in Batches(data, 1, 4).keys(0)[0]])
    found = []
    for enabled in (False, True):
        method.model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = method.training_step(batch, context())["loss"]
        loss.backward()
        grads = [p.grad.flatten() for p in method.model.parameters() if p.grad is not None]
        assert all(g.dtype == torch.float32 for g in grads)
        found.append(torch.cat(grads))
    assert torch.cosine_similarity(found[0], found[1], dim=0) > 0.95


def test_blocks_learn_at_their_own_rate(tmp_path: Path) -> None:
    nano = load(make_nano(tmp_path)).model
    scales = rate_scales(nano, 0.8)
    assert scales["encoder.blocks.0.qkv.weight"] == 0.8
    assert scales["encoder.stem.weight"] == scales["encoder.middle.0.conv1.weight"] == pytest.approx(0.64)
    assert scales["encoder.neck.1.weight"] == scales["decoder.tokens"] == scales["prompts.kinds"] == 1
    for model in (tiny(SAM), tiny(SAMHQ)):
        scales = rate_scales(model, 0.5)
        for block in range(4):
            assert scales[f"net.vision_encoder.layers.{block}.attn.qkv.weight"] == 0.5 ** (4 - block)
        assert scales["net.vision_encoder.patch_embed.projection.weight"] == 0.5**5
        assert scales["net.vision_encoder.pos_embed"] == 0.5**5
        assert scales["net.vision_encoder.neck.conv1.weight"] == 1
        assert all(value == 1 for name, value in scales.items() if "vision_encoder" not in name)
    groups = layered_groups(nano, 0.8)
    names = [name for group in groups for name in group.parameters]
    assert sorted(names) == sorted(name for name, _ in nano.named_parameters())
    assert len({group.name for group in groups}) == len(groups)
    assert {group.lr_scale for group in layered_groups(nano, 1.0)} == {1.0}


def test_blocks_of_sam2(golden_root: Path) -> None:
    model = load(str(golden_root / "sam2.pt"), image_size=256).model
    scales = rate_scales(model, 0.5)
    blocks = 1 + max(int(name.split(".")[4]) for name in scales if ".backbone.blocks." in name)
    assert blocks == 7
    first = [value for name, value in scales.items() if ".backbone.blocks.0." in name]
    assert set(first) == {0.5**7}
    assert scales["net.vision_encoder.backbone.pos_embed"] == 0.5**8
    assert scales["net.no_memory_embedding"] == scales["net.mask_decoder.conv_s0.weight"] == 1
    assert set(scales.values()) == {0.5**k for k in range(9)}
