"""PerSAM-F: the written-out fit against autograd, and what its weights do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from methods.personalize.blobs import RED, blobs, disc, example, scene
from models.tiny import tiny
from torch import Tensor

from maskwright.losses.masks import dice, focal
from maskwright.methods.personalize.cascade import scaled_start, scales_of
from maskwright.methods.personalize.config import PersonalizeSettings
from maskwright.methods.personalize.learn import learn
from maskwright.methods.personalize.reference import Reference
from maskwright.methods.personalize.scales import EPSILON, FIT_SIDE, RATE, fit_resolution, fit_scales
from maskwright.models.base import Decoded
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, FloatArray, Geometry, Image, Prompts


def by_autograd(logits_SP: FloatArray, mask_P: BoolArray, steps: int) -> FloatArray:
    """The released loop: torch's own gradients, optimiser and schedule, in float64."""
    logits, mask = torch.tensor(logits_SP).double(), torch.tensor(mask_P).double()
    others = torch.full((len(logits) - 1,), 1 / len(logits), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.AdamW([others], lr=RATE, eps=EPSILON)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        weights = torch.cat([1 - others.sum(0, keepdim=True), others])
        mixed = (weights @ logits)[None]
        loss = dice(mixed, mask[None]) + focal(mixed, mask[None])
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        schedule.step()
    others = others.detach()
    return torch.cat([1 - others.sum(0, keepdim=True), others]).numpy().astype(np.float32)


def problem(scales: int, spread: float, share: float = 0.3) -> tuple[FloatArray, BoolArray]:
    rng = np.random.default_rng(scales)
    mask = rng.random(24 * 20) < share
    sign = np.where(mask, 1, -1)
    noise = rng.normal(0, spread, (scales, len(mask)))
    return (sign * rng.random((scales, 1)) * spread + noise).astype(np.float32), mask


@pytest.mark.parametrize(("scales", "spread", "steps"), [(3, 4.0, 1000), (4, 15.0, 300)])
def test_all_steps_end_where_autograd_does(scales: int, spread: float, steps: int) -> None:
    logits, mask = problem(scales, spread)
    expected = by_autograd(logits, mask, steps)
    found = fit_scales(logits, mask, steps)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(found - 1 / scales).max() > 0.01


@pytest.mark.parametrize(("spread", "share"), [(200.0, 0.3), (1e-3, 0.3), (5.0, 0.0), (5.0, 1.0), (0.0, 0.5)])
def test_extreme_logits_and_masks(spread: float, share: float) -> None:
    logits, mask = problem(3, spread, share)
    found = fit_scales(logits, mask, steps=50)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, by_autograd(logits, mask, 50), atol=2e-4)


@pytest.mark.parametrize("right", [0, 1, 2, 3])
def test_the_right_scale_gets_the_weight(right: int) -> None:
    """Of nested masks one is the object; the others are too small, too large, or something else."""
    rows = np.arange(40)[:, None] + np.zeros(40)
    limits = np.array([6, 14, 24, 36])
    logits = np.clip(limits[:, None, None] - rows, -8, 8).reshape(4, -1).astype(np.float32)
    mask = (rows < limits[right] - 0.5).ravel()
    weights = fit_scales(logits, mask)
    even = np.full(4, 0.25, np.float32)

    def wrong(by: FloatArray) -> int:
        return int((((by @ logits) > 0) != mask).sum())

    assert weights[right] > 0.25
    assert wrong(weights) <= wrong(even)


def decoded(hq: int | None = None) -> Decoded:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(1, 2, *shape, generator=generator)

    return Decoded(draw(4, 8, 8), draw(4), draw(6, 5), None if hq is None else draw(hq, 8, 8))


def test_the_hq_logits_are_a_further_scale() -> None:
    assert scales_of(decoded(), "sum").shape == (2, 3, 8, 8)
    one, many = decoded(1), decoded(4)
    assert one.hq is not None
    assert many.hq is not None
    for answer in (one, many):
        assert torch.equal(scales_of(answer, "off"), answer.masks[0, :, 1:])
        assert torch.equal(scales_of(answer, "sum")[:, :3], answer.masks[0, :, 1:])
    assert torch.equal(scales_of(one, "only")[:, 3], one.hq[0, :, 0])
    for row in range(2):
        best = 1 + int(many.iou[0, row, 1:].argmax())
        assert torch.equal(scales_of(many, "sum")[row, 3], many.hq[0, row, best])


@pytest.mark.parametrize(("family", "count"), [(SAM, 3), (SAMHQ, 4)])
def test_the_first_pass_is_the_weighted_sum(family: type[SAM], count: int) -> None:
    segmenter = Segmenter(tiny(family))
    embedding = segmenter.embed(scene((20, 20, RED)))
    clicks = Prompts(torch.tensor([[[20.0, 20.0]], [[40.0, 9.0]]]), torch.ones(2, 1, dtype=torch.long))
    weights = torch.tensor([[0.5, 0.3, 0.2, 0.4], [-0.2, 0.7, 0.5, 0.1]])[:, :count]
    start = scaled_start(segmenter, embedding, clicks, weights, "sum")
    answer = segmenter.decode_all(embedding, clicks, multimask=True)
    own = (weights[:, :3, None, None] * answer.masks[0, :, 1:]).sum(dim=1)
    torch.testing.assert_close(start.own[:, 0], own)
    if answer.hq is not None:
        own = own + weights[:, 3, None, None] * answer.hq[0, :, 0]
    torch.testing.assert_close(start.masks[:, 0], own)
    off = scaled_start(segmenter, embedding, clicks, weights[:, :3], "off")
    torch.testing.assert_close(off.masks, start.own)


def test_what_is_learned_is_the_fit_of_what_the_click_gives() -> None:
    for segmenter, count in ((blobs(), 3), (Segmenter(tiny(SAMHQ)), 4)):
        target = learn(segmenter, [example()], PersonalizeSettings(method="persam-f"))
        assert target.scales is not None
        assert target.scales.shape == (count,)
        assert float(target.scales.sum()) == pytest.approx(1, abs=1e-5)
        off = learn(segmenter, [example()], PersonalizeSettings(method="persam-f", hq="off"))
        assert off.scales is not None
        assert off.scales.shape == (3,)
        assert learn(segmenter, [example()]).scales is None


def test_weights_of_several_references_are_the_mean() -> None:
    segmenter = Segmenter(tiny(SAM))
    settings = PersonalizeSettings(method="persam-f", references="nearest", raw_features=True)
    other = Reference(Image(scene((40, 40, RED), (20, 20, (0, 200, 200)))), disc(40, 40))
    both = learn(segmenter, [example(), other], settings).scales
    assert both is not None
    assert float(both.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size", [(300, 451), (40, 30), (1, 1), (333, 500)])
def test_the_fit_sees_object_and_logits_at_the_same_place(size: tuple[int, int]) -> None:
    geometry = Geometry(size, 256)
    mask = np.zeros(size, np.bool_)
    mask[size[0] // 3 :, size[1] // 3 :] = True
    logits = (geometry.to_low_res(torch.tensor(mask)[None].float(), 64) - 0.5) * 8
    flat, target = fit_resolution(logits, geometry, mask)
    assert flat.shape == (1, len(target))
    assert len(target) <= FIT_SIDE * FIT_SIDE
    assert ((flat[0] > 0) == target).mean() > 0.95


def test_a_single_pixel_is_not_lost_in_the_fit() -> None:
    mask = np.zeros((1000, 700), np.bool_)
    mask[333, 444] = True
    _, target = fit_resolution(torch.zeros(3, 64, 64), Geometry((1000, 700), 256), mask)
    assert target.sum() == 1
