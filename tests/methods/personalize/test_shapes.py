"""Every family, every shape of image: random weights give finite, repeatable answers and never an error."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from models.families import FAMILIES, any_family
from models.tiny import tiny
from torch import nn

from maskwright.methods.personalize.cascade import guided_start, refine, scaled_start, scales_of
from maskwright.methods.personalize.config import MethodName, PersonalizeSettings
from maskwright.methods.personalize.features import own_features
from maskwright.methods.personalize.find import find
from maskwright.methods.personalize.learn import learn
from maskwright.methods.personalize.prior import guidance_of, locate
from maskwright.methods.personalize.reference import Reference
from maskwright.models.guidance import GuidanceMode
from maskwright.models.mobile_sam import LightHQSAM
from maskwright.models.prompts import to_batch
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.segmenter import Segmenter
from maskwright.types import Image, Prompts

METHODS: tuple[MethodName, ...] = get_args(MethodName)
GUIDED = tuple(method for method in METHODS if method != "persam-f")
SHAPES = [(64, 64), (40, 61), (8, 8), (1, 1), (1, 9), (400, 12), (3000, 40)]


@pytest.fixture(scope="module", params=FAMILIES)
def segmenter(
    request: pytest.FixtureRequest, golden_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Segmenter:
    return any_family(request.param, golden_root, tmp_path_factory)


def photo(size: tuple[int, int], seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def reference(size: tuple[int, int] = (40, 61)) -> Reference:
    mask = np.zeros(size, np.bool_)
    mask[: -(-size[0] // 2), : -(-size[1] // 2)] = True
    return Reference(photo(size), mask)


@pytest.mark.parametrize(
    ("method", "guidance"),
    [*product(METHODS, ("bias",)), *product(GUIDED, ("official",))],
)
def test_every_family_learns_and_finds(
    segmenter: Segmenter, method: MethodName, guidance: GuidanceMode
) -> None:
    settings = PersonalizeSettings(method=method, guidance=guidance, parts=3)
    known = learn(segmenter, [reference()], settings)
    first, second = (find(segmenter, photo((50, 37), 1), [known], threshold=-1) for _ in range(2))
    for one in (*first, *second):
        assert one.mask.shape == (50, 37)
        assert -1 <= one.similarity <= 1 + 1e-6
        assert one.masks.low_res.isfinite().all()
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.masks.low_res, other.masks.low_res)
        assert one.similarity == other.similarity
    again = learn(segmenter, [reference()], settings)
    assert again.digest == known.digest


@pytest.mark.parametrize("size", SHAPES)
def test_every_shape(size: tuple[int, int]) -> None:
    segmenter = Segmenter(tiny(SAMHQ))
    for method in METHODS:
        settings = PersonalizeSettings(method=method, parts=3)
        known = learn(segmenter, [reference(size)], settings)
        assert all(part.isfinite().all() for part in (known.vectors, known.embedding, known.object))
        for one in find(segmenter, photo(size, 1), [known], threshold=-1, instances=2):
            assert one.mask.shape == size
            assert one.masks.low_res.isfinite().all()


def test_grey_images_are_taken() -> None:
    segmenter = Segmenter(tiny(SAM))
    known = learn(segmenter, [reference()])
    grey = photo((30, 45)).pixels[..., 0]
    one, other = (find(segmenter, image, [known], threshold=-1) for image in (grey, np.stack([grey] * 3, -1)))
    assert [found.similarity for found in one] == [found.similarity for found in other]


@pytest.mark.parametrize("value", [-50.0, 50.0])
def test_an_empty_or_full_mask_between_the_passes(segmenter: Segmenter, value: float) -> None:
    """The release crashes on an empty second mask; here the third pass goes without a box."""
    embedding = segmenter.embed(photo((40, 61)))
    points = torch.tensor([[[20.0, 20.0]], [[30.0, 10.0]]])
    prompts = Prompts(points, torch.ones(2, 1, dtype=torch.long))
    features = segmenter.model.low_res // 4
    start = scaled_start(segmenter, embedding, prompts, torch.full((2, 3), 1 / 3), "off")
    map_ = torch.full_like(start.own, value)
    blank = replace(start, own=map_, masks=map_)
    second, third = refine(segmenter, embedding, prompts, blank, hq="off", box_at_once=True)
    assert second.boxes is not None
    if value < 0:
        assert second.boxes.isnan().all()
    else:
        assert second.boxes[0].tolist() == [0, 0, 60, 39]
    assert third.own.shape == (2, 3, 4 * features, 4 * features)
    assert third.own.isfinite().all()


class TestHQ:
    """SAM-HQ with its HQ layers truly at work."""

    PROMPTS = Prompts(torch.tensor([[[20.0, 20.0], [50.0, 8.0]]]), torch.tensor([[1, 0]]))

    @pytest.fixture(params=["sam_hq", "mobile_sam_hq"])
    def hq(self, request: pytest.FixtureRequest) -> Segmenter:
        return Segmenter(tiny(SAMHQ if request.param == "sam_hq" else LightHQSAM))

    def test_masks_of_the_later_passes_differ_and_sams_own_are_given_back(self, hq: Segmenter) -> None:
        embedding = hq.embed(photo((40, 61)))
        start = guided_start(hq, embedding, self.PROMPTS, None)
        off, only, both = (
            refine(hq, embedding, self.PROMPTS, start, hq=mode, box_at_once=False)
            for mode in ("off", "only", "sum")
        )
        for number in range(2):
            assert (off[number].masks - both[number].masks).abs().max() > 1e-2
            assert (off[number].masks - only[number].masks).abs().max() > 1e-2
        # The second pass gets the same logits in all modes, and so gives the same ones of SAM's own.
        assert torch.equal(off[0].own, both[0].own)
        assert torch.equal(off[0].own, only[0].own)
        torch.testing.assert_close(off[0].own + only[0].masks, both[0].masks)
        # What goes on to the third is SAM's own, with the box of the mask as it is shown.
        chosen = both[0].best()
        fed = Prompts(self.PROMPTS.points, self.PROMPTS.labels, both[1].boxes, chosen.own[:, 0])
        again = hq.decode_all(embedding, fed, multimask=True)
        torch.testing.assert_close(both[1].own, again.masks[0, :, 1:])
        assert again.hq is not None
        torch.testing.assert_close(both[1].masks, again.masks[0, :, 1:] + again.hq[0])

    def test_hq_layers_change_what_is_found(self) -> None:
        plain = Segmenter(tiny(SAMHQ))
        known = learn(plain, [reference()])
        before = find(plain, photo((40, 61), 1), [known], threshold=-1)[0].masks.low_res
        model = tiny(SAMHQ)
        with torch.no_grad():
            # In the last layer's bias, so that the digest of the weights tells it, too.
            model.net.mask_decoder.hq_mask_mlp.proj_out.bias[0] += 3
        changed = Segmenter(model)
        known = learn(changed, [reference()])
        after = find(changed, photo((40, 61), 1), [known], threshold=-1)[0].masks.low_res
        assert (before - after).abs().max() > 1e-2
        off = PersonalizeSettings(hq="off")
        without = [
            find(one, photo((40, 61), 1), [learn(one, [reference()], off)], threshold=-1)[0].masks.low_res
            for one in (plain, changed)
        ]
        assert torch.equal(*without)

    def test_gradients_reach_the_hq_layers_through_the_guided_decoder(self, hq: Segmenter) -> None:
        """`find` needs no gradients; the model itself, asked as the passes ask it, gives them."""
        embedding = hq.embed(photo((40, 61)))
        known = learn(hq, [reference()])
        prior = locate(own_features(embedding), known.embedding[None])
        guidance = guidance_of(prior, known.embedding, embedding.geometry, 4, "bias")
        batch = to_batch(self.PROMPTS, embedding.geometry, hq.device)
        first = hq.model.decode(embedding.features, replace(batch, guidance=guidance))
        second = hq.model.decode(embedding.features, replace(batch, masks=first.masks[:, :, 0]))
        assert second.hq is not None
        scales = scales_of(second, "sum")
        assert scales.shape[1] == 4
        (second.masks[:, :, 1:] + second.hq).square().mean().backward()
        assert isinstance(hq.model, SAMHQ)
        decoder: nn.Module = hq.model.net.mask_decoder
        names = [name for name, _ in decoder.named_parameters() if "hq" in name or "mask_conv" in name]
        assert names
        for name in names:
            gradient = decoder.get_parameter(name).grad
            assert gradient is not None, name
            assert gradient.abs().sum() > 0, name
