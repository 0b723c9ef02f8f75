"""How far uncertainty can be believed: every estimate against the truth, with intervals.

Protocols and rankers are those of `protocols`; the figures of `metrics.ranking` and
`metrics.score_calibration`. Intervals come from resampling whole images or videos. Since all estimates speak
of the same masks, their differences have intervals of their own, much narrower than the two apart.

Axes: A rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy.typing as npt

from maskwright.errors import InputError
from maskwright.methods.uncertainty.figures import Path, areas, columns, measures
from maskwright.methods.uncertainty.protocols import (
    IOU_HEAD,
    PROTOCOLS,
    Choice,
    Judged,
    head_doubts,
    judge,
    parts,
    take,
)
from maskwright.methods.uncertainty.rows import TokenRows
from maskwright.metrics.score_calibration import ScoreCalibration, score_calibration
from maskwright.metrics.statistics import STATISTIC_RESAMPLES, Estimate, resample
from maskwright.models.uncertainty import QUALITY, UncertaintyHeads

BASELINES = (IOU_HEAD, "entropy")
"""What heads are compared with."""


@dataclass(frozen=True, eq=False)
class Findings:
    """All that was measured of some masks.

    Args:
        judged: the masks.
        figures: by path, such as ("relative_auc", "task_supervision", "task_gap"); the ranker comes last.
        differences: likewise, with ("…", "task_gap - iou_head") in the last place.
        calibration: of each estimate of the IoU.
        areas: of each protocol, the areas under the mean IoU: each ranker's, the oracle's and the worst.
        ablation: of heads that see only part of the tokens: figures by part and path.
    """

    judged: Judged
    figures: Mapping[Path, Estimate]
    differences: Mapping[Path, Estimate]
    calibration: Mapping[str, ScoreCalibration]
    areas: Mapping[str, Mapping[str, float]]
    ablation: Mapping[str, Mapping[Path, float]]

    @property
    def ece(self) -> float:
        """Expected calibration error of the head, or without heads of the model's own score."""
        best = QUALITY if QUALITY in self.calibration else IOU_HEAD
        return self.calibration[best].ece

    def to_json(self) -> dict[str, Any]:
        """Figures as a tree by their paths; the same tree holds their intervals under "ci95"."""
        judged = self.judged
        ends = {path: [found.low, found.high] for path, found in self.figures.items()}
        gaps = {path: found.to_json() for path, found in self.differences.items()}
        return {
            "n": len(judged),
            "images": len(set(judged.rows.columns["image"])),
            "groups": len(set(judged.groups)),
            "miou": float(judged.iou.mean()),
            "ece": self.ece,
            **tree({path: found.value for path, found in self.figures.items()}),
            "ci95": tree(ends),
            "differences": tree(gaps),
            "areas": self.areas,
            "reliability": {name: found.to_json()["bins"] for name, found in self.calibration.items()},
            "ablation": {part: tree(found) for part, found in self.ablation.items()},
        }


@dataclass(frozen=True, eq=False)
class UncertaintyResult:
    """What is known of one model's masks for one kind of prompt.

    Args:
        model, largest: names; the same one where there is no larger model.
        prompt: "point" or "box".
        answer: which mask is used.
        heads: kind and names of the heads, or None.
        used: of the masks that the model gives.
        published: with the published protocol, which is for clicks; None for boxes.
    """

    model: str
    largest: str
    prompt: str
    answer: Choice
    heads: Mapping[str, Any] | None
    used: Findings
    published: Findings | None

    def to_json(self) -> dict[str, Any]:
        """What `--json` holds."""
        named = {name: getattr(self, name) for name in ("model", "largest", "prompt", "answer", "heads")}
        published = None if self.published is None else self.published.to_json()
        return named | self.used.to_json() | {"published": published, "per_mask": per_mask(self.used.judged)}


def evaluate_uncertainty(
    rows: TokenRows,
    model: str,
    *,
    largest: str | None = None,
    prompt: str = "point",
    answer: Choice = "single",
    heads: UncertaintyHeads | None = None,
    resamples: int = STATISTIC_RESAMPLES,
    seed: int = 0,
) -> UncertaintyResult:
    """Measure everything that can be measured of a model's masks.

    Args:
        rows: of an extraction with these models; refined prompts must have been asked.
        model: whose masks.
        largest: which model could be asked in its place.
        prompt: "point", the click at the centre, or "box".
        answer: which mask is used.
        heads: of the model, bound to it; without them only the free estimates are measured.
        resamples: for the intervals.
        seed: of the resampling.

    Raises:
        InputError: there are no such masks, or estimates that are not finite.
    """
    largest = largest or model
    asked = rows.columns["prompt"] == ("center" if prompt == "point" else prompt)
    if not (asked & (rows.columns["model"] == model)).any():
        raise InputError(f"there are no masks of {model} for the prompt {prompt!r}, so nothing to measure.")
    chosen = take(rows, asked)
    judged = judge(chosen, answer, model, largest, heads)
    find = partial(measure, heads=heads, resamples=resamples, seed=seed)
    config = None if heads is None else heads.config
    return UncertaintyResult(
        model,
        largest,
        prompt,
        answer,
        None if config is None else {"kind": config.kind, "names": config.names, "hidden": config.hidden},
        find(judged),
        find(judge(chosen, "published", model, largest, heads)) if prompt == "point" else None,
    )


def measure(
    judged: Judged,
    heads: UncertaintyHeads | None = None,
    *,
    resamples: int = STATISTIC_RESAMPLES,
    seed: int = 0,
) -> Findings:
    """Every figure of some masks, with its interval.

    Raises:
        InputError: no masks, or values that are not finite.
    """
    table, groups = columns(judged), judged.groups
    how = {"resamples": resamples, "seed": seed}
    figures: dict[Path, Estimate] = {}
    differences: dict[Path, Estimate] = {}
    for path, family in measures(judged).items():
        found = {
            name: resample(one, {column: table[column] for column in one.columns}, groups, **how)
            for name, one in family.items()
        }
        figures |= {(*path, name): one.estimate() for name, one in found.items()}
        for head, other in _compared(path, family):
            differences[*path, f"{head} - {other}"] = (found[head] - found[other]).estimate()
    calibration = {name: score_calibration(q, judged.iou) for name, q in judged.estimates().items()}
    ablation = {} if heads is None else _ablation(judged, heads)
    return Findings(judged, figures, differences, calibration, areas(judged), ablation)


def per_mask(judged: Judged) -> list[dict[str, Any]]:
    """A record for each mask: what it is of, how good, what it would gain, and what each ranker says."""
    rows = judged.rows.columns
    names = ("image", "group", "instance", "area", "mask")
    fields: dict[str, npt.NDArray[Any]] = {name: rows[name] for name in names} | {"iou": judged.iou}
    fields |= {f"{name}_iou": judged.refined[name] for name in PROTOCOLS if name in judged.refined}
    del fields["overall_quality_iou"]
    # Estimates of the IoU as such; gaps and entropies are doubts anyway.
    certain = (QUALITY, IOU_HEAD, "stability")
    fields |= {name: 1 - doubt if name in certain else doubt for name, doubt in judged.doubts.items()}
    lists = [column.tolist() for column in fields.values()]
    return [dict(zip(fields, values, strict=True)) for values in zip(*lists, strict=True)]


def tree(leaves: Mapping[Path, Any]) -> dict[str, Any]:
    """Nested dictionaries of values by their paths."""
    root: dict[str, Any] = {}
    for path, value in leaves.items():
        branch = root
        for name in path[:-1]:
            branch = branch.setdefault(name, {})
        branch[path[-1]] = value
    return root


def _compared(path: Path, family: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The head whose figure this is, with each baseline."""
    head = PROTOCOLS[path[1]] if path[0] == "relative_auc" else QUALITY
    if head in family:
        yield from ((head, name) for name in BASELINES if name in family)


def _ablation(judged: Judged, heads: UncertaintyHeads) -> dict[str, dict[Path, float]]:
    """The heads' own figures where part of what they read tells nothing (table 6)."""
    table = columns(judged)
    found: dict[str, dict[Path, float]] = {}
    for part, values in parts(heads, judged.rows).items():
        sample = table | head_doubts(heads, values)
        found[part] = {
            (*path, head): family[head](sample)
            for path, family in measures(judged).items()
            for head in [PROTOCOLS[path[1]] if path[0] == "relative_auc" else QUALITY]
            if path[0] in ("relative_auc", "pearson") and head in family
        }
    return found
