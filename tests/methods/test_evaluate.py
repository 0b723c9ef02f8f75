"""Prompted evaluation with predictors whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from methods.scripted import Samples, Scripted, filled, rectangle, sample

import maskwright
from maskwright.cli.common import plain
from maskwright.data.registry import open_dataset
from maskwright.errors import ConfigError, InputError
from maskwright.methods.asking import Asking
from maskwright.methods.baselines import baseline
from maskwright.methods.comparison import differences
from maskwright.methods.evaluate import Observation, choose_objects, evaluate_prompted
from maskwright.methods.prediction import ModelPredictor, PredictedMask
from maskwright.methods.provenance import machine, versions
from maskwright.methods.scores import Selection
from maskwright.metrics.regions import iou
from maskwright.types import BoolArray, Prompts


def test_scores_of_known_answers() -> None:
    first, second = rectangle(10, 10, 30, 30), rectangle(30, 40, 50, 70)
    half = second.copy()
    half[:, 55:] = False
    holed = rectangle(0, 0, 40, 40)
    holed[10:30, 10:30] = False
    data = Samples(sample("a.jpg", first, second), sample("b.jpg", holed))
    result = evaluate_prompted(Scripted(filled), data, data_name="pairs:here")
    assert [(score.image, score.segment) for score in result.scores] == [
        ("a.jpg", 10),
        ("a.jpg", 11),
        ("b.jpg", 10),
    ]
    assert [score.iou for score in result.scores] == [1, 1, 0.75]
    assert result.miou == pytest.approx(2.75 / 3)
    low, high = result.miou_interval
    assert low <= result.miou <= high
    assert (result.images, result.failures) == (2, ())


def test_json_has_the_promised_keys_and_is_json() -> None:
    data = Samples(sample("a.jpg", rectangle(10, 10, 30, 30)))
    content = evaluate_prompted(Scripted(filled), data, data_name="pairs:here").to_json()
    assert {"n", "miou", "miou_ci95", "boundary_iou", "boundary_iou_ci95", "seconds_per_image"} <= set(
        content
    )
    assert (content["model"], content["data"], content["prompt"], content["seed"]) == (
        "scripted",
        "pairs:here",
        "box",
        0,
    )
    assert content["per_mask"][0]["predicted_iou"] == 0.5
    assert content["seconds_per_image"] > 0
    assert json.loads(json.dumps(plain(content)))["n"] == 1
    other = evaluate_prompted(baseline("box"), data).to_json()
    assert other["baseline"] == "box"
    assert "model" not in other


def test_warm_up_is_the_first_image_and_is_not_scored() -> None:
    predictor = Scripted(filled)
    data = Samples(*(sample(f"{k}.jpg", rectangle(10, 10, 30, 30)) for k in range(3)))
    result = evaluate_prompted(predictor, data)
    assert predictor.prepared == ["0.jpg", "0.jpg", "1.jpg", "2.jpg"]
    assert len(result.scores) == 3


def test_bad_images_are_named_and_the_run_goes_on() -> None:
    seen: list[str] = []
    data = Samples("is truncated", sample("b.jpg", rectangle(10, 10, 30, 30)), "is empty")
    result = evaluate_prompted(
        Scripted(filled), data, on_failure=lambda item, error: seen.append(f"{item}|{error}")
    )
    assert len(result.scores) == 1
    assert result.failures == (
        ("photo0.jpg", "photo0.jpg: is truncated"),
        ("photo2.jpg", "photo2.jpg: is empty"),
    )
    assert seen == ["photo0.jpg|photo0.jpg: is truncated", "photo2.jpg|photo2.jpg: is empty"]


def test_an_image_that_fails_half_way_leaves_no_score() -> None:
    def answer(prompt: Prompts) -> BoolArray:
        mask = filled(prompt)
        if mask[40, 60]:
            raise InputError("no")
        return mask

    bad = sample("a.jpg", rectangle(10, 10, 30, 30), rectangle(30, 40, 50, 70))
    result = evaluate_prompted(Scripted(answer), Samples(bad, sample("b.jpg", rectangle(10, 10, 30, 30))))
    assert [score.image for score in result.scores] == ["b.jpg"]
    assert result.failures == (("photo0.jpg", "no"),)


def test_what_fails_on_the_first_prompt_ends_the_run() -> None:
    def answer(prompt: Prompts) -> BoolArray:
        raise InputError("this model has no HQ token")

    predictor = Scripted(answer)
    items = [sample(str(k), rectangle(10, 10, 30, 30)) for k in range(3)]
    with pytest.raises(InputError, match="no HQ token"):
        evaluate_prompted(predictor, Samples("bad", *items))
    assert len(predictor.asked) == 1


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(InputError, match=r"1 of 2 images failed.*0\.5% to 60%"):
        evaluate_prompted(Scripted(filled), Samples("bad", sample("b.jpg", rectangle(0, 0, 60, 80))))


class TestChoice:
    def test_only_objects_of_the_right_size(self) -> None:
        item = sample(
            "a",
            rectangle(0, 0, 4, 5),
            rectangle(0, 0, 4, 6),
            rectangle(0, 0, 36, 80),
            rectangle(0, 0, 37, 80),
        )
        # 0.5 % of 4800 pixels is 24, 60 % is 2880; both ends belong.
        assert choose_objects(item, 0, Selection(per_image=9)) == [1, 2]

    def test_is_drawn_by_seed_and_place(self) -> None:
        item = sample("a", *(rectangle(2 * k, 0, 2 * k + 2, 40) for k in range(20)))
        chosen = {seed: choose_objects(item, 3, Selection(seed=seed)) for seed in range(5)}
        assert all(len(objects) == 2 for objects in chosen.values())
        assert len({tuple(objects) for objects in chosen.values()}) > 1
        assert chosen[0] == choose_objects(item, 3, Selection(seed=0))
        assert chosen[0] != choose_objects(item, 4, Selection(seed=0))

    def test_no_objects(self) -> None:
        assert choose_objects(sample("a"), 0, Selection()) == []

    def test_limit_is_spread_over_the_dataset(self) -> None:
        predictor = Scripted(filled)
        data = Samples(*(sample(str(k), rectangle(10, 10, 30, 30)) for k in range(10)))
        evaluate_prompted(predictor, data, selection=Selection(limit=3))
        assert predictor.prepared == ["0", "0", "3", "6"]


def test_first_prompts() -> None:
    truth = rectangle(10, 20, 31, 61)
    box = Asking("box").first(truth)
    assert box.boxes is not None
    assert box.boxes.tolist() == [[20, 10, 61, 31]]
    click = Asking("point").first(truth)
    assert click.points is not None
    assert click.labels is not None
    assert click.labels.tolist() == [[1]]
    x, y = click.points[0, 0].tolist()
    assert y == 20
    assert 30 <= x <= 50


class TestCorrections:
    truth = rectangle(10, 10, 50, 70)

    def answer(self, prompt: Prompts) -> BoolArray:
        """First the left half, then with one click more, then everything."""
        clicks = 0 if prompt.points is None else prompt.points.shape[1]
        return rectangle(10, 10, 50, (40, 60, 70, 70)[clicks])

    def test_clicks_go_to_the_error_and_the_mask_is_fed_back(self) -> None:
        predictor = Scripted(self.answer)
        result = evaluate_prompted(predictor, Samples(sample("a", self.truth)), clicks=4)
        (score,) = result.scores
        assert score.iou_by_click == pytest.approx((0.5, 50 / 60, 1, 1))
        assert score.iou == 1
        assert [step["miou"] for step in result.by_click()] == pytest.approx([0.5, 50 / 60, 1, 1])
        # Warm-up, box, two corrections; the third was not needed.
        assert len(predictor.asked) == 4
        last = predictor.asked[-1]
        assert last.boxes is not None
        assert last.points is not None
        assert last.labels is not None
        assert last.masks is not None
        assert last.labels.tolist() == [[1, 1]]
        assert 40 <= last.points[0, 0, 0] < 70
        assert 60 <= last.points[0, 1, 0] < 70
        assert last.masks.shape == (1, 16, 16)

    def test_counts_are_points_of_one_sequence(self) -> None:
        data = Samples(sample("a", self.truth), sample("b", self.truth))
        whole = evaluate_prompted(Scripted(self.answer), data, clicks=[1, 2, 4])
        assert (whole.clicks, whole.counts) == (4, (1, 2, 4))
        for count in whole.counts:
            alone = evaluate_prompted(Scripted(self.answer), data, clicks=count)
            step = whole.by_click()[count - 1]
            assert (step["click"], step["miou"]) == (count, alone.miou)
            assert (step["miou_ci95"], step["boundary_iou"]) == (alone.miou_interval, alone.boundary_iou)
        content = whole.to_json()
        assert (content["clicks"], content["click_counts"], content["miou"]) == (4, (1, 2, 4), 1)

    @pytest.mark.parametrize("counts", [[], [0, 1], [3, 1], [1, 1]])
    def test_counts_that_do_not_rise_are_refused(self, counts: list[int]) -> None:
        with pytest.raises(ConfigError, match="rising order"):
            evaluate_prompted(Scripted(self.answer), Samples(sample("a", self.truth)), clicks=counts)

    def test_a_spill_gets_a_background_click(self) -> None:
        predicted = PredictedMask(rectangle(10, 0, 50, 70), low_res=torch.zeros(16, 16))
        asking = Asking("point")
        prompt = asking.corrected(asking.first(self.truth), predicted, self.truth)
        assert prompt.labels is not None
        assert prompt.points is not None
        assert prompt.labels.tolist() == [[1, 0]]
        assert prompt.points[0, 1, 0] < 10

    def test_baselines_refuse_them(self) -> None:
        with pytest.raises(ConfigError, match="one prompt an object"):
            evaluate_prompted(baseline("box"), Samples(sample("a", self.truth)), clicks=2)


def test_where_grabcut_finds_nothing_only_its_variant_answers_with_the_box() -> None:
    # One colour everywhere: GrabCut finds nothing, and the filled box is exactly right.
    data = Samples(sample("a", rectangle(10, 10, 30, 30)))
    assert evaluate_prompted(baseline("grabcut"), data).miou == 0
    assert evaluate_prompted(baseline("grabcut-or-box"), data).miou == 1


def test_every_mask_can_be_observed() -> None:
    seen: list[Observation] = []
    evaluate_prompted(
        Scripted(filled), Samples(sample("a", self_mask := rectangle(10, 10, 30, 30))), observe=seen.append
    )
    (observation,) = seen
    assert np.array_equal(observation.truth, self_mask)
    assert observation.score.iou == 1


def test_differences_pair_the_same_masks() -> None:
    masks = [rectangle(0, 0, 20 + k, 40) for k in range(8)]
    data = Samples(*(sample(str(k), mask) for k, mask in enumerate(masks)))
    fewer = Samples("bad", *data.items[1:])

    def shifted(prompt: Prompts) -> BoolArray:
        return np.roll(filled(prompt), 10, axis=1)

    good = evaluate_prompted(Scripted(filled, "good"), data)
    poor = evaluate_prompted(Scripted(shifted, "poor"), fewer)
    (gap,) = differences([good, poor])
    assert (gap.name, gap.other, gap.n) == ("good", "poor", 7)
    assert gap.miou == pytest.approx(1 - 30 / 50)
    assert gap.miou_interval == pytest.approx((gap.miou, gap.miou))
    assert differences([good]) == []
    elsewhere = evaluate_prompted(Scripted(filled, "good"), data, data_name="other")
    assert differences([good, elsewhere]) == []


def test_a_real_model(golden_root: Path) -> None:
    segmenter = maskwright.load(golden_root / "sam_hq.pth", num_heads=2, device="cpu")
    data = Samples(sample("a", rectangle(10, 10, 30, 30)), sample("b", rectangle(5, 5, 50, 60)))
    predictor = ModelPredictor(segmenter, "golden", multimask=True, hq="only")
    result = evaluate_prompted(predictor, data, prompt="point", clicks=3)
    assert len(result.scores) == 2
    assert result.to_json()["hq"] == "only"
    for score in result.scores:
        assert score.predicted_iou is not None
        assert np.isfinite(score.predicted_iou)
        assert len(score.iou_by_click) == 3
    # The first mask is the one that the segmenter itself gives.
    masks = segmenter(data[0].image, points=[[[19, 19]]], labels=[[1]], multimask=True, hq="only").best()
    assert float(iou(masks.binary()[0, 0], data[0].masks[0])) == result.scores[0].iou_by_click[0]


def test_reference_figure_of_the_filled_box(data_root: Path) -> None:
    result = evaluate_prompted(baseline("box"), open_dataset(f"bsds500:{data_root / 'BSDS500'}"))
    # Two segments of each of 200 images, but for ten images that have one of that size.
    assert len(result.scores) == 390
    # 0.561 for another draw; two standard errors are 0.016.
    assert result.miou == pytest.approx(0.561, abs=0.02)
    low, high = result.miou_interval
    assert 0.02 < high - low < 0.05


def test_provenance_is_json() -> None:
    content = json.dumps({"machine": machine(torch.device("cpu")), "versions": versions()})
    assert '"torch"' in content
    assert json.loads(content)["machine"]["cores"] >= 1
