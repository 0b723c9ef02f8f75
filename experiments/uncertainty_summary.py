"""What the evaluations of nano's uncertainty say: heads against what is free, guarantees, and the cascade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.errors import InputError
from maskwright.methods.uncertainty.conformal import keep_threshold, lower_bound
from maskwright.metrics.ranking import relative_auc, replacement_curve
from maskwright.metrics.statistics import bootstrap_statistic

Masks = list[dict[str, Any]]
Floats = npt.NDArray[np.float64]

SPLITS = 200
LEVELS = (0.8, 0.9, 0.95)
"""Promised coverages."""
SHARES = tuple(round(0.05 * step, 2) for step in range(21))
"""Of images sent to the larger model."""
KEPT = (
    *("pearson", "spearman", "auroc", "aurc", "ece", "calibration", "brier", "relative_auc", "areas"),
    *("ci95", "differences", "ablation", "n", "images", "groups", "miou"),
)
"""What the summary keeps of an evaluation; its masks and reliability diagrams stay below --out."""
DOUBTS: dict[str, Callable[[dict[str, Any]], float]] = {
    "model_gap": lambda mask: mask["model_gap"],
    "quality": lambda mask: -mask["quality"],
    "iou_head": lambda mask: -mask["iou_head"],
    "entropy": lambda mask: mask["entropy"],
    "random": lambda mask: 0.0,
    "oracle": lambda mask: mask["model_selection_iou"] - mask["iou"],
}
"""By which images are sent to the larger model, the highest first; "random" is the mean over all orders."""


def summarise(
    found: dict[str, list[dict[str, Any]]], costs: dict[str, dict[str, float]], whole: Sequence[str]
) -> dict[str, Any]:
    """The content of docs/results/uncertainty.json.

    Args:
        found: by dataset, the results of `maskwright evaluate uncertainty`, models small to large.
        costs: seconds of each model, by image and prompt.
        whole: the datasets on which promises and the cascade are tried.
    """
    rows, cascades, promises = [], [], []
    for data, results in found.items():
        for result in results:
            head = {"data": data, "model": result["model"], "prompt": result["prompt"]}
            published = result["published"]
            rows.append(
                head
                | {"used": {name: result[name] for name in KEPT}, "heads": result["heads"]}
                | {"published": published and {name: published[name] for name in KEPT}}
            )
            if data not in whole:
                continue
            if "model_selection" in result["relative_auc"]:
                pair = (costs[result["model"]], costs[result["largest"]])
                cascades.append(head | cascade(result["per_mask"], *pair))
            if result["heads"]:
                promises += [head | promise for promise in guarantees(result["per_mask"])]
    return {"rows": rows, "cascades": cascades, "guarantees": promises, "costs": costs, "splits": SPLITS}


def cascade(masks: Masks, small: dict[str, float], large: dict[str, float]) -> dict[str, Any]:
    """The mean IoU over images by the share of them that the larger model answers, and what that costs."""
    images = list(dict.fromkeys(mask["image"] for mask in masks))
    groups = {mask["image"]: mask["group"] for mask in masks}
    prompts = len(masks) / len(images)
    cost_small, cost_large = (cost["image"] + cost["prompt"] * prompts for cost in (small, large))
    simple = by_image(masks, images, lambda mask: mask["iou"])
    refined = by_image(masks, images, lambda mask: mask["model_selection_iou"])
    curves, areas = {}, {}
    for name, doubt in DOUBTS.items():
        if name in ("model_gap", "quality") and name not in masks[0]:
            continue
        table = {"doubt": by_image(masks, images, doubt), "simple": simple, "refined": refined}
        curves[name] = np.interp(SHARES, *replacement_curve(*table.values())).tolist()
        areas[name] = bootstrap_statistic(
            lambda sample: relative_auc(sample["doubt"], sample["simple"], sample["refined"]).value,
            table,
            [groups[image] for image in images],
        ).to_json()
    return {
        "images": len(images),
        "small_miou": float(simple.mean()),
        "large_miou": float(refined.mean()),
        "seconds": [cost_small + share * cost_large for share in SHARES],
        "seconds_large_alone": cost_large,
        "miou": curves,
        "relative_auc": areas,
        "share_to_match_large": {name: share_needed(curve, refined.mean()) for name, curve in curves.items()},
    }


def by_image(masks: Masks, images: Sequence[str], value: Callable[[dict[str, Any]], float]) -> Floats:
    """The mean over each image's masks."""
    values: dict[str, list[float]] = {image: [] for image in images}
    for mask in masks:
        values[mask["image"]].append(value(mask))
    return np.array([np.mean(values[image]) for image in images])


def share_needed(curve: Sequence[float], goal: float) -> float:
    """The smallest share on the grid with which the mean IoU is that of the larger model alone."""
    return next(share for share, miou in zip(SHARES, curve, strict=True) if miou >= goal - 1e-9)


def guarantees(masks: Masks) -> list[dict[str, Any]]:
    """Promises made on a random half of the images (videos) and measured on the other, many times.

    With too few groups for a promise there is none, and why is said in place of the figures.
    """
    names = sorted({mask["group"] for mask in masks})
    quality, iou = (np.array([mask[key] for mask in masks]) for key in ("quality", "iou"))
    group = np.array([mask["group"] for mask in masks])
    rng = np.random.default_rng(0)
    halves = [np.isin(group, rng.permutation(names)[: len(names) // 2]) for _ in range(SPLITS)]
    found = []
    for level in LEVELS:
        for kind in ("lower_bound", "keep"):
            head = {"kind": kind, "promised": level, "groups": len(names)}
            try:
                measured = [_promise(kind, level, quality, iou, group, half) for half in halves]
            except InputError as error:
                found.append(head | {"refused": str(error)})
                continue
            held, kept = np.array(measured).T
            ends = np.percentile(held, [2.5, 97.5]).tolist()
            found.append(head | {"held": held.mean(), "held_95": ends, "kept": kept.mean()})
    return found


def _promise(
    kind: str,
    level: float,
    quality: Floats,
    iou: Floats,
    group: npt.NDArray[Any],
    half: npt.NDArray[np.bool_],
) -> tuple[float, float]:
    """What holds on the other half, to be compared with the level; and the offset, or the share kept."""
    here, there = np.flatnonzero(half), np.flatnonzero(~half)
    groups, others = group[here].tolist(), group[there].tolist()
    if kind == "lower_bound":
        bound = lower_bound(quality[here], iou[here], 1 - level, groups)
        return bound.measured(quality[there], iou[there], others), bound.offset
    keep = keep_threshold(quality[here], 1 - iou[here], 1 - level, groups)
    risk = keep.measured(quality[there], 1 - iou[there], others)
    return 1 - risk, float(keep.keeps(quality[there]).mean())
