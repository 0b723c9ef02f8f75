"""The parts of the experiment on uncertainty: the cascade, the guarantees, and the page made of them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from methods.uncertainty.scored import C, P, made_rows

from maskwright.cli.common import plain
from maskwright.methods.uncertainty.evaluate import evaluate_uncertainty
from maskwright.methods.uncertainty.rows import TokenRows
from maskwright.models.uncertainty import HeadsConfig, UncertaintyHeads

sys.path.insert(0, str(REPOSITORY / "experiments"))
import uncertainty_page
import uncertainty_summary

COST = {"image": 0.1, "prompt": 0.01}


def masks(count: int = 120, noise: float = 0.1) -> list[dict[str, Any]]:
    """Two masks an image, their quality near the IoU, and a larger model that helps with the second image."""
    rng = np.random.default_rng(0)
    iou = rng.uniform(0.2, 0.9, count)
    return [
        {
            "image": f"{k // 2}.jpg",
            "group": f"{k // 2}.jpg",
            "iou": iou[k],
            "quality": iou[k] + rng.uniform(-noise, noise),
            "iou_head": rng.random(),
            "entropy": rng.random(),
            "model_gap": float(k // 2 % 2),
            "model_selection_iou": iou[k] + 0.1 * (k // 2 % 2),
        }
        for k in range(count)
    ]


def test_the_cascade_sends_what_gains() -> None:
    found = uncertainty_summary.cascade(masks(), COST, COST)
    assert found["relative_auc"]["model_gap"]["value"] == pytest.approx(1)
    assert found["relative_auc"]["random"]["value"] == pytest.approx(0.5)
    assert found["share_to_match_large"]["model_gap"] == found["share_to_match_large"]["oracle"] == 0.5
    assert found["share_to_match_large"]["random"] == 1
    assert found["large_miou"] - found["small_miou"] == pytest.approx(0.05)
    assert found["seconds"][0] == pytest.approx(0.12)
    assert found["seconds"][-1] == pytest.approx(0.24)
    assert found["miou"]["model_gap"][-1] == pytest.approx(found["large_miou"])


def test_guarantees_hold_on_the_other_half() -> None:
    found = uncertainty_summary.guarantees(masks())
    for row in found:
        assert row["held"] > row["promised"] - 0.02, row
    assert {row["kind"] for row in found} == {"lower_bound", "keep"}
    few = [one | {"group": str(k % 3)} for k, one in enumerate(masks())]
    assert all("refused" in row for row in uncertainty_summary.guarantees(few))


def test_summary_and_page() -> None:
    rows = made_rows(120)
    rows = TokenRows(rows.tokens, rows.columns | {"group": rows.columns["image"]})
    names = ("quality", "model_gap", "prompt_gap", "task_gap")
    heads = UncertaintyHeads(HeadsConfig("selected", names, P * C, (4,), (("small", "1"), ("large", "2"))))
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    heads = heads.bound_to("1", "small")
    results = [
        evaluate_uncertainty(rows, "small", largest="large", heads=heads, resamples=5),
        evaluate_uncertainty(rows, "large", resamples=5),
    ]
    found = {"BSDS500 test": [plain(result.to_json()) for result in results]}
    content = uncertainty_summary.summarise(found, {"small": COST, "large": COST}, list(found))
    content |= {"machine": {"processor": "P", "cores": 2}}
    bound = {"kind": "lower-bound", "alpha": 0.1, "offset": 0.25}
    promise = {"prompt": "box", "alpha": 0.1, "guarantees": {"lower-bound": bound}, "images": [100, 100]}
    content |= {"promises": [promise | {"measured": {"lower-bound": 0.91}}]}
    content |= {"versions": dict.fromkeys(("maskwright", "torch", "transformers"), "1")}
    assert len(content["rows"]) == 2
    assert len(content["cascades"]) == 1
    assert uncertainty_page.chart(content).ndim == 3
    text = uncertainty_page.page(content)
    assert "| small | point | 120 | `quality` |" in text
    assert "### Relative AUC. Published protocol" in text
    assert "| BSDS500 test | small | point | lower bound | 90% |" in text
    assert "| box | 0.1 | too few photos | too few photos | 0.250 → 0.910 |" in text
    assert "`model_gap`" in text
