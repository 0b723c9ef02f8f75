"""SAM 2: the reference's numbers, transformers' at full size, and independence of prompts and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers.models.sam2 import Sam2Config, Sam2Model

from maskwright.models.base import Features, PromptBatch
from maskwright.models.registry import load
from maskwright.models.sam2 import SAM2, replace_unstable
from maskwright.models.segmenter import Segmenter
from maskwright.types import Image

TOLERANCE = 1e-4
PROMPTS = ("point", "points", "box", "box_point")


@pytest.fixture(scope="module")
def golden(golden_root: Path) -> dict[str, Tensor]:
    return load_file(golden_root / "sam2.safetensors")


@pytest.fixture(scope="module")
def segmenter(golden_root: Path) -> Segmenter:
    return load(golden_root / "sam2.pt", device="cpu")


def prompt(name: str, height: int, width: int) -> dict[str, Any]:
    """The golden prompts, as the README of the vectors defines them."""
    point, other = (0.45 * width, 0.55 * height), (0.9 * width, 0.1 * height)
    box = (0.2 * width, 0.25 * height, 0.75 * width, 0.9 * height)
    if name == "box":
        return {"boxes": [box]}
    if name == "box_point":
        return {"boxes": [box], "points": [[(0.5 * width, 0.5 * height)]], "labels": [[1]]}
    points = [point] if name == "point" else [point, other]
    return {"points": [points], "labels": [[1, 0][: len(points)]]}


def assert_close(actual: Tensor, expected: Tensor) -> None:
    error = (actual - expected).abs().max() / expected.abs().max()
    assert float(error) < TOLERANCE


def test_features_are_the_references(segmenter: Segmenter, golden: dict[str, Tensor]) -> None:
    features = segmenter.embed(Image(golden["image"].numpy())).features
    assert_close(features.image, golden["image_embed"])
    for index in (0, 1):
        assert_close(features.high_res[index], golden[f"high_res.{index}"])


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("mode", ["multi", "single"])
def test_masks_scores_and_tokens_are_the_references(
    segmenter: Segmenter, golden: dict[str, Tensor], name: str, mode: str
) -> None:
    image = Image(golden["image"].numpy())
    masks = segmenter(image, **prompt(name, *image.size), multimask=mode == "multi")
    prefix = f"{name}.{mode}"
    assert_close(masks.low_res[0], golden[f"{prefix}.low_res"])
    assert_close(masks.iou[0], golden[f"{prefix}.iou"])
    assert masks.tokens is not None
    assert_close(masks.tokens[:, 0], golden[f"{prefix}.iou_token"])
    assert_close(masks.tokens[:, 1:5], golden[f"{prefix}.mask_tokens"])
    if name == "box":
        assert_close(masks.logits()[0], golden[f"{prefix}.masks"])


def test_a_mask_prompt_gives_the_references_mask(segmenter: Segmenter, golden: dict[str, Tensor]) -> None:
    image = Image(golden["image"].numpy())
    masks = segmenter(image, **prompt("points", *image.size), masks=golden["mask_prompt.input"])
    assert_close(masks.low_res[0], golden["mask_prompt.low_res"])
    assert_close(masks.iou[0], golden["mask_prompt.iou"])


def test_prompts_and_images_do_not_influence_each_other(
    segmenter: Segmenter, golden: dict[str, Tensor]
) -> None:
    model = segmenter.model
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, 256, 256, generator=generator)
    points = 256 * torch.rand(2, 3, 2, 2, generator=generator)
    labels = torch.tensor([[1, 0], [1, 1], [1, -1]]).expand(2, -1, -1)
    masks = torch.randn(2, 3, 64, 64, generator=generator)
    with torch.no_grad():
        together = model.decode(model.encode(pixels), PromptBatch(points, labels, masks=masks))
        for image in range(2):
            features = model.encode(pixels[image : image + 1])
            for row in range(3):
                pick = (slice(image, image + 1), slice(row, row + 1))
                alone = model.decode(features, PromptBatch(points[pick], labels[pick], masks=masks[pick]))
                assert torch.allclose(together.masks[pick], alone.masks, atol=1e-3)
                assert torch.allclose(together.iou[pick], alone.iou, atol=1e-5)
    assert together.masks.shape == (2, 3, 4, 64, 64)
    assert together.tokens.shape == (2, 3, 6, 32)


def test_a_mask_alone_is_a_prompt(segmenter: Segmenter) -> None:
    with torch.no_grad():
        features = segmenter.model.encode(torch.zeros(1, 3, 256, 256))
        decoded = segmenter.model.decode(features, PromptBatch(masks=torch.zeros(1, 2, 64, 64)))
    assert decoded.masks.shape == (1, 2, 4, 64, 64)
    assert torch.equal(decoded.masks[:, 0], decoded.masks[:, 1])


def test_the_configuration_builds_the_same_model(segmenter: Segmenter) -> None:
    again = SAM2.from_config(segmenter.model.config_dict())
    assert again.state_dict().keys() == segmenter.model.state_dict().keys()
    assert (again.image_size, again.low_res) == (256, 64)


@pytest.fixture(scope="module")
def tiny() -> Sam2Model:
    """SAM 2.1 Tiny at its full size with random weights; transformers starts two of its tables at zero."""
    torch.manual_seed(0)
    net = Sam2Model(Sam2Config()).eval()
    with torch.no_grad():
        for table in (net.vision_encoder.backbone.pos_embed, net.no_memory_embedding):
            table.normal_(std=0.5)
        net.prompt_encoder.shared_embedding.positional_embedding.copy_(
            net.shared_image_embedding.positional_embedding
        )
    return net


@pytest.mark.slow
def test_full_size_equals_transformers(tiny: Sam2Model) -> None:
    model = SAM2(tiny)
    pixels = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(1))
    points, labels = torch.tensor([[[[400.0, 650.0], [30.0, 20.0]]]]), torch.tensor([[[1, 0]]])
    boxes = torch.tensor([[[100.0, 200.0, 700.0, 900.0]]])
    with torch.no_grad():
        features = model.encode(pixels)
        embeddings = tiny.get_image_embeddings(pixels)
        compare(features, embeddings)
        for given in ({"input_points": points, "input_labels": labels}, {"input_boxes": boxes}):
            batch = PromptBatch(
                given.get("input_points"), given.get("input_labels"), given.get("input_boxes")
            )
            decoded = model.decode(features, batch)
            for multimask, chosen in ((True, slice(1, None)), (False, slice(0, 1))):
                reference = tiny(image_embeddings=embeddings, multimask_output=multimask, **given)
                assert_close(decoded.masks[:, :, chosen], reference.pred_masks)
                assert_close(decoded.iou[:, :, chosen], reference.iou_scores)


def test_an_unstable_single_mask_is_replaced_by_the_best_other() -> None:
    masks = torch.full((1, 2, 4, 8, 8), -3.0)
    masks[0, 0, 0, :4] = 0.01  # prompt 0: hangs in the balance
    masks[0, 1, 0, :4] = 3.0  # prompt 1: certain
    masks[0, :, 2, 2:] = 5.0
    iou = torch.tensor([[[0.9, 0.2, 0.8, 0.3]] * 2])
    replaced, scores, tokens = replace_unstable(masks, iou, 0.05, 0.98)
    assert torch.equal(replaced[0, 0, 0], masks[0, 0, 2])
    assert tokens.tolist() == [[[2, 1, 2, 3], [0, 1, 2, 3]]]
    assert torch.equal(replaced[0, 1, 0], masks[0, 1, 0])
    assert torch.equal(replaced[:, :, 1:], masks[:, :, 1:])
    assert scores[0, :, 0].tolist() == pytest.approx([0.8, 0.9])


def compare(features: Features, embeddings: list[Tensor]) -> None:
    for ours, theirs in zip((*features.high_res, features.image), embeddings, strict=True):
        assert_close(ours, theirs)
