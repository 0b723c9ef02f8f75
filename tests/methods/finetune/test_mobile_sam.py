"""MobileSAM and Light HQ-SAM learn as any SAM does; their batch norms keep their statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from methods.finetune.scene import settings
from models.tiny import tiny

from maskwright.methods.finetune.method import Finetune
from maskwright.methods.finetune.parts import encoder_signature, learning_groups
from maskwright.methods.interactive.layers import rate_scales
from maskwright.models.keys import BATCH_STATISTICS
from maskwright.models.mobile_sam import LightHQSAM, MobileSAM
from maskwright.models.registry import load, save
from maskwright.training.loop import train


def test_which_parameters_learn() -> None:
    model = tiny(LightHQSAM)
    everything = {
        name: p for group in learning_groups(model, "all", 0.1) for name, p in group.parameters.items()
    }
    rest = {name for name, _ in model.named_parameters()} - set(everything)
    assert all("positional_embedding" in name for name in rest)
    assert not any("head." in name and "vision_encoder" in name for name in everything)
    decoder = [name for group in learning_groups(model, "decoder", 1.0) for name in group.parameters]
    assert not any("vision_encoder" in name for name in decoder)
    for group in learning_groups(model, "all", 0.1):
        if group.weight_decay != 0.0:
            assert not any(
                name.endswith(("attention_biases", "norm.weight", "bn.weight")) for name in group.parameters
            )


def test_rates_fall_by_stage() -> None:
    scales = rate_scales(tiny(MobileSAM), 0.5)
    for stage in range(4):
        prefix = f"net.vision_encoder.layers.{stage}."
        assert {value for name, value in scales.items() if name.startswith(prefix)} == {0.5 ** (4 - stage)}
    assert scales["net.vision_encoder.patch_embed.seq.0.c.weight"] == 0.5**5
    assert scales["net.vision_encoder.neck.conv1.weight"] == 1


def test_the_signature_sees_the_statistics() -> None:
    model = tiny(MobileSAM)
    before = encoder_signature(model)
    with torch.no_grad():
        model.net.vision_encoder.patch_embed.seq[0].bn.running_mean.add_(0.1)
    assert encoder_signature(model) != before


@pytest.mark.parametrize("what", ["hq", "decoder", "all"])
def test_a_mobile_sam_learns(tmp_path: Path, photos: Path, what: str) -> None:
    start = tiny(MobileSAM)
    path = str(save(start, tmp_path / "mobile.safetensors"))
    chosen = settings(
        photos, model=path, train=what, steps=2, val_share=0.0, prompts=("box",), augment="none"
    )
    outcome = train(Finetune(chosen), tmp_path / "run", quiet=True)
    assert outcome.model is not None
    trained = load(outcome.model).model
    assert trained.family == ("mobile_sam_hq" if what == "hq" else "mobile_sam")
    before, after = start.state_dict(), trained.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert not any(
        name.endswith(BATCH_STATISTICS) or ("head." in name and "encoder" in name) for name in changed
    )
    encoder = {name for name in changed if "vision_encoder" in name}
    if what == "hq":
        assert not changed
    elif what == "decoder":
        assert changed
        assert not encoder
    else:
        kinds = ("c.weight", "bn.weight", "bn.bias", "attention_biases", "qkv.weight", "fc2.bias")
        assert all(any(name.endswith(kind) for name in encoder) for kind in kinds)
