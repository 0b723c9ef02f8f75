"""A model's parts: they share its weights out, and each file goes on a base, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from models.tiny import tiny
from tiny import save_tiny_model

from maskwright.errors import InputError, WeightsError
from maskwright.models.base import MaskModel
from maskwright.models.fresh import fresh_model
from maskwright.models.parts import part_names, part_of
from maskwright.models.registry import load, save
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.task_prompts import add_task_prompts


def equal(left: MaskModel, right: MaskModel) -> bool:
    one, other = left.state_dict(), right.state_dict()
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def sources(tmp_path: Path, golden_root: Path) -> list[str]:
    tiny_nano = save_tiny_model(tmp_path)
    return [str(golden_root / "sam2.pt"), str(tiny_nano), *(str(save(tiny(kind), tmp_path / kind.family)) for kind in (SAM, SAMHQ))]  # noqa: E501  # fmt: skip


def test_parts_put_together_are_the_model(tmp_path: Path, golden_root: Path) -> None:
    for source in sources(tmp_path, golden_root):
        model = load(source).model
        torch.manual_seed(1)
        other = fresh_model(source)
        assert not equal(model, other)
        base = save(other, tmp_path / "base.safetensors")
        kept, before = model.state_dict(), other.state_dict()
        for part in part_names(model.family):
            path = save(model, tmp_path / f"{part}.safetensors", part=part)
            put = load(path, base=base).model
            for name, value in put.state_dict().items():
                whose = kept if part_of(model.family, name) == part else before
                assert torch.equal(value, whose[name]), (source, part, name)
            base, before = save(put, tmp_path / "base.safetensors"), put.state_dict()
        assert equal(load(base).model, model)


def test_hq_layers_make_a_sam_hq_and_a_decoder_goes_on_a_sam(tmp_path: Path) -> None:
    sam, hq = tiny(SAM, 1), tiny(SAMHQ, 2)
    base = save(sam, tmp_path / "sam.safetensors")
    grown = load(save(hq, tmp_path / "hq.safetensors", part="hq"), base=base).model
    assert isinstance(grown, SAMHQ)
    assert all(torch.equal(value, grown.state_dict()[name]) for name, value in sam.state_dict().items())
    token = "net.mask_decoder.hq_token.weight"
    assert torch.equal(grown.state_dict()[token], hq.state_dict()[token])
    plain = load(save(hq, tmp_path / "decoder.safetensors", part="decoder"), base=base).model
    assert plain.family == "sam"
    mask_tokens = "net.mask_decoder.mask_tokens.weight"
    assert torch.equal(plain.state_dict()[mask_tokens], hq.state_dict()[mask_tokens])


def test_task_prompts_go_with_the_decoder(tmp_path: Path) -> None:
    model = tiny(SAM)
    base = save(model, tmp_path / "base.safetensors")
    add_task_prompts(model, ("embedding",))
    path = save(model, tmp_path / "decoder.safetensors", part="decoder")
    assert load(path, base=base).model.task_prompts is not None
    path = save(model, tmp_path / "encoder.safetensors", part="encoder")
    assert load(path, base=base).model.task_prompts is None


def test_a_part_needs_its_base(tmp_path: Path, golden_root: Path) -> None:
    hq = tiny(SAMHQ)
    encoder = save(hq, tmp_path / "encoder.safetensors", part="encoder")
    whole = save(hq, tmp_path / "whole.safetensors")
    with pytest.raises(WeightsError, match=r"only the encoder of a sam_hq; give the model .* base="):
        load(encoder)
    with pytest.raises(InputError, match="does not go on a nano"):
        load(encoder, base=save_tiny_model(tmp_path))
    with pytest.raises(InputError, match=r"another architecture.*vision_config.image_size"):
        load(encoder, base=golden_root / "sam_hq.pth")
    with pytest.raises(InputError, match="complete model"):
        load(whole, base=whole)
