"""Results side by side: means over tasks, paired differences, and what must never meet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from methods.scripted import Choosy, Samples, Scripted, filled, rectangle, sample

from maskwright.cli.common import plain
from maskwright.methods.comparison import OVERALL, differences, task_means, with_overall
from maskwright.methods.evaluate import evaluate_prompted
from maskwright.methods.scores import MaskScore, PromptedResult, ScoreTable, curve
from maskwright.metrics.statistics import bootstrap_interval


def result(name: str, data: str, values: Sequence[float], images: Sequence[str] = ()) -> PromptedResult:
    """A result with these IoUs, one object an image, whose second click halves what is missing."""
    found = evaluate_prompted(
        Scripted(filled, name), Samples(sample("a", rectangle(10, 10, 30, 30))), data_name=data, clicks=2
    )
    names = images or [f"{place}.jpg" for place in range(len(values))]
    scores = tuple(
        MaskScore(image, 1, (1 + v) / 2, v / 2, None, (v, (1 + v) / 2), (v / 4, v / 2))
        for image, v in zip(names, values, strict=True)
    )
    return replace(found, scores=scores)


def test_a_mean_over_sets_gives_each_the_same_weight() -> None:
    results = [result("a", "x", [0.2, 0.4]), result("a", "y", [0.8] * 10)]
    means, gaps = task_means(results, {"salient": ("x", "y"), "part": ("y",)})
    salient, part = means
    assert (salient.task, salient.sets, salient.n, part.n, gaps) == ("salient", ("x", "y"), 12, 10, [])
    assert salient.by_click()[0]["miou"] == pytest.approx((0.3 + 0.8) / 2)
    assert salient.miou == pytest.approx((0.65 + 0.9) / 2)
    assert part.boundary_iou == pytest.approx(0.4)
    content = json.loads(json.dumps(plain(salient.to_json())))
    assert (content["name"], content["sets"]) == ("a", ["x", "y"])
    assert content["miou_ci95"][0] <= content["miou"] <= content["miou_ci95"][1]


def test_the_interval_of_a_mean_over_sets_is_that_of_theory() -> None:
    rng = np.random.default_rng(0)
    tables = [ScoreTable(rng.normal(size=(100, 2, 1)), tuple(map(str, range(100)))) for _ in range(4)]
    (step,) = curve(tables)
    low, high = step.miou_ci95
    # Four independent sets: half the width of one. Drawn in step, they would only gain by their own noise.
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(400), rel=0.15)


def test_one_set_has_the_interval_of_the_plain_bootstrap() -> None:
    values = np.random.default_rng(1).random(30)
    images = [f"{place // 3}" for place in range(30)]
    (step,) = curve([ScoreTable(np.stack([values, values / 2], 1)[..., None], tuple(images))], seed=7)
    assert step.miou_ci95 == pytest.approx(bootstrap_interval(values, images, seed=7))


def test_differences_are_paired_on_sets_and_over_them() -> None:
    results = [
        *(result("a", "x", [0.5, 0.7]), result("b", "x", [0.4, 0.6])),
        *(result("a", "y", [0.9, 0.1, 0.3]), result("b", "y", [0.6, 0.0], ["0.jpg", "2.jpg"])),
    ]
    alone = differences(results)
    assert [(gap.data, gap.name, gap.other, gap.n) for gap in alone] == [
        ("x", "a", "b", 2),
        ("y", "a", "b", 2),
    ]
    assert [gap.by_click()[0]["miou"] for gap in alone] == pytest.approx([0.1, 0.3])
    means, (gap,) = task_means(results, {"all": ("x", "y")})
    assert [mean.name for mean in means] == ["a", "b"]
    assert (gap.data, gap.n) == ("all", 4)
    assert gap.by_click()[0]["miou"] == pytest.approx(0.2)
    assert gap.to_json()["other"] == "b"


def test_two_annotators_masks_of_one_image_keep_apart() -> None:
    names = ["p.jpg", "p.jpg"]
    (gap,) = differences([result("a", "x", [0.9, 0.5], names), result("b", "x", [0.4, 0.5], names)])
    assert (gap.n, gap.by_click()[0]["miou"]) == (2, pytest.approx(0.25))


def test_what_was_not_measured_on_every_set_has_no_mean() -> None:
    results = [result("a", "x", [0.5]), result("a", "y", [0.5]), result("b", "y", [0.9])]
    means, gaps = task_means(results, {"salient": ("x", "y")})
    assert [mean.name for mean in means] == ["a"]
    assert gaps == []
    assert task_means(results, {"salient": ("x", "z")}) == ([], [])


def test_one_output_and_the_best_of_three_never_meet() -> None:
    data = Samples(sample("a", rectangle(10, 10, 30, 30)))
    results = [
        evaluate_prompted(Choosy(filled, name), data, choice=choice)
        for choice in ("single", "oracle")
        for name in ("one", "two")
    ]
    assert [(gap.choice, gap.name, gap.other) for gap in differences(results)] == [
        ("single", "one", "two"),
        ("oracle", "one", "two"),
    ]
    means, gaps = task_means(results, {"all": ("dataset",)})
    assert [mean.choice for mean in means] == ["single", "single", "oracle", "oracle"]
    assert [gap.choice for gap in gaps] == ["single", "oracle"]


def test_several_sets_have_an_overall_mean_once() -> None:
    assert with_overall({}, ["x"]) == {}
    assert with_overall({}, ["x", "y"]) == {OVERALL: ("x", "y")}
    assert with_overall({"all": ["y", "x"]}, ["x", "y"]) == {"all": ("y", "x")}
    tasks = with_overall({"salient": ["x"]}, ["x", "y"])
    assert tasks == {"salient": ("x",), OVERALL: ("x", "y")}
