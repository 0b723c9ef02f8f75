"""How objects are asked for: edge clicks, the best of several masks, and HQ-SAM's protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from methods.scripted import SIZE, Choosy, Samples, Scripted, filled, rectangle, sample

import maskwright
from maskwright.data.prompts import edge_point, tight_box
from maskwright.errors import ConfigError, InputError
from maskwright.methods.asking import Asking, closest, stretched_box
from maskwright.methods.baselines import baseline
from maskwright.methods.evaluate import evaluate_prompted
from maskwright.methods.prediction import ModelPredictor, PredictedMask
from maskwright.methods.scores import Selection
from maskwright.metrics.regions import iou
from maskwright.models.base import PromptBatch
from maskwright.types import BoolArray, Image, Prompts


def test_edge_clicks_go_to_the_object_and_then_to_the_error() -> None:
    truth = rectangle(5, 5, 55, 75)
    asking = Asking("point", (1, 2), click="edge")
    first = asking.first(truth)
    assert first.points is not None
    assert first.points[0, 0].tolist() == edge_point(truth).tolist()
    missed = rectangle(5, 40, 55, 75)
    prompt = asking.corrected(first, PredictedMask(truth & ~missed, low_res=torch.zeros(16, 16)), truth)
    assert prompt.points is not None
    assert prompt.points[0, 1].tolist() == edge_point(missed).tolist()


class TestOracle:
    truth = rectangle(10, 10, 50, 70)

    def shifted(self, prompt: Prompts) -> BoolArray:
        """The truth two pixels to the left, so that the second of three masks is right."""
        return np.roll(self.truth, -2, axis=1)

    def test_takes_what_is_closest_to_the_truth(self) -> None:
        data = Samples(sample("a", self.truth))
        single = evaluate_prompted(Choosy(self.shifted), data)
        oracle = evaluate_prompted(Choosy(self.shifted), data, choice="oracle")
        assert (single.choice, oracle.choice) == ("single", "oracle")
        assert (oracle.miou, oracle.to_json()["choice"]) == (1, "oracle")
        assert single.miou == pytest.approx(58 / 62)

    def test_of_equals_takes_the_first(self) -> None:
        masks = [PredictedMask(rectangle(0, 0, 10, 10), iou=score) for score in (0.1, 0.2)]
        assert closest(masks, self.truth).iou == 0.1

    def test_is_asked_after_every_click_and_its_logits_are_fed_back(self) -> None:
        predictor = Choosy(lambda prompt: rectangle(10, 10, 50, 40))
        result = evaluate_prompted(predictor, Samples(sample("a", self.truth)), clicks=3, choice="oracle")
        assert result.scores[0].iou_by_click == pytest.approx((32 / 60 - 1 / 30,) * 3)
        assert predictor.asked[-1].masks is not None

    @pytest.mark.parametrize("predictor", [baseline("box"), Scripted(filled)])
    def test_needs_several_masks(self, predictor: Scripted) -> None:
        with pytest.raises(ConfigError, match="no best of several"):
            evaluate_prompted(predictor, Samples(sample("a", self.truth)), choice="oracle")

    def test_of_a_real_model(self, golden_root: Path) -> None:
        segmenter = maskwright.load(golden_root / "sam.pth", num_heads=2, device="cpu")
        data = Samples(sample("a", self.truth), sample("b", rectangle(5, 5, 30, 30)))
        oracle = evaluate_prompted(
            ModelPredictor(segmenter, "golden"), data, prompt="point", clicks=2, choice="oracle"
        )
        for score, truth in zip(oracle.scores, (data[0].masks[0], data[1].masks[0]), strict=True):
            click = Asking("point").first(truth).points
            assert click is not None
            three = segmenter(data[0].image, points=click[0].numpy(), multimask=True).binary()[0]
            assert score.iou_by_click[0] == max(float(iou(mask, truth)) for mask in three)

    def test_a_model_with_one_hq_mask_says_so(self, golden_root: Path) -> None:
        segmenter = maskwright.load(golden_root / "sam_hq.pth", num_heads=2, device="cpu")
        data = Samples(sample("a", self.truth))
        with pytest.raises(InputError, match=r"no best of three.*hq='off'"):
            evaluate_prompted(ModelPredictor(segmenter, "golden"), data, choice="oracle")
        result = evaluate_prompted(ModelPredictor(segmenter, "golden", hq="off"), data, choice="oracle")
        assert len(result.scores) == 1


class TestStretchedBox:
    @given(
        hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=40)),
        st.integers(20, 90),
    )
    @settings(max_examples=60, deadline=None)
    def test_is_drawn_as_published(self, mask: BoolArray, side: int) -> None:
        if not mask.any():
            mask[0, 0] = True
        given_box = stretched_box(mask, side)
        stretched = F.interpolate(torch.from_numpy(mask).float()[None, None], (side, side), mode="bilinear")[
            0, 0
        ]
        assume(not np.isclose(stretched.numpy(), 0.5, atol=1e-5).any())  # a tie that rounding decides
        rows, columns = np.nonzero(stretched.numpy() > 0.5)
        height, width = mask.shape
        if not len(rows):
            assert given_box.tolist() == tight_box(mask).tolist()
            return
        x0, y0, x1, y1 = given_box * np.array([side / width, side / height] * 2)
        assert (x0, y0) == pytest.approx((columns.min(), rows.min()), abs=1e-3)
        assert x1 == pytest.approx(max(columns.max(), columns.min() + 0.5), abs=1e-3)
        assert y1 == pytest.approx(max(rows.max(), rows.min() + 0.5), abs=1e-3)

    def test_of_a_large_object_is_nearly_the_tight_one(self) -> None:
        mask = rectangle(10, 20, 40, 70)
        assert stretched_box(mask, 1024) == pytest.approx(tight_box(mask), abs=0.6)


def test_the_hq_protocol_is_the_published_one(golden_root: Path) -> None:
    """The slow way: stretch, normalise, encode, box in the square, HQ logits to the mask's own size."""
    segmenter = maskwright.load(golden_root / "sam_hq.pth", num_heads=2, device="cpu")
    model, side = segmenter.model, segmenter.model.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    pixels = np.asarray(pixels // 4 + 96 * rectangle(10, 10, 50, 60)[..., None], np.uint8)
    truth = rectangle(10, 10, 50, 60)
    predictor = ModelPredictor(segmenter, "golden", hq="only", stretch=True)
    prepared = predictor.prepare(Image(pixels))
    box = stretched_box(truth, side)
    found = predictor.predict(prepared, Prompts(boxes=torch.from_numpy(box)[None]))

    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    image = F.interpolate(image, (side, side), mode="bilinear").round()
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.pixel_mean, model.pixel_std))
    square = torch.from_numpy(box) * torch.tensor([side / SIZE[1], side / SIZE[0]] * 2)
    with torch.no_grad():
        decoded = model.decode(model.encode((image - mean) / std), PromptBatch(boxes=square[None, None]))
    assert decoded.hq is not None
    logits = F.interpolate(decoded.hq[:, 0], SIZE, mode="bilinear")[0, 0]
    assert found.low_res is not None
    # OpenCV rounds bytes a little otherwise.
    assert (found.low_res - decoded.hq[0, 0, 0]).abs().mean() < 0.01
    assert (found.mask != (logits > 0).numpy()).mean() < 0.01

    # The evaluation draws that very box for such a predictor.
    data = Samples(sample("a", truth))
    result = evaluate_prompted(predictor, data, selection=Selection(0, 1, None))
    prepared = predictor.prepare(data[0].image)
    mask = predictor.predict(prepared, Prompts(boxes=torch.from_numpy(box)[None])).mask
    assert result.scores[0].iou == float(iou(mask, truth))
    assert result.to_json()["stretch"] is True


def test_every_object_of_any_size_but_none_without_pixels() -> None:
    item = sample(
        "a", rectangle(0, 0, 60, 80), rectangle(3, 3, 4, 4), rectangle(0, 0, 0, 0), rectangle(1, 1, 9, 9)
    )
    result = evaluate_prompted(Scripted(filled), Samples(item), selection=Selection(0, 1, None))
    assert [score.segment for score in result.scores] == [10, 11, 13]
    assert result.failures == ()
