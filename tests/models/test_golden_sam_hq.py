"""SAM-HQ gives the numbers of the public implementation, which transformers' own forward does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from models.golden import assert_close, golden, prompts
from torch import Tensor

import maskwright
from maskwright.models.base import PromptBatch
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.segmenter import Segmenter

MODES = {"sum": "sum", "hq_only": "only"}


@pytest.fixture(scope="module")
def reference(golden_root: Path) -> dict[str, Tensor]:
    return golden(golden_root, "sam_hq")


@pytest.fixture(scope="module")
def segmenter(golden_root: Path) -> Segmenter:
    return maskwright.load(golden_root / "sam_hq.pth", num_heads=2, device="cpu")


def test_features(segmenter: Segmenter, reference: dict[str, Tensor]) -> None:
    features = segmenter.embed(reference["image"].numpy()).features
    assert_close(features.image, reference["image_embeddings"], "image embedding")
    assert_close(features.early, reference["interm_embeddings.0"], "early map")


@pytest.mark.parametrize("hq", ["sum", "hq_only"])
@pytest.mark.parametrize("mode", ["single", "multi"])
@pytest.mark.parametrize("prompt", ["point", "points", "box", "box_point"])
def test_prompts(segmenter: Segmenter, reference: dict[str, Tensor], prompt: str, mode: str, hq: str) -> None:
    image = reference["image"].numpy()
    masks = segmenter(image, **prompts(*image.shape[:2])[prompt], multimask=mode == "multi", hq=MODES[hq])
    key = f"{prompt}.{mode}.{hq}"
    assert_close(masks.low_res[0], reference[f"{key}.low_res"], f"{key} low_res")
    assert_close(masks.iou[0], reference[f"{key}.iou"], f"{key} iou")
    if prompt == "box":
        assert_close(masks.logits()[0], reference[f"{key}.masks"], f"{key} masks")


def test_mask_prompt_with_points(segmenter: Segmenter, reference: dict[str, Tensor]) -> None:
    image = reference["image"].numpy()
    masks = segmenter(image, **prompts(*image.shape[:2])["points"], masks=reference["mask_prompt.input"])
    assert_close(masks.low_res[0], reference["mask_prompt.low_res"], "mask prompt low_res")
    assert_close(masks.iou[0], reference["mask_prompt.iou"], "mask prompt iou")


def test_modes_are_consistent(segmenter: Segmenter, reference: dict[str, Tensor]) -> None:
    embedding = segmenter.embed(reference["image"].numpy())
    box = prompts(200, 300)["box"]
    sam, hq, both = (segmenter(embedding, **box, hq=mode) for mode in ("off", "only", "sum"))
    torch.testing.assert_close(sam.low_res + hq.low_res, both.low_res)
    three = segmenter(embedding, **box, multimask=True, hq="off")
    assert three.low_res.shape == (1, 3, 64, 64)
    best = segmenter(embedding, **box, multimask=True, hq="sum")
    torch.testing.assert_close(best.iou, three.best().iou)
    torch.testing.assert_close(best.low_res, three.best().low_res + hq.low_res)


def test_a_missing_hq_map_is_fused_while_decoding_with_gradients(segmenter: Segmenter) -> None:
    model = segmenter.model
    assert isinstance(model, SAMHQ)
    prompt = PromptBatch(boxes=torch.tensor([[[20.0, 30.0, 150.0, 120.0]]]))
    with torch.no_grad():
        cached = model.backbone(torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)))
        assert not cached.high_res
        expected = model.decode(model.fuse(cached), prompt).hq
    decoded = model.decode(cached, prompt).hq
    assert decoded is not None
    torch.testing.assert_close(decoded, expected)
    weight = model.net.mask_decoder.compress_vit_conv1.weight
    (gradient,) = torch.autograd.grad(decoded.sum(), weight)
    assert gradient.abs().sum() > 0
