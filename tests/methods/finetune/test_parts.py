"""Which parameters learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from maskwright.errors import ConfigError, InputError
from maskwright.methods.finetune.loss import Targets, decoder_losses
from maskwright.methods.finetune.parts import learning_groups
from maskwright.models.base import MaskModel, PromptBatch
from maskwright.models.hq_layers import add_hq_layers
from maskwright.models.parts import PARTS
from maskwright.models.registry import load
from maskwright.models.sam import SAM
from maskwright.models.segmenter import Segmenter


def names(model: MaskModel, train: str, rate: float = 0.5) -> set[str]:
    groups = learning_groups(model, train, rate)  # type: ignore[arg-type]
    found = [name for group in groups for name in group.parameters]
    assert len(found) == len(set(found))
    return set(found)


def test_hq_layers_are_the_only_ones_that_learn_and_as_many_as_published(sam: SAM) -> None:
    model = add_hq_layers(sam)
    learning = names(model, "hq")
    assert learning == {n for n, _ in model.named_parameters()} - {n for n, _ in sam.named_parameters()}
    # The counts of the paper's ViT-B: C = 256, vit_dim = 768 (derived in closed form).
    width, vit, named = 16, 16, dict(model.named_parameters())
    eighth, quarter = width // 8, width // 4
    mlp = 2 * (width * width + width) + width * eighth + eighth
    compress = vit * width * 4 + width + 2 * width + width * eighth * 4 + eighth
    upscale = width * quarter * 4 + quarter + 2 * quarter + quarter * eighth * 4 + eighth
    maps = eighth * quarter * 9 + quarter + 2 * quarter + quarter * eighth * 9 + eighth
    assert sum(named[name].numel() for name in learning) == width + mlp + compress + upscale + maps


def test_decoder_and_all(sam: SAM, nano: Path) -> None:
    for model in (sam, add_hq_layers(sam), load(nano).model):
        decoder, everything = names(model, "decoder"), names(model, "all")
        assert decoder < everything
        assert not any("positional" in name or "vision_encoder" in name for name in decoder)
        rest = {n for n, _ in model.named_parameters()} - everything
        assert all("positional_embedding" in name for name in rest)
    scales = {group.name: group.lr_scale for group in learning_groups(sam, "all", 0.25)}
    assert scales["encoder"] == 0.25
    assert scales["decoder"] == 1.0
    with pytest.raises(ConfigError, match="a sam has no HQ layers"):
        names(sam, "hq")


def frozen(model: MaskModel, *freeze: str, train: str = "all") -> set[str]:
    """What learns of it."""
    groups = learning_groups(model, train, 1.0, freeze)  # type: ignore[arg-type]
    return {name for group in groups for name in group.parameters}


def test_named_modules_are_frozen(sam: SAM, nano: Path) -> None:
    for model in (add_hq_layers(sam), load(nano).model):
        everything, parts = frozen(model), PARTS[model.family]
        words = ("encoder", "prompt_encoder", "decoder", "hq")
        shares = [everything - frozen(model, word) for word in words]
        # The four words share everything out among them.
        assert all(shares)
        assert set().union(*shares) == everything
        assert sum(map(len, shares)) == len(everything)
        assert shares[0] == {name for name in everything if name.startswith(parts.encoder)}
        assert shares[3] == frozen(model, train="hq")
        assert frozen(model, "encoder", "prompt_encoder", "hq") == shares[2]
        first = everything - frozen(model, "encoder.blocks.0")
        assert first
        assert all(name.startswith(f"{parts.blocks}0.") for name in first)
        assert everything - frozen(model, "*.bias") == {name for name in everything if name.endswith(".bias")}
    two = add_hq_layers(sam)
    assert frozen(two) - frozen(two, "encoder.blocks.0-1") == {
        name for name in frozen(two) if ".layers." in name and "vision_encoder" in name
    }


def test_what_freezes_nothing_or_everything_is_refused(sam: SAM) -> None:
    with pytest.raises(ConfigError, match=r"'encodr' names nothing in this sam.*Did you mean 'encoder'"):
        frozen(sam, "encodr")
    for nothing in ("hq", "encoder.blocks.7", "encoder.blocks.3-1", "vision_encoder"):
        with pytest.raises(ConfigError, match="names nothing"):
            frozen(sam, nothing)
    with pytest.raises(ConfigError, match=r"nothing is left to learn: .*encoder, decoder, prompt_encoder"):
        frozen(sam, "encoder", "decoder", "prompt_encoder")


def test_fresh_hq_layers_add_nothing_at_first(sam: SAM) -> None:
    model = add_hq_layers(sam)
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    asked = {"boxes": [5, 5, 30, 30]}
    summed, off = (Segmenter(model)(image, **asked, hq=hq).low_res for hq in ("sum", "off"))
    assert torch.equal(summed, off)
    assert torch.equal(model.state_dict()["net.vision_encoder.pos_embed"], sam.net.vision_encoder.pos_embed)
    with pytest.raises(InputError, match="not to a sam_hq"):
        add_hq_layers(model)


def test_sam2_decoder_trains(photos: Path, golden_root: Path) -> None:
    path = str(golden_root / "sam2.pt")
    model = load(path, image_size=256).model
    learning = names(model, "decoder")
    assert not any("conv_s" in name or "no_memory" in name for name in learning)
    prompts = PromptBatch(boxes=torch.tensor([[[20.0, 20.0, 90.0, 90.0]]]))
    output = model.decode(model.backbone(torch.randn(1, 3, 256, 256)), prompts)
    targets = Targets(torch.ones(1, 256, 256), None, torch.tensor([True]))
    losses = decoder_losses(output, targets, hq_only=False, points=64, generators=[torch.Generator()])
    losses["loss"].backward()
    assert set(losses) == {"mask", "iou_head", "loss"}
