"""The released one-shot flow, number by number: guidance official, features compared as they are, no HQ."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from models.golden import TOLERANCE, assert_close, golden
from torch import Tensor

import maskwright
from maskwright.methods.personalize.cascade import Pass, guided_start, refine
from maskwright.methods.personalize.config import PersonalizeSettings
from maskwright.methods.personalize.features import FeatureMap, own_features
from maskwright.methods.personalize.find import find
from maskwright.methods.personalize.learn import learn
from maskwright.methods.personalize.prior import Prior, guidance_of, locate
from maskwright.methods.personalize.reference import Reference
from maskwright.models.guidance import Guidance
from maskwright.models.segmenter import Segmenter
from maskwright.types import Embedding, Image, Masks, Prompts

RELEASED = PersonalizeSettings(guidance="official", raw_features=True, hq="off")


@pytest.fixture(scope="module")
def expected(golden_root: Path) -> dict[str, Tensor]:
    return golden(golden_root, "persam")


@pytest.fixture(scope="module")
def segmenter(golden_root: Path) -> Segmenter:
    return maskwright.load(golden_root / "sam.pth", num_heads=2, device="cpu")


@pytest.fixture(scope="module")
def reference(expected: dict[str, Tensor]) -> Reference:
    return Reference(Image(expected["ref_image"].numpy()), expected["ref_mask"].numpy() > 0)


@pytest.fixture(scope="module")
def cells(segmenter: Segmenter, reference: Reference) -> tuple[FeatureMap, Tensor]:
    features = own_features(segmenter.embed(reference.image))
    return features, features.cells(reference.mask)


@pytest.fixture(scope="module")
def embedding(segmenter: Segmenter, expected: dict[str, Tensor]) -> Embedding:
    return segmenter.embed(expected["test_image"].numpy())


@pytest.fixture(scope="module")
def prior(embedding: Embedding, cells: tuple[FeatureMap, Tensor]) -> Prior:
    features, chosen = cells
    return locate(own_features(embedding), features.of(chosen).mean(dim=0)[None])


@pytest.fixture(scope="module")
def guidance(prior: Prior, embedding: Embedding, expected: dict[str, Tensor]) -> Guidance:
    return guidance_of(prior, expected["target_embedding"][0], embedding.geometry, 16, "official")


@pytest.fixture(scope="module")
def passes(
    segmenter: Segmenter, embedding: Embedding, prior: Prior, guidance: Guidance
) -> tuple[Pass, Pass, Pass]:
    clicks = Prompts(torch.tensor([[prior.highest(), prior.lowest()]]).float(), torch.tensor([[1, 0]]))
    first = guided_start(segmenter, embedding, clicks, guidance)
    return first, *refine(segmenter, embedding, clicks, first, hq="off", box_at_once=False)


def test_reference(cells: tuple[FeatureMap, Tensor], expected: dict[str, Tensor]) -> None:
    features, chosen = cells
    assert torch.equal(chosen, expected["ref_mask_grid"].bool())
    assert_close(features.of(chosen).mean(dim=0)[None], expected["target_embedding"], "target embedding")


def test_location_prior(prior: Prior, expected: dict[str, Tensor]) -> None:
    assert_close(prior.cells, expected["similarity_grid"][0, 0], "similarity of the cells")
    assert_close(prior.full, expected["similarity_full"], "similarity at full size")
    assert [list(prior.highest()), list(prior.lowest())] == expected["points"].tolist()


def test_guidance(guidance: Guidance, expected: dict[str, Tensor]) -> None:
    assert_close(guidance.attention.flatten(), expected["attention_guidance"].flatten(), "guidance")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_passes(passes: tuple[Pass, Pass, Pass], expected: dict[str, Tensor], number: int) -> None:
    one = passes[number - 1]
    assert_close(one.own[0], expected[f"pass{number}.low_res"], f"pass {number} low_res")
    assert_close(one.iou[0], expected[f"pass{number}.iou"], f"pass {number} iou")


def test_box_and_mask(
    passes: tuple[Pass, Pass, Pass], embedding: Embedding, expected: dict[str, Tensor]
) -> None:
    last = passes[2].best()
    assert last.boxes is not None
    assert last.boxes[0].tolist() == expected["pass3.box"].tolist()
    assert_same_mask(Masks(last.masks, last.iou, embedding.geometry), expected["final_mask"])


def assert_same_mask(found: Masks, expected_HW: Tensor) -> None:
    """But for pixels whose logits are zero within the tolerance."""
    wrong = found.binary()[0, 0] != (expected_HW.numpy() > 0)
    logits = found.logits()[0, 0].abs()
    assert logits[torch.from_numpy(wrong)].sum() <= TOLERANCE * logits.max()
    assert wrong.sum() < 5


def test_the_whole_flow(segmenter: Segmenter, reference: Reference, expected: dict[str, Tensor]) -> None:
    target = learn(segmenter, [reference], RELEASED)
    assert_close(target.embedding[None], expected["target_embedding"], "target embedding")
    assert_close(target.vectors, expected["target_embedding"], "vectors")
    (found,) = find(segmenter, expected["test_image"].numpy(), [target], threshold=-1)
    assert_same_mask(found.masks, expected["final_mask"])
    assert found.points.tolist() == expected["points"].tolist()
    assert found.labels.tolist() == [1, 0]
