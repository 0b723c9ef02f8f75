"""Nano: shapes, sizes, prompts drawn as maps, and that every kind of prompt counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from maskwright import load, save
from maskwright.models.base import PromptBatch
from maskwright.models.nano import Nano, NanoConfig, attend
from maskwright.models.nano_prompts import RASTER_CHANNELS, rasterise
from maskwright.models.segmenter import Segmenter

SMALL = NanoConfig(
    image_size=64,
    stem=8,
    fine=16,
    middle=16,
    coarse=32,
    depth=1,
    heads=2,
    width=32,
    decoder_heads=2,
    mlp=32,
    detail=8,
)


@pytest.fixture
def model() -> Nano:
    torch.manual_seed(0)
    return Nano(SMALL).eval()


def boxes(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float32)


@torch.no_grad()
def test_every_mask_token_gets_a_mask_a_score_and_an_hq_map(model: Nano) -> None:
    features = model.encode(torch.randn(2, 3, 64, 64))
    decoded = model.decode(features, PromptBatch(boxes=torch.rand(2, 3, 4).sort().values * 64))
    assert decoded.masks.shape == (2, 3, 4, 16, 16)
    assert decoded.hq is not None
    assert decoded.hq.shape == decoded.masks.shape
    assert decoded.iou.shape == (2, 3, 4)
    assert decoded.tokens.shape == (2, 3, 6, 32)
    assert ((decoded.iou > 0) & (decoded.iou < 1)).all()


@torch.no_grad()
def test_one_prompt_decodes_the_same_alone_and_among_others(model: Nano) -> None:
    features = model.encode(torch.randn(1, 3, 64, 64))
    both = model.decode(features, PromptBatch(boxes=boxes([2, 3, 30, 40], [10, 10, 60, 62])))
    alone = model.decode(features, PromptBatch(boxes=boxes([10, 10, 60, 62])))
    torch.testing.assert_close(both.masks[:, 1:], alone.masks, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "prompts",
    [
        PromptBatch(boxes=boxes([5, 5, 40, 40])),
        PromptBatch(points=torch.full((1, 1, 1, 2), 30.0), labels=torch.ones(1, 1, 1, dtype=torch.long)),
        PromptBatch(points=torch.full((1, 1, 1, 2), 30.0), labels=torch.zeros(1, 1, 1, dtype=torch.long)),
        PromptBatch(masks=torch.randn(1, 1, 16, 16)),
    ],
    ids=["box", "object click", "background click", "mask"],
)
def test_every_kind_of_prompt_changes_the_mask(model: Nano, prompts: PromptBatch) -> None:
    features = model.encode(torch.randn(1, 3, 64, 64))
    no_point = PromptBatch(points=torch.zeros(1, 1, 1, 2), labels=torch.full((1, 1, 1), -1))
    assert not torch.allclose(model.decode(features, prompts).masks, model.decode(features, no_point).masks)


@torch.no_grad()
def test_an_absent_box_or_point_equals_none(model: Nano) -> None:
    features = model.encode(torch.randn(1, 3, 64, 64))
    box = boxes([5, 5, 40, 40])
    empty = PromptBatch(torch.zeros(1, 1, 1, 2), torch.full((1, 1, 1), -1), torch.full((1, 1, 4), torch.nan))
    raster = rasterise(empty, 64, 16, like=torch.zeros(1))
    assert raster.shape == (1, RASTER_CHANNELS, 16, 16)
    assert not raster.any()
    assert model.decode(features, PromptBatch(boxes=box)).masks.isfinite().all()


def test_a_drawn_box_covers_its_area_to_a_fraction_of_a_cell() -> None:
    raster = rasterise(PromptBatch(boxes=boxes([3.5, 8.0, 31.0, 50.25])), 64, 16, like=torch.zeros(1))
    area = float(raster[0, 1].sum()) * (64 / 16) ** 2
    assert area == pytest.approx((31.0 - 3.5) * (50.25 - 8.0), rel=1e-5)


def test_attention_equals_the_fused_kernel() -> None:
    query, key, value = torch.randn(3, 2, 2, 7, 8)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(attend(query, key, value), expected)


def test_saved_and_loaded_at_half_precision_it_gives_nearly_the_same_masks(
    model: Nano, tmp_path: Path
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    before = Segmenter(model, name="small")(photo, boxes=[5, 5, 30, 30]).logits()
    loaded = load(save(model, tmp_path / "small.safetensors", dtype=torch.float16), device="cpu")
    after = loaded(photo, boxes=[5, 5, 30, 30]).logits()
    assert isinstance(loaded.model, Nano)
    assert loaded.model.config == SMALL
    assert float((after - before).abs().max()) < 0.02 * float(before.abs().max()) + 0.02


def test_three_masks_each_with_its_own_hq_map(model: Nano) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    segmenter = Segmenter(model, name="small")
    three = segmenter(photo, points=[[20, 20]], multimask=True)
    assert three.low_res.shape[:2] == (1, 3)
    off, only = (segmenter(photo, points=[[20, 20]], multimask=True, hq=mode) for mode in ("off", "only"))
    torch.testing.assert_close(off.low_res + only.low_res, three.low_res)


def test_another_input_side_needs_no_other_weights(model: Nano) -> None:
    model.with_image_size(96)
    decoded = model.decode(model.encode(torch.randn(1, 3, 96, 96)), PromptBatch(boxes=boxes([5, 5, 40, 40])))
    assert decoded.masks.shape[-2:] == (24, 24)


@torch.no_grad()
def test_refinement_gives_the_single_mask_back_and_keeps_the_others(model: Nano) -> None:
    features = model.encode(torch.randn(1, 3, 64, 64))
    prompts = PromptBatch(boxes=boxes([5, 5, 40, 40]))
    first, refined = model.decode_once(features, prompts), model.decode(features, prompts)
    assert first.hq is not None
    assert refined.hq is not None
    torch.testing.assert_close(refined.masks[:, :, 1:], first.masks[:, :, 1:])
    logits = first.masks + first.hq
    for _ in range(SMALL.refinements):
        given = replace(prompts, masks=logits[:, :, 0].clamp(-16, 16))
        again = model.decode_once(features, given)
        assert again.hq is not None
        logits = again.masks + again.hq
    torch.testing.assert_close((refined.masks + refined.hq)[:, :, 0], logits[:, :, 0])
    assert not torch.equal(refined.masks[:, :, 0], first.masks[:, :, 0])
    model.train()
    torch.testing.assert_close(model.decode(features, prompts).masks, first.masks)
