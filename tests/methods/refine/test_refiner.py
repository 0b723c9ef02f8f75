"""The refiner in use and its file: what it is fed, and that it never encodes a photo."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from methods.refine.scene import altered, click, image
from models.tiny import tiny

from maskwright.data.prompts import center_point, tight_box
from maskwright.errors import InputError, WeightsError
from maskwright.io.label_shards import decode_probability, encode_probability, to_logits
from maskwright.methods.refine.refiner import MaskRefiner, decoder_of, disagreement, save_refiner, soft_prompt
from maskwright.models.parts import PARTS
from maskwright.models.registry import load
from maskwright.models.sam import SAM
from maskwright.models.segmenter import Segmenter
from maskwright.types import Masks, Prompts


def test_soft_prompts_are_the_stored_probabilities_and_doing_it_again_changes_nothing() -> None:
    logits = 6 * torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    soft = soft_prompt(logits)
    stored = torch.from_numpy(to_logits(decode_probability(encode_probability(logits))))
    assert torch.allclose(soft, stored, atol=1e-4)
    assert torch.equal(soft_prompt(soft), soft)
    assert torch.allclose(soft_prompt(stored), stored, atol=1e-4)
    assert float(soft_prompt(torch.tensor([80.0, -80.0])).abs().max()) == pytest.approx(math.log(509))


@pytest.mark.parametrize("size", [(40, 60), (60, 30), (64, 64)])
def test_refining_costs_one_decoder_pass_and_no_encoding(
    base: Segmenter, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    refiner = altered(base)
    embedding, prompts = base.embed(image(*size)), click(14, 12)
    masks = base.decode(embedding, prompts, multimask=True)
    calls = []
    decode = type(refiner.model).decode

    def counted(*given: Any) -> Any:
        calls.append(given[2].shape)
        return decode(*given)

    monkeypatch.setattr(type(refiner.model), "decode", counted)
    monkeypatch.setattr(type(base.model), "encode", lambda *_: pytest.fail("a photo was encoded again"))
    side, count = base.model.low_res, masks.low_res.shape[1]
    boxes = torch.tensor([[2.0, 3.0, 25.0, 28.0]]).repeat(count, 1)
    refined = refiner.refine(embedding, masks.low_res[0], boxes, torch.full((count, 2), 12.0))
    assert calls == [(1, count)]
    assert refined.shape == (count, side, side)
    assert bool(refined.isfinite().all())
    assert not hasattr(refiner.model, "vision_encoder")
    assert not any(name.startswith(PARTS[base.model.family].encoder) for name in refiner.model.state_dict())


def test_an_untrained_refiner_is_the_base_given_its_own_mask_back(base: Segmenter) -> None:
    embedding = base.embed(image())
    masks = base.decode(embedding, click(14, 12))
    logits, box, point = (
        masks.low_res[0],
        torch.tensor([[2.0, 3.0, 25.0, 28.0]]),
        torch.tensor([[14.0, 12.0]]),
    )
    refined = MaskRefiner(decoder_of(base.model), base).refine(embedding, logits, box, point)
    given = Prompts(point[None], torch.ones(1, 1, dtype=torch.long), box, soft_prompt(logits))
    if base.model.family == "sam2":
        net: Any = base.model.net
        net.config.mask_decoder_config.dynamic_multimask_via_stability = False
    base.model.train()  # nano then decodes in one pass
    again = base.decode(embedding, given)
    base.model.eval()
    assert torch.allclose(refined, again.low_res[0], atol=1e-5)


def test_masks_come_back_in_order_and_empty_ones_as_they_were(base: Segmenter) -> None:
    refiner = altered(base)
    embedding = base.embed(image())
    side = base.model.low_res
    low_res = torch.full((3, 1, side, side), -4.0)
    low_res[0, :, 2:9, 3:8] = 5
    low_res[2, :, 5:11, 1:6] = 5
    masks = Masks(low_res, torch.tensor([[0.1], [0.2], [0.3]]), embedding.geometry)
    points = torch.tensor([[[9.0, 9.0]], [[5.0, 5.0]], [[0.0, 0.0]]])
    prompts = Prompts(
        points, torch.tensor([[1], [1], [0]]), torch.tensor([[1.0, 1, 30, 30]] * 2 + [[math.nan] * 4])
    )
    assert prompts.boxes is not None
    refined = refiner.refine_masks(embedding, masks, prompts)
    assert torch.equal(refined.low_res[1], low_res[1])
    assert torch.equal(refined.extras["unrefined_iou"], masks.iou)
    assert refined.iou[1] == masks.iou[1]
    assert refined.iou[0] != masks.iou[0]
    for n, own_click in ((0, torch.tensor([[9.0, 9.0]])), (2, None)):
        mask = masks.binary()[n, 0]
        if own_click is None:  # its only click is beside the object: the mask's innermost pixel
            own_click = torch.from_numpy(center_point(mask))[None]
        own_box = prompts.boxes[n] if n == 0 else torch.from_numpy(tight_box(mask))
        one = refiner.refine(embedding, low_res[n], own_box[None], own_click)
        assert torch.allclose(one[0], refined.low_res[n, 0], atol=1e-5)
    uncertainty = disagreement(masks, refined)
    expected = (masks.logits().sigmoid() - refined.logits().sigmoid()).abs()
    assert torch.allclose(uncertainty, expected)
    assert float(uncertainty[1].max()) == 0


def test_the_chunk_makes_no_difference(base: Segmenter) -> None:
    refiner = altered(base)
    embedding, side = base.embed(image()), base.model.low_res
    logits = torch.randn(5, side, side, generator=torch.Generator().manual_seed(0))
    boxes, points = torch.tensor([[2.0, 3.0, 25.0, 28.0]]).repeat(5, 1), torch.full((5, 2), 12.0)
    at_once = refiner.refine(embedding, logits, boxes, points)
    chunk, base.chunk = base.chunk, 2
    in_parts = refiner.refine(embedding, logits, boxes, points)
    base.chunk = chunk
    assert torch.allclose(at_once, in_parts, atol=1e-5)
    assert refiner.refine(embedding, logits[:0], boxes[:0], points[:0]).shape == (0, side, side)


def test_what_does_not_fit_is_refused(models: dict[str, Path]) -> None:
    base = load(models["sam"], device="cpu")
    refiner, embedding, side = altered(base), base.embed(image()), base.model.low_res
    logits, box, point = torch.zeros(1, side, side), torch.tensor([[1.0, 1, 9, 9]]), torch.ones(1, 2)
    with pytest.raises(InputError, match="masks_logits must have shape"):
        refiner.refine(embedding, logits[:, 1:], box, point)
    with pytest.raises(InputError, match="an empty mask cannot be refined"):
        refiner.refine(embedding, logits, box * float("nan"), point)
    with pytest.raises(InputError, match=r"was made by tiny\.safetensors"):
        refiner.refine(load(models["nano"], device="cpu").embed(image()), logits, box, point)


def test_the_file_holds_no_encoder_and_gives_the_same_masks(base: Segmenter, tmp_path: Path) -> None:
    refiner = altered(base)
    path = save_refiner(refiner.model, base.model, tmp_path / "refiner.safetensors")
    embedding, side = base.embed(image()), base.model.low_res
    given = (torch.randn(2, side, side), torch.tensor([[2.0, 3, 25, 28]] * 2), torch.full((2, 2), 12.0))
    again = MaskRefiner.load(tmp_path, base)
    expected = refiner.refine(embedding, *given)
    assert torch.allclose(again.refine(embedding, *given), expected, atol=0.05 * float(expected.abs().max()))
    assert again.signature.startswith("refiner:")
    learned = sum(p.numel() for n, p in refiner.model.named_parameters() if "position" not in n)
    assert path.stat().st_size < 2 * learned + 60_000
    with pytest.raises(WeightsError, match="holds only a refiner, not a whole model"):
        load(path)


def test_a_refiner_for_another_encoder_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    base = load(models["sam"], device="cpu")
    path = save_refiner(decoder_of(base.model), base.model, tmp_path / "r.safetensors")
    other = Segmenter(tiny(SAM, seed=1), "mine")
    with pytest.raises(WeightsError, match=r"another image encoder.*\(same kind, other weights\)"):
        MaskRefiner.load(path, other)
    # Another decoder on the same encoder is no other encoder.
    with torch.no_grad():
        net: Any = base.model.net
        net.mask_decoder.iou_token.weight.add_(1)
    assert MaskRefiner.load(path, base).model is not base.model
    with pytest.raises(WeightsError, match="holds a whole model, not a refiner"):
        MaskRefiner.load(models["sam"], base)


def test_names_and_paths_that_lead_nowhere_say_what_to_do(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load(models["nano"], device="cpu")
    monkeypatch.setattr("maskwright.methods.refine.refiner.PACKAGED", tmp_path)
    with pytest.raises(InputError, match="train one with `maskwright train refiner --model nano"):
        MaskRefiner.load("nano", base)
    with pytest.raises(InputError, match=r"does not exist\. Did you mean 'nano'"):
        MaskRefiner.load("nanno", base)
    save_refiner(decoder_of(base.model), base.model, tmp_path / "nano_refiner.safetensors")
    assert MaskRefiner.load("nano", base).signature.startswith("nano_refiner:")
