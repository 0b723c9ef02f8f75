"""Estimates whose worth is known: the perfect one gets 1, chance a half, and the perfectly wrong one 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from methods.uncertainty.scored import MODELS, C, P, made_rows

from maskwright.errors import InputError
from maskwright.methods.uncertainty.evaluate import evaluate_uncertainty, measure, per_mask
from maskwright.methods.uncertainty.protocols import PROTOCOLS, Choice, Judged, judge, parts
from maskwright.methods.uncertainty.rows import TokenRows
from maskwright.metrics.ranking import relative_auc
from maskwright.models.mask_features import FEATURES
from maskwright.models.uncertainty import HeadsConfig, UncertaintyHeads

GAPS = ("model_gap", "prompt_gap", "task_gap")
NAMES = {
    "selected": ("quality", *GAPS),
    "published": ("iou_small", "iou_large", "refined_iou", "unsupervised_iou", *GAPS),
}


def some_heads(kind: Any = "selected", inputs: int = P * C) -> UncertaintyHeads:
    """Heads for both models with random weights, in use with the small one."""
    config = HeadsConfig(kind, NAMES[kind], inputs, (6,), (("small", "1"), ("large", "2")))
    heads = UncertaintyHeads(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return heads.bound_to("1", "small")


def with_score(rows: TokenRows, score: Callable[[dict[str, Any]], Any]) -> TokenRows:
    return TokenRows(rows.tokens, rows.columns | {"sam_score": score(rows.columns)})


@pytest.mark.parametrize("answer", ["single", "multimask"])
@pytest.mark.parametrize(
    ("protocol", "gain"),
    [
        ("overall_quality", lambda c: 1 - c["iou"]),
        ("prompt_refinement", lambda c: c["refined_iou"] - c["iou"]),
        ("task_supervision", lambda c: np.maximum(c["best_iou"], c["iou"]) - c["iou"]),
    ],
)
def test_the_perfect_order_has_one_chance_a_half_and_the_reverse_zero(
    answer: Any, protocol: str, gain: Callable[[dict[str, Any]], Any]
) -> None:
    rows = made_rows()
    for value, score in (
        (1.0, lambda c: -gain(c)),
        (0.5, lambda c: np.zeros(len(c["iou"]))),
        (0.0, gain),
    ):
        judged = judge(with_score(rows, score), answer, "small", "large")
        found = measure(judged, resamples=20).figures["relative_auc", protocol, "iou_head"]
        assert found.value == pytest.approx(value)
        assert (found.low, found.high) == pytest.approx((value, value))


def test_the_largest_model_takes_over_what_it_does_better() -> None:
    rows = made_rows()
    kinds: list[tuple[Choice, str]] = [("single", "single_iou"), ("multimask", "selected_iou")]
    for choice, column in [*kinds, ("published", "best_iou")]:
        gain = rows.columns[f"{column}@large"] - rows.columns[column]
        perfect = TokenRows(rows.tokens, rows.columns | {"sam_score": -gain})
        judged = judge(perfect, choice, "small", "large")
        assert measure(judged, resamples=2).figures["relative_auc", "model_selection", "iou_head"].value == 1
        assert "model_selection" not in judge(rows, choice, "large", "large").refined


def test_the_published_protocol_takes_the_best_of_three() -> None:
    rows = made_rows()
    judged = judge(rows, "published", "small", "large")
    columns = judged.rows.columns
    assert len(judged) == 60
    assert (columns["mask"] > 0).all()
    np.testing.assert_array_equal(judged.iou, columns["best_iou"])
    np.testing.assert_array_equal(judged.simple["task_supervision"], columns["selected_iou"])
    np.testing.assert_array_equal(judged.refined["task_supervision"], columns["best_iou"])
    np.testing.assert_array_equal(judged.refined["prompt_refinement"], columns["refined_best_iou"])


def test_a_mask_is_the_one_that_would_be_used() -> None:
    rows = made_rows()
    single, several = (judge(rows, answer, "large", "large") for answer in ("single", "multimask"))
    assert (single.rows.columns["mask"] == 0).all()
    np.testing.assert_array_equal(single.iou, single.rows.columns["single_iou"])
    np.testing.assert_array_equal(several.iou, several.rows.columns["selected_iou"])
    assert {*single.rows.columns["model"]} == {"large"}


def test_a_true_estimate_is_calibrated_and_correlated() -> None:
    rows = with_score(made_rows(), lambda c: c["iou"])
    result = evaluate_uncertainty(rows, "small", largest="large", resamples=20).to_json()
    assert result["pearson"]["iou_head"] == result["spearman"]["iou_head"] == pytest.approx(1)
    assert result["auroc"]["0.5"]["iou_head"] == 1
    assert result["ece"] == result["calibration"]["mse"]["iou_head"] == pytest.approx(0)
    assert result["e_aurc"]["iou_head"] == pytest.approx(0)
    assert abs(result["pearson"]["entropy"]) < 0.4
    assert result["ci95"]["pearson"]["iou_head"] == pytest.approx([1, 1])
    assert set(result["calibration"]["ece"]) == {"iou_head"}, "an entropy is no IoU"
    assert set(result["relative_auc"]) == set(result["published"]["relative_auc"]) == set(PROTOCOLS)
    assert (result["n"], result["images"], result["groups"]) == (60, 20, 10)
    assert result["heads"] is None
    assert result["differences"] == result["ablation"] == {}


def test_groups_are_resampled_whole() -> None:
    rows = made_rows()
    apart = TokenRows(rows.tokens, rows.columns | {"group": rows.columns["instance"].astype(str)})
    # Each group the same six objects over again: as good as six objects only.
    order = np.arange(len(rows)).reshape(2, 60, 4)[:, [0, 1, 2, 3, 4, 5] * 10].reshape(-1)
    group = np.array([str(k) for k in np.broadcast_to(np.arange(60)[:, None] % 6, (2, 60, 4)).reshape(-1)])
    same = TokenRows(
        rows.tokens, {name: part[order] for name, part in rows.columns.items()} | {"group": group}
    )
    widths = []
    for given in (apart, same):
        ends = evaluate_uncertainty(given, "small", resamples=60).used.figures["aurc", "iou_head"]
        widths.append(ends.high - ends.low)
    assert widths[1] > 1.4 * widths[0]


@pytest.mark.parametrize("kind", ["selected", "published"])
def test_heads_are_measured_beside_what_is_free(kind: Any) -> None:
    rows, heads = made_rows(), some_heads(kind, C * (P if kind == "selected" else 2))
    result = evaluate_uncertainty(rows, "small", largest="large", heads=heads, resamples=20)
    content = result.to_json()
    judged = result.used.judged
    told = heads.values(torch.from_numpy(judged.rows.inputs(C)))
    quality = told["quality" if kind == "selected" else "iou_small"].numpy()
    assert content["pearson"]["quality"] == pytest.approx(np.corrcoef(quality, judged.iou)[0, 1], abs=1e-6)
    expected = relative_auc(told["task_gap"].numpy(), judged.iou, judged.refined["task_supervision"])
    assert content["relative_auc"]["task_supervision"]["task_gap"] == pytest.approx(expected.value)
    assert content["areas"]["task_supervision"]["task_gap"] == pytest.approx(expected.auc)
    rankers = {*content["relative_auc"]["model_selection"]}
    assert {"model_gap", "quality", "iou_head", "stability", "entropy"} <= rankers
    assert ("model_difference" in rankers) == (kind == "published")
    gap = content["differences"]["relative_auc"]["task_supervision"]["task_gap - iou_head"]
    figures = content["relative_auc"]["task_supervision"]
    assert gap["value"] == pytest.approx(figures["task_gap"] - figures["iou_head"])
    assert gap["low"] <= gap["value"] <= gap["high"]
    assert content["ece"] == content["calibration"]["ece"]["quality"]
    assert content["heads"]["kind"] == kind
    both = ["IoU and mask token"] * (kind == "selected")
    assert [*content["ablation"]] == ["IoU token", "mask token", *both, "all"]
    assert content["ablation"]["all"]["pearson"]["quality"] == pytest.approx(content["pearson"]["quality"])


def test_differences_of_two_heads_are_those_of_the_paper() -> None:
    rows, heads = made_rows(), some_heads("published", 2 * C)
    judged = judge(rows, "published", "small", "large", heads)
    values = heads.values(torch.from_numpy(judged.rows.inputs(C)))
    told = {name: column.numpy() for name, column in values.items()}
    for name, (more, less) in {
        "model_difference": ("iou_large", "iou_small"),
        "prompt_difference": ("refined_iou", "iou_small"),
        "task_difference": ("iou_small", "unsupervised_iou"),
    }.items():
        np.testing.assert_allclose(judged.doubts[name], told[more] - told[less], atol=1e-6)


def test_parts_of_what_is_read_are_blank() -> None:
    rows = made_rows(2)
    values = rows.inputs(C)
    kinds: list[tuple[Any, int]] = [("published", 2), ("selected", P)]
    for kind, count in kinds:
        found = parts(some_heads(kind, count * C), rows)
        assert [*found] == ["IoU token", "mask token"] + ["IoU and mask token"] * (count > 2) + ["all"]
        np.testing.assert_array_equal(found["IoU token"][:, :C], values[:, :C])
        assert not found["IoU token"][:, C:].any()
        assert not np.delete(found["mask token"], range(C, 2 * C), axis=1).any()
        np.testing.assert_array_equal(found["all"], values)


def test_heads_that_read_components_have_a_mean_for_a_blank() -> None:
    rows = made_rows()
    features = len(FEATURES)
    config = HeadsConfig(
        "selected",
        NAMES["selected"],
        5 + features,
        (6,),
        (("small", "1"), ("large", "2")),
        components=5,
        tokens=P * C,
    )
    heads = UncertaintyHeads(config).bound_to("1", "small")
    generator = torch.Generator().manual_seed(0)
    for tensor in (*heads.parameters(), heads.center, heads.projection):
        torch.nn.init.normal_(tensor, generator=generator)
    found = parts(heads, rows)
    assert [*found] == ["IoU token", "mask token", "IoU and mask token", "all tokens", "map", "all"]
    blank = np.broadcast_to(heads.center.numpy(), found["map"].shape)
    np.testing.assert_array_equal(found["map"][:, : P * C], blank[:, : P * C])
    np.testing.assert_array_equal(found["all tokens"][:, P * C :], blank[:, P * C :])
    np.testing.assert_array_equal(found["all"], rows.inputs(C))
    result = evaluate_uncertainty(rows, "small", largest="large", heads=heads, resamples=2)
    told = heads.values(torch.from_numpy(result.used.judged.rows.inputs(C)))
    np.testing.assert_allclose(1 - result.used.judged.doubts["quality"], told["quality"], atol=1e-6)
    assert [*result.to_json()["ablation"]] == [*found]


def test_entropies_count_where_they_are_defined() -> None:
    n = 60
    missing = np.where(np.arange(n) == 3, np.nan, 0.5)
    rows = made_rows(n, h_prompt=np.linspace(0, 1, n), h_theta=missing)
    judged = judge(rows, "single", "small", "large")
    assert "h_prompt" in judged.general
    assert not {"h_theta", "h_all"} & set(judged.general)
    boxes = TokenRows(rows.tokens, rows.columns | {"prompt": np.full(len(rows), "box", object)})
    assert "h_prompt" not in judge(boxes, "single", "small", "large").general


def test_every_mask_has_a_record() -> None:
    judged = judge(made_rows(), "single", "small", "large", some_heads())
    records = per_mask(judged)
    assert len(records) == len(judged)
    first = records[0]
    assert first["iou"] == judged.iou[0]
    assert first["iou_head"] == pytest.approx(judged.rows.columns["sam_score"][0])
    assert first["model_selection_iou"] == judged.rows.columns["single_iou@large"][0]
    assert {"quality", "model_gap", "prompt_gap", "task_gap", "entropy", "instance", "image"} <= set(first)


def test_nothing_to_measure_is_said() -> None:
    with pytest.raises(InputError, match="no masks of huge for the prompt 'point'"):
        evaluate_uncertainty(made_rows(), "huge")
    with pytest.raises(InputError, match="no masks of small for the prompt 'box'"):
        evaluate_uncertainty(made_rows(), "small", prompt="box")


def test_one_model_has_no_other() -> None:
    judged: Judged = judge(made_rows(models=MODELS[:1]), "single", "small", "small")
    assert set(judged.rankers) == set(PROTOCOLS) - {"model_selection"}
