"""SAM gives the numbers of the public implementation, through the public interface."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from models.golden import assert_close, golden, prompts
from torch import Tensor

import maskwright
from maskwright.models.sam import SAM
from maskwright.models.segmenter import Segmenter


@pytest.fixture(scope="module")
def reference(golden_root: Path) -> dict[str, Tensor]:
    return golden(golden_root, "sam")


@pytest.fixture(scope="module")
def segmenter(golden_root: Path) -> Segmenter:
    return maskwright.load(golden_root / "sam.pth", num_heads=2, device="cpu")


def test_image_embedding(segmenter: Segmenter, reference: dict[str, Tensor]) -> None:
    embedding = segmenter.embed(reference["image"].numpy())
    assert_close(embedding.features.image, reference["image_embeddings"], "image embedding")


@pytest.mark.parametrize("mode", ["single", "multi"])
@pytest.mark.parametrize("prompt", ["point", "points", "box", "box_point"])
def test_prompts(segmenter: Segmenter, reference: dict[str, Tensor], prompt: str, mode: str) -> None:
    image = reference["image"].numpy()
    masks = segmenter(image, **prompts(*image.shape[:2])[prompt], multimask=mode == "multi")
    key = f"{prompt}.{mode}"
    assert_close(masks.low_res[0], reference[f"{key}.low_res"], f"{key} low_res")
    assert_close(masks.iou[0], reference[f"{key}.iou"], f"{key} iou")
    if prompt == "box":
        assert_close(masks.logits()[0], reference[f"{key}.masks"], f"{key} masks")


def test_mask_prompt_with_points(segmenter: Segmenter, reference: dict[str, Tensor]) -> None:
    image = reference["image"].numpy()
    masks = segmenter(image, **prompts(*image.shape[:2])["points"], masks=reference["mask_prompt.input"])
    assert_close(masks.low_res[0], reference["mask_prompt.low_res"], "mask prompt low_res")
    assert_close(masks.iou[0], reference["mask_prompt.iou"], "mask prompt iou")


def test_tokens_are_iou_then_masks(segmenter: Segmenter, reference: dict[str, Tensor]) -> None:
    masks = segmenter(reference["image"].numpy(), **prompts(200, 300)["box"], multimask=True)
    assert masks.tokens is not None
    assert masks.tokens.shape == (1, 5, 32)
    assert isinstance(segmenter.model, SAM)
    head = segmenter.model.net.mask_decoder.iou_prediction_head
    with torch.no_grad():
        assert_close(head(masks.tokens[:, 0])[:, 1:], masks.iou, "the IoU head of the first token")
