"""What the trainings of `sum_on_nano.py` come to: means over seeds, with intervals, and differences.

Axes: n masks, 2 metrics (IoU and boundary IoU), C clicks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from maskwright.methods.provenance import machine, versions
from maskwright.methods.scores import ScoreTable, Step, curve

METHODS = ("vanilla", "mask-refinement", "sum", "sum-refined")
PAIRS = (
    ("sum", "vanilla"),
    ("sum", "mask-refinement"),
    ("sum-refined", "vanilla"),
    ("sum-refined", "mask-refinement"),
    ("sum-refined", "sum"),
)
"""What is compared: the first minus the second."""
REFINER_FIGURES = (
    "input_iou",
    "refined_iou",
    "input_boundary_iou",
    "refined_boundary_iou",
    "certain_accuracy",
    "doubtful_accuracy",
    "certain_share",
)


@dataclass(frozen=True)
class Outcome:
    """One model as `maskwright evaluate prompted` measured it.

    Args:
        method: "base", or the recipe.
        labels: what it learned from, or None.
        seed: of its training, or None.
        results: as in the command's JSON, one for each dataset and first prompt.
    """

    method: str
    labels: str | None
    seed: int | None
    results: Sequence[Mapping[str, Any]]

    def table(self, data: str, prompt: str) -> ScoreTable:
        """The scores of its masks on one dataset."""
        (found,) = (one for one in self.results if one["data"] == data and one["prompt"] == prompt)
        masks = found["per_mask"]
        values = [(mask["iou_by_click"], mask["boundary_iou_by_click"]) for mask in masks]
        return ScoreTable(np.array(values, np.float64), tuple(mask["image"] for mask in masks))


def summarise(
    outcomes: Sequence[Outcome],
    refiner: Mapping[str, Any],
    disagreement: Mapping[str, Sequence[Mapping[str, Any]]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of docs/results/sum.json."""
    base = next(outcome for outcome in outcomes if outcome.method == "base")
    ways = [(one["data"], one["prompt"]) for one in base.results]
    kinds = dict.fromkeys(outcome.labels for outcome in outcomes if outcome.labels is not None)
    rows: list[dict[str, Any]] = []
    gaps: list[dict[str, Any]] = []
    for labels in kinds:
        for data, prompt in ways:
            tables = {"base": [base.table(data, prompt)]}
            for method in METHODS:
                tables[method] = [
                    outcome.table(data, prompt)
                    for outcome in outcomes
                    if (outcome.method, outcome.labels) == (method, labels)
                ]
            way = {"labels": labels, "data": _short(data), "prompt": prompt}
            rows += [way | row for row in _rows(tables)]
            gaps += [way | gap for gap in _gaps(tables)]
    return {
        "settings": dict(settings),
        "refiner": {name: refiner["metrics"][name] for name in REFINER_FIGURES},
        "disagreement": dict(disagreement),
        "rows": rows,
        "gaps": gaps,
        "machine": machine(torch.device("cpu")),
        "versions": versions(),
    }


def _rows(tables: Mapping[str, Sequence[ScoreTable]]) -> list[dict[str, Any]]:
    """A row a method: its curve, and how far its seeds are apart."""
    rows = []
    for method, found in tables.items():
        apart = None
        if len(found) > 1:
            apart = np.std([table.values.mean(axis=0) for table in found], axis=0, ddof=1).tolist()
        rows.append(
            {
                "method": method,
                "masks": len(found[0].images),
                "seeds": len(found),
                "by_click": _steps(_mean(found)),
                "seed_std": apart,
            }
        )
    return rows


def _gaps(tables: Mapping[str, Sequence[ScoreTable]]) -> list[dict[str, Any]]:
    """A row a pair of methods: the difference of their means over seeds, mask by mask."""
    gaps = []
    for one, other in PAIRS:
        first, second = _mean(tables[one]), _mean(tables[other])
        difference = ScoreTable(first.values - second.values, first.images)
        gaps.append({"one": one, "other": other, "by_click": _steps(difference)})
    return gaps


def _mean(tables: Sequence[ScoreTable]) -> ScoreTable:
    """Each mask's mean score over the seeds."""
    assert all(table.images == tables[0].images for table in tables)
    return ScoreTable(np.mean([table.values for table in tables], axis=0), tables[0].images)


def _steps(table: ScoreTable) -> list[dict[str, Any]]:
    steps: Sequence[Step] = curve([table])
    return [asdict(step) for step in steps]


def _short(data: str) -> str:
    return {"bsds500": "BSDS500 test", "davis2016": "DAVIS 2016"}[data.partition(":")[0]]
