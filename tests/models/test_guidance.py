"""PerSAM's guidance inside the decoder of every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.families import FAMILIES, any_family
from reference import guided_attention as twin
from torch import Tensor

from maskwright.methods.personalize.prior import Prior, guidance_of, stack
from maskwright.models.base import Decoded
from maskwright.models.guidance import GUIDANCE_MODES, Guidance, GuidanceMode, run_two_way
from maskwright.models.segmenter import Segmenter
from maskwright.types import Embedding, Geometry, Prompts

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 61, 3), dtype=np.uint8)
CLICKS = Prompts(
    torch.tensor([[[20.0, 20.0], [50.0, 8.0]], [[9.0, 30.0], [3.0, 2.0]], [[40.0, 5.0], [60.0, 39.0]]]),
    torch.tensor([[1, 0], [1, 0], [1, 0]]),
)


@pytest.fixture(scope="module", params=FAMILIES)
def segmenter(
    request: pytest.FixtureRequest, golden_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Segmenter:
    return any_family(request.param, golden_root, tmp_path_factory)


@pytest.fixture(scope="module")
def embedding(segmenter: Segmenter) -> Embedding:
    return segmenter.embed(PHOTO)


def drawn(embedding: Embedding, mode: GuidanceMode, count: int = len(CLICKS)) -> Guidance:
    generator = torch.Generator().manual_seed(0)
    _, width, height, _ = embedding.features.image.shape
    attention = torch.rand(count, height, height, generator=generator) * 3
    return Guidance(attention, torch.randn(count, width, generator=generator), mode)


def some(guidance: Guidance, rows: slice) -> Guidance:
    return guidance.map(lambda part: part[rows])


def parts(decoded: Decoded) -> list[Tensor]:
    return list(decoded.parts())


def transformer_of(model: Any) -> Any:
    return model.decoder.transformer if hasattr(model, "decoder") else model.net.mask_decoder.transformer


@pytest.mark.parametrize("mode", GUIDANCE_MODES)
def test_the_transformer_is_that_of_the_equations(
    segmenter: Segmenter, embedding: Embedding, mode: GuidanceMode
) -> None:
    module = transformer_of(segmenter.model)
    width = embedding.features.image.shape[1]
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(2, 5, width, generator=generator)
    image, position = (torch.randn(count, width, 3, 4, generator=generator) for count in (2, 1))
    guidance = Guidance(
        torch.rand(2, 3, 4, generator=generator) * 2, torch.randn(2, width, generator=generator), mode
    )
    with torch.no_grad():
        found = run_two_way(module, tokens, image, position, guidance)
    for row in range(2):
        flat, places = (part.double().flatten(1).T.numpy() for part in (image[row], position[0]))
        steer, target = guidance.attention[row].flatten(), guidance.target[row]
        expected = twin.transform(
            module,
            tokens[row].double().numpy(),
            flat,
            places,
            steer.double().numpy(),
            target.double().numpy(),
            mode,
        )
        np.testing.assert_allclose(found[0][row].numpy(), expected[0], atol=2e-5, rtol=2e-4)
        np.testing.assert_allclose(found[1][row].flatten(1).T.numpy(), expected[1], atol=2e-5, rtol=2e-4)


@pytest.mark.parametrize("multimask", [False, True])
def test_no_guidance_at_all_is_guidance_by_nothing(
    segmenter: Segmenter, embedding: Embedding, multimask: bool
) -> None:
    guidance = drawn(embedding, "bias").map(torch.zeros_like)
    plain = segmenter.decode_all(embedding, CLICKS, multimask=multimask)
    guided = segmenter.decode_all(embedding, CLICKS, multimask=multimask, guidance=guidance)
    for ours, theirs in zip(parts(guided), parts(plain), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    # A bias that is the same everywhere says nothing either.
    even = Guidance(guidance.attention + 2, guidance.target, "bias")
    same = segmenter.decode_all(embedding, CLICKS, multimask=multimask, guidance=even)
    torch.testing.assert_close(same.masks, plain.masks, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", GUIDANCE_MODES)
def test_both_parts_of_the_guidance_matter(
    segmenter: Segmenter, embedding: Embedding, mode: GuidanceMode
) -> None:
    guidance = drawn(embedding, mode)
    nothing = guidance.map(torch.zeros_like)
    variants = [
        guidance,
        Guidance(guidance.attention, nothing.target, mode),
        Guidance(nothing.attention, guidance.target, mode),
        nothing,
    ]
    # multimask: nano's refinements of the single mask are not guided any more.
    found = [segmenter.decode_all(embedding, CLICKS, multimask=True, guidance=one).tokens for one in variants]
    for number, first in enumerate(found):
        assert first.isfinite().all()
        for second in found[number + 1 :]:
            assert (first - second).abs().max() > 1e-5


@pytest.mark.parametrize("mode", GUIDANCE_MODES)
@pytest.mark.parametrize("chunk", [1, 2, 16])
def test_prompts_together_are_as_each_alone(
    segmenter: Segmenter, embedding: Embedding, mode: GuidanceMode, chunk: int
) -> None:
    guidance = drawn(embedding, mode)
    asker = Segmenter(segmenter.model, segmenter.name, chunk=chunk)
    together = asker.decode_all(embedding, CLICKS, guidance=guidance)
    assert CLICKS.points is not None
    assert CLICKS.labels is not None
    for row in range(len(CLICKS)):
        rows = slice(row, row + 1)
        one = Prompts(CLICKS.points[rows], CLICKS.labels[rows])
        alone = segmenter.decode_all(embedding, one, guidance=some(guidance, rows))
        for ours, theirs in zip(parts(alone), parts(together), strict=True):
            torch.testing.assert_close(ours[0, 0], theirs[0, row], atol=1e-4, rtol=1e-3)


def test_guidance_goes_with_its_prompt_where_clicks_differ_in_number(
    segmenter: Segmenter, embedding: Embedding
) -> None:
    """Groups of equal structure are decoded apart; each prompt keeps its own guidance."""
    assert CLICKS.points is not None
    labels = torch.tensor([[1, 0], [1, -1], [1, 0]])
    guidance = drawn(embedding, "bias")
    together = segmenter.decode_all(embedding, Prompts(CLICKS.points, labels), guidance=guidance)
    alone = [
        segmenter.decode_all(
            embedding,
            Prompts(CLICKS.points[row : row + 1, :count], labels[row : row + 1, :count]),
            guidance=some(guidance, slice(row, row + 1)),
        )
        for row, count in enumerate((2, 1, 2))
    ]
    for row, one in enumerate(alone):
        torch.testing.assert_close(one.masks[0, 0], together.masks[0, row], atol=1e-4, rtol=1e-3)


def test_mixed_precision(segmenter: Segmenter) -> None:
    half = Segmenter(segmenter.model, dtype=torch.bfloat16)
    exact = segmenter.embed(PHOTO)
    rounded = half.embed(PHOTO)
    guidance = drawn(exact, "bias")
    masks = half.decode_all(rounded, CLICKS, guidance=guidance).masks
    expected = segmenter.decode_all(exact, CLICKS, guidance=guidance).masks
    assert masks.dtype == torch.float32
    assert (masks - expected).abs().mean() < 0.2 * expected.abs().mean()


@pytest.mark.parametrize("size", [(40, 61), (61, 40), (64, 8), (16, 16)])
def test_a_bias_lies_where_the_image_does(size: tuple[int, int]) -> None:
    geometry, cells = Geometry(size, 256), 16
    full = torch.zeros(size)
    full[:, size[1] // 2 :] = 1
    prior = Prior(torch.zeros(cells, cells), full)
    (grid,) = guidance_of(prior, torch.zeros(3), geometry, cells, "bias").attention
    height, width = geometry.input_size
    rows, columns = -(-height // 16), -(-width // 16)
    # Beside the edge the resizing filter reaches over by half a cell.
    assert not grid[rows + 1 :].any()
    assert not grid[:, columns + 1 :].any()
    within = grid[: height // 16, : width // 16]
    assert (within > 0).all()
    middle = within[within.shape[0] // 2]
    assert middle[-1] > middle[0]
    (released,) = guidance_of(prior, torch.zeros(3), geometry, cells, "official").attention
    assert (released > 0).all(), "the release spreads it over the padding"


def test_a_flat_prior_steers_nowhere() -> None:
    for size in ((1, 1), (5, 7)):
        for mode in GUIDANCE_MODES:
            prior = Prior(torch.ones(4, 4), torch.full(size, 0.3))
            guidance = guidance_of(prior, torch.zeros(3), Geometry(size, 64), 4, mode)
            assert guidance.attention.isfinite().all()
            assert guidance.attention.max() <= 0.55


def test_several_guidances_become_one() -> None:
    geometry = Geometry((8, 8), 64)
    ones = [
        guidance_of(Prior(torch.zeros(4, 4), torch.rand(8, 8)), torch.full((3,), value), geometry, 4, "bias")
        for value in (1.0, 2.0)
    ]
    both = stack(ones)
    assert both.mode == "bias"
    assert torch.equal(both.attention, torch.cat([one.attention for one in ones]))
    assert both.target[:, 0].tolist() == [1, 2]
