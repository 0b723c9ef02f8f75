"""The segmenter: any image, any mix of prompts, and the same answer however the work is cut up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models.tiny import tiny

from maskwright.errors import InputError
from maskwright.models.base import Decoded
from maskwright.models.prompts import make_prompts
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.segmenter import Segmenter
from maskwright.models.selection import select
from maskwright.types import ByteArray, Geometry, Image, Masks, Prompts

SIZES = [(40, 64), (64, 48), (90, 130), (33, 33)]


def photo(size: tuple[int, int], seed: int = 0) -> ByteArray:
    """A smooth random image, (H, W, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.array(PIL.Image.fromarray(coarse).resize(size[::-1], PIL.Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def sam() -> Segmenter:
    return Segmenter(tiny(SAM))


@pytest.fixture(scope="module")
def hq() -> Segmenter:
    return Segmenter(tiny(SAMHQ))


def assert_same(a: Masks, b: Masks, tolerance: float = 1e-5) -> None:
    assert a.size == b.size
    assert a.tokens is not None
    assert b.tokens is not None
    for one, other in ((a.low_res, b.low_res), (a.iou, b.iou), (a.tokens, b.tokens)):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))


# Prompts of every kind and of several at once, ragged, for one image of 40 × 64.
POINTS: list[Any] = [
    None,
    [[10, 12]],
    [[10, 12], [50, 30], [5, 5]],
    None,
    [[60, 3]],
    None,
    [[20, 20], [30, 8]],
]
LABELS: list[Any] = [None, None, [1, 0, 0], None, [0], None, [1, 1]]
BOXES: list[Any] = [[5, 5, 30, 30], None, None, None, [0, 0, 64, 40], [9.5, 3.5, 40, 39], None]


def ragged_masks(low_res: int) -> list[Any]:
    inside = np.zeros((40, 64), bool)
    inside[10:30, 20:50] = True
    logits = torch.randn(low_res, low_res, generator=torch.Generator().manual_seed(3)).numpy()
    return [None, None, None, inside, None, logits, logits]


class TestImages:
    def test_kinds_of_images_are_equal(self, sam: Segmenter, tmp_path: Path) -> None:
        pixels = photo((40, 64))
        PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
        kinds: list[Any] = [
            pixels,
            PIL.Image.fromarray(pixels),
            Image(pixels),
            tmp_path / "a.png",
            str(tmp_path / "a.png"),
        ]
        results = [sam(kind, boxes=[5, 5, 30, 30]) for kind in kinds]
        for result in results[1:]:
            assert_same(result, results[0], 0)
        assert results[3].source == str(tmp_path / "a.png")

    def test_a_bare_click_is_one_prompt(self, sam: Segmenter) -> None:
        image = photo((40, 64))
        assert_same(sam(image, points=[20, 10]), sam(image, points=[[20, 10]], labels=[1]), 0)
        assert_same(sam(image, points=(20, 10), labels=0), sam(image, points=[[20, 10]], labels=[0]), 0)

    def test_grey_is_three_equal_channels(self, sam: Segmenter) -> None:
        grey = photo((40, 64))[..., 0]
        assert_same(sam(grey, points=[[3, 4]]), sam(np.stack([grey] * 3, axis=2), points=[[3, 4]]), 0)

    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (np.zeros((4, 4, 3), np.float32), "must be uint8"),
            (np.zeros((4, 4, 4), np.uint8), r"must have shape \(H, W, 3\), not \(4, 4, 4\)"),
            (np.zeros((0, 4, 3), np.uint8), "is empty"),
            (torch.zeros(3, 4, 4), "not Tensor"),
            (PIL.Image.new("RGBA", (4, 4)), "mode RGBA"),
        ],
    )
    def test_what_is_no_image_is_refused(self, sam: Segmenter, image: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            sam.embed(image)

    def test_a_batch_of_sizes_equals_one_by_one(self, hq: Segmenter) -> None:
        images = [photo(size, seed) for seed, size in enumerate(SIZES)]
        boxes = [[[1, 2, 20, 30], [3, 3, 9, 9]], [4, 4, 40, 40], [[10, 20, 100, 80]], [0, 0, 33, 33]]
        together = hq(images, boxes=boxes)
        assert [masks.size for masks in together] == SIZES
        for image, box, masks in zip(images, boxes, together, strict=True):
            assert_same(masks, hq(image, boxes=box))
            assert masks.logits().shape == (len(masks), 1, *image.shape[:2])

    def test_images_are_encoded_in_batches_of_any_size(self, sam: Segmenter) -> None:
        images = [photo((40, 64), seed) for seed in range(5)]
        whole = Segmenter(sam.model, image_batch=5).embed(images)
        for one, other in zip(Segmenter(sam.model, image_batch=2).embed(images), whole, strict=True):
            torch.testing.assert_close(one.features.image, other.features.image, rtol=1e-5, atol=1e-5)
        assert sam.embed([]) == []

    def test_lists_need_an_entry_per_image(self, sam: Segmenter) -> None:
        with pytest.raises(InputError, match="boxes: 2 images need a list with one entry per image, not 3"):
            sam([photo((40, 64))] * 2, boxes=[[0, 0, 9, 9]] * 3)
        with pytest.raises(InputError, match="2 embeddings need as many Prompts"):
            sam.decode(sam.embed([photo((40, 64))] * 2), [Prompts(boxes=torch.tensor([[0.0, 0, 9, 9]]))])


class TestPrompts:
    @pytest.mark.parametrize("multimask", [False, True])
    def test_ragged_prompts_equal_one_by_one(self, hq: Segmenter, multimask: bool) -> None:
        embedding = hq.embed(photo((40, 64)))
        masks = ragged_masks(hq.model.low_res)
        together = hq(embedding, points=POINTS, labels=LABELS, boxes=BOXES, masks=masks, multimask=multimask)
        assert len(together) == len(POINTS)
        kinds = {"points": POINTS, "labels": LABELS, "boxes": BOXES, "masks": masks}
        for i in range(len(POINTS)):
            own = {name: values[i] for name, values in kinds.items() if values[i] is not None}
            assert_same(together[i], hq(embedding, **own, multimask=multimask))

    def test_chunks_do_not_change_the_result(self, hq: Segmenter) -> None:
        embedding = hq.embed(photo((40, 64)))
        kinds = {"points": POINTS, "labels": LABELS, "boxes": BOXES, "masks": ragged_masks(hq.model.low_res)}
        repeated = {name: [values[i % 7] for i in range(21)] for name, values in kinds.items()}
        whole = Segmenter(hq.model, chunk=100)(embedding, **repeated)
        for chunk in (1, 2, 5):
            assert_same(Segmenter(hq.model, chunk=chunk)(embedding, **repeated), whole)

    @pytest.mark.parametrize("family", [SAM, SAMHQ])
    @pytest.mark.parametrize("many", [1, 5])
    def test_masks_that_are_drawn_one_by_one_are_the_same(
        self, family: type[SAM], many: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        segmenter = Segmenter(tiny(family))
        embedding = segmenter.embed(photo((40, 64)))
        clicks = torch.tensor([[[7.0 * k + 5, 30.0 - 4 * k]] for k in range(many)])
        prompts = Prompts(clicks, torch.ones(many, 1, dtype=torch.long))
        least = float(segmenter.decode(embedding, prompts, multimask=True).iou.min())
        drawn: list[int] = []
        draw = family._draw

        def counted(model: SAM, features: Any, out_ATC: torch.Tensor, *rest: Any) -> Decoded:
            drawn.append(len(out_ATC))
            return draw(model, features, out_ATC, *rest)

        monkeypatch.setattr(family, "_draw", counted)
        whole = segmenter.decode(embedding, prompts, multimask=True)
        rows, above = segmenter.decode_above(embedding, prompts, least - 1)
        assert drawn == [many, many]
        monkeypatch.setattr("maskwright.models.sam.DRAWN_CELLS", 1)
        assert_same(segmenter.decode(embedding, prompts, multimask=True), whole, 1e-6)
        few, few_above = segmenter.decode_above(embedding, prompts, least - 1)
        assert drawn[2:] == [1] * (2 * many)
        assert few.tolist() == rows.tolist() == list(range(many))
        assert_same(few_above, above, 1e-6)

    def test_prompts_matter(self, sam: Segmenter) -> None:
        embedding = sam.embed(photo((40, 64)))
        masks = ragged_masks(sam.model.low_res)
        result = sam(embedding, points=POINTS, labels=LABELS, boxes=BOXES, masks=masks)
        flat = result.low_res.flatten(1)
        distance = (flat[:, None] - flat[None]).abs().amax(dim=2) + torch.eye(len(flat))
        assert distance.min() > 1e-3

    def test_shapes(self, sam: Segmenter) -> None:
        embedding = sam.embed(photo((40, 64)))
        side = sam.model.low_res
        one = sam(embedding, points=[[3, 4], [5, 6]])
        assert one.low_res.shape == (1, 1, side, side)
        two = sam(embedding, points=[[[3, 4]], [[5, 6]]], multimask=True)
        assert two.low_res.shape == (2, 3, side, side)
        assert two.iou.shape == (2, 3)
        assert two.low_res[1].shape == (3, side, side)
        assert_same(
            sam(embedding, points=torch.tensor([[3.0, 4.0]])), sam(embedding, points=[(3, 4)], labels=[1])
        )
        assert_same(sam(embedding, boxes=np.array([[1, 2, 9, 9]])), sam(embedding, boxes=(1, 2, 9, 9)))
        again = sam(embedding, points=[[3, 4]], masks=one.low_res[:, 0])
        assert again.low_res.shape == one.low_res.shape

    def test_no_prompts_give_no_masks(self, sam: Segmenter, hq: Segmenter) -> None:
        nothing: list[Any] = [[], np.zeros((0, 4)), torch.zeros(0, 4)]
        for empty in nothing:
            masks = sam(photo((40, 64)), boxes=empty, multimask=True)
            assert masks.low_res.shape == (0, 3, sam.model.low_res, sam.model.low_res)
            assert masks.logits().shape == (0, 3, 40, 64)
        assert hq(photo((40, 64)), boxes=[], multimask=True).iou.shape == (0, 1)

    def test_a_mask_at_the_images_size_becomes_logits(self) -> None:
        inside = np.zeros((40, 64), bool)
        inside[10:30, 20:50] = True
        prompts = make_prompts(Geometry((40, 64), 64), 16, masks=inside)
        assert prompts.masks is not None
        logits = prompts.masks[0]
        assert logits.shape == (16, 16)
        # Cells of 4 × 4 pixels: rows 10 … 30 cut cells in half, columns 20 … 50 do so on the right only.
        assert (logits[4:6, 7:10] > 9).all()
        assert (logits[10:] == -10).all()
        assert (logits[:, 15] < -9).all()
        assert abs(float(logits[2, 8])) < 1

    @pytest.mark.parametrize(
        ("prompts", "message"),
        [
            ({}, "no prompt was given"),
            ({"points": [[3, 4, 5]]}, r"points of prompt 0 must have shape \(P, 2\)"),
            ({"points": [[[3, 4]], [[3, 4, 5]]]}, "points of prompt 1"),
            ({"points": [[3, float("nan")]]}, "point 0 of prompt 0, .*, is not finite"),
            (
                {"points": [[[3, 4]], [[5, 6], [30, 64]]]},
                r"point 1 of prompt 1, \(30, 64\), lies far outside",
            ),
            ({"points": [["a", "b"]]}, "must be numbers"),
            ({"points": [[[3, 4], [5]]]}, "rows of different lengths"),
            ({"labels": [1]}, "labels were given without points"),
            ({"points": [[3, 4]], "labels": [1, 0]}, r"labels of prompt 0 must have shape \(1,\)"),
            ({"points": [[3, 4]], "labels": [2]}, r"labels of prompt 0 are 1 \(object\)"),
            ({"points": [[[3, 4]]] * 2, "labels": [[1]]}, "2 prompts but labels for 1"),
            (
                {"points": [[[3, 4]], None], "labels": [[1], [1]]},
                "labels of prompt 1 were given without points",
            ),
            ({"points": [[[3, 4]], None]}, r"prompts \[1\] are empty"),
            ({"boxes": [1, 2, 3]}, r"box of prompt 0 must have shape \(4,\)"),
            ({"boxes": [[1, 2, 9, 9], [9, 2, 1, 9]]}, r"box of prompt 1, \(9, 2, 1, 9\), is empty"),
            ({"boxes": [[1, 2, 9, float("inf")]]}, "box of prompt 0 is not finite"),
            ({"boxes": [100, 2, 120, 9]}, "lies outside the image of 64 × 40"),
            ({"boxes": [[1, 2, 9, 9]] * 2, "points": [[3, 4]]}, "the same number of prompts"),
            ({"masks": np.zeros((40, 64), np.uint8)}, r"must be bool at the image's size \(40, 64\)"),
            ({"masks": np.zeros((64, 40), bool)}, "mask of prompt 0 must be bool"),
            ({"masks": np.full((16, 16), np.nan, np.float32)}, "not finite"),
            ({"masks": np.zeros((16, 16, 1, 1), np.float32)}, "masks must have shape"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_name(
        self, sam: Segmenter, prompts: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            sam(photo((40, 64)), **prompts)

    def test_prompts_are_checked_in_decode_too(self, sam: Segmenter) -> None:
        embedding = sam.embed(photo((40, 64)))
        half_nan = torch.tensor([[1.0, 2.0, float("nan"), 9.0]])
        clicks = torch.tensor([[[3.0, 4.0]]])
        prompts = Prompts(clicks, torch.ones(1, 1, dtype=torch.long), boxes=half_nan)
        with pytest.raises(InputError, match="box of prompt 0"):
            sam.decode(embedding, prompts)
        with pytest.raises(InputError, match=r"logits of shape \(16, 16\)"):
            sam.decode(embedding, Prompts(masks=torch.zeros(1, 20, 20)))

    @settings(max_examples=25, deadline=None)
    @given(
        points=st.lists(
            st.lists(st.tuples(st.floats(0, 64), st.floats(0, 40)), min_size=1, max_size=3), max_size=5
        )
    )
    def test_any_clicks_inside_are_answered(
        self, sam: Segmenter, points: list[list[tuple[float, float]]]
    ) -> None:
        masks = sam(photo((40, 64)), points=points)
        assert len(masks) == len(points)
        assert masks.low_res.isfinite().all()

    def test_unknown_keywords_are_refused_with_a_suggestion(self, sam: Segmenter) -> None:
        with pytest.raises(TypeError, match=r"'box'. Did you mean 'boxes'?"):
            sam(photo((40, 64)), box=[1, 2, 9, 9])


class TestModes:
    def test_hq_needs_an_hq_token(self, sam: Segmenter) -> None:
        with pytest.raises(InputError, match="hq='only' needs a model with an HQ token"):
            sam(photo((40, 64)), boxes=[1, 2, 9, 9], hq="only")
        with pytest.raises(InputError, match="hq must be"):
            sam(photo((40, 64)), boxes=[1, 2, 9, 9], hq="both")
        assert_same(
            sam(photo((40, 64)), boxes=[1, 2, 9, 9]), sam(photo((40, 64)), boxes=[1, 2, 9, 9], hq="off")
        )

    def test_one_hq_map_goes_to_the_best_mask(self) -> None:
        masks = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 2, 4, 2, 2)
        iou = torch.tensor([[[0.9, 0.1, 0.8, 0.2], [0.9, 0.1, 0.2, 0.3]]])
        decoded = Decoded(masks, iou, torch.zeros(1, 2, 6, 4), hq=torch.full((1, 2, 1, 2, 2), 10.0))
        chosen, score, token = select(decoded, True, "sum")
        assert token.tolist() == [[[2], [3]]]
        assert chosen[0, :, :, 0, 0].tolist() == [[12.0], [13.0]]
        assert score.tolist() == iou[:, [0, 1], [2, 3]][..., None].tolist()
        chosen, _, token = select(decoded, False, "sum")
        assert token.tolist() == [[[0], [0]]]
        assert chosen[0, :, :, 0, 0].tolist() == [[10.0], [10.0]]
        assert select(decoded, True, "only")[0][0, :, :, 0, 0].tolist() == [[10.0], [10.0]]
        assert select(decoded, True, "off")[0].shape == (1, 2, 3, 2, 2)

    def test_an_hq_map_per_token_keeps_three_masks(self) -> None:
        masks = torch.arange(4.0).view(1, 1, 4, 1, 1)
        decoded = Decoded(masks, torch.rand(1, 1, 4), torch.zeros(1, 1, 6, 4), hq=10 * masks)
        assert select(decoded, True, "sum")[0].flatten().tolist() == [11.0, 22.0, 33.0]
        assert select(decoded, True, "only")[0].flatten().tolist() == [10.0, 20.0, 30.0]
        assert select(decoded, False, "sum")[0].flatten().tolist() == [0.0]

    def test_an_embedding_of_another_model_is_refused(self, sam: Segmenter, hq: Segmenter) -> None:
        embedding = sam.embed(photo((40, 64)))
        with pytest.raises(InputError, match=r"was made by sam:.*, not by sam_hq:"):
            hq(embedding, boxes=[1, 2, 9, 9])
        other = Segmenter(tiny(SAM, seed=1))
        with pytest.raises(InputError, match="embed the image again"):
            other(embedding, boxes=[1, 2, 9, 9])
        assert_same(
            Segmenter(sam.model)(embedding, boxes=[1, 2, 9, 9]), sam(embedding, boxes=[1, 2, 9, 9]), 0
        )

    def test_mixed_precision_stays_close_and_returns_float32(self, hq: Segmenter) -> None:
        low = Segmenter(hq.model, dtype=torch.bfloat16)
        image = photo((40, 64))
        exact, rounded = (one(image, points=[[20, 20]], boxes=[3, 4, 50, 39]) for one in (hq, low))
        assert rounded.low_res.dtype == rounded.iou.dtype == torch.float32
        error = (rounded.low_res - exact.low_res).abs().max() / exact.low_res.abs().max()
        assert 0 < error < 0.1

    def test_results_take_no_gradients(self, sam: Segmenter) -> None:
        embedding = sam.embed(photo((40, 64)))
        assert not embedding.features.image.requires_grad
        assert not embedding.features.image.is_inference()  # a cache of embeddings can be trained on
        assert not sam(embedding, boxes=[1, 2, 9, 9]).low_res.requires_grad

    def test_threads_equal_serial(self, hq: Segmenter) -> None:
        images = [photo(SIZES[i % len(SIZES)], i) for i in range(16)]
        boxes = [[1, 2, 20 + i, 30] for i in range(16)]
        serial = [hq(image, boxes=box) for image, box in zip(images, boxes, strict=True)]
        with ThreadPoolExecutor(8) as pool:
            parallel = list(
                pool.map(lambda pair: hq(pair[0], boxes=pair[1]), zip(images, boxes, strict=True))
            )
        for one, other in zip(parallel, serial, strict=True):
            assert_same(one, other, 1e-6)


def test_memory_that_runs_out_for_the_answers_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for all answers is made at the first ones: where it fails, nothing of it may be left."""
    segmenter = Segmenter(tiny(SAM))
    boxes = [[5, 6, 40, 35], [1, 2, 30, 20], [8, 8, 50, 40]]
    embedding = segmenter.embed(np.zeros((45, 60, 3), np.uint8))
    expected = segmenter(embedding, boxes=boxes)
    whole, calls = torch.Tensor.new_empty, []

    def failing(tensor: torch.Tensor, *size: int, **how: Any) -> torch.Tensor:
        if size[:1] == (len(boxes),):
            calls.append(size)
            if len(calls) == 2:
                raise MemoryError
        made: torch.Tensor = whole(tensor, *size, **how)
        return made

    monkeypatch.setattr(torch.Tensor, "new_empty", failing)
    found = segmenter(embedding, boxes=boxes)
    assert len(calls) > 2
    assert_same(found, expected)
