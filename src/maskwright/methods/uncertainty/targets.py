"""What uncertainty heads learn: nine quantities as published, or four of every mask a model may select.

Axes: A rows of a container, K heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from maskwright.choices import HeadsKind
from maskwright.methods.uncertainty.container import Container
from maskwright.models.uncertainty import GAPS, QUALITY, SHIFT, is_gap

Column = npt.NDArray[np.float64]


def head_names(kind: HeadsKind, models: Sequence[str]) -> tuple[str, ...]:
    """The heads for these models, small to large; with one model there is no gap between models."""
    gaps = GAPS if len(models) > 1 else GAPS[1:]
    if kind == "selected":
        return (QUALITY, *gaps)
    return (*(f"iou_{model}" for model in models), "refined_iou", "unsupervised_iou", *gaps)


def choose_rows(rows: Container, kind: HeadsKind) -> Container:
    """The rows that heads learn from.

    Published (UncertainSAM, section 3.2): of each instance and model the best of the proposals for one click
    at the centre. Selected: every mask of every prompt, as whoever asks a model may get any of them.
    """
    if kind == "selected":
        return rows
    return rows.filter((rows.column("prompt") == "center") & (rows.column("mask") > 0) & rows.column("best"))


def targets(rows: Container, kind: HeadsKind) -> npt.NDArray[np.float32]:
    """(A, K) float32 in [0, 1], in the order of `head_names`: IoUs, and gaps shifted by one half."""
    values = published(rows) if kind == "published" else selected(rows)
    columns = [
        np.clip(values[name] + (SHIFT if is_gap(name) else 0), 0, 1) for name in head_names(kind, rows.models)
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def published(rows: Container) -> dict[str, Column]:
    """The nine quantities (UncertainSAM, section 3.2), (A,) each."""
    small, large = rows.models[0], rows.models[-1]
    iou, refined = rows.column("best_iou"), rows.column("refined_best_iou")
    return {f"iou_{model}": rows.column(f"best_iou@{model}") for model in rows.models} | {
        "refined_iou": refined,
        "unsupervised_iou": rows.column("selected_iou"),
        "model_gap": rows.column(f"best_iou@{large}") - rows.column(f"best_iou@{small}"),
        "prompt_gap": refined - iou,
        "task_gap": iou - rows.column("selected_iou"),
    }


def selected(rows: Container) -> dict[str, Column]:
    """Four quantities of each mask, (A,) each: its IoU, and what would be gained over it.

    model_gap: by what the largest model selects for the same prompt. prompt_gap: by further clicks.
    task_gap: by choosing the best among the proposals.
    """
    iou, large = rows.column("iou"), rows.models[-1]
    single = rows.column("mask") == 0
    theirs = np.where(single, rows.column(f"single_iou@{large}"), rows.column(f"selected_iou@{large}"))
    return {
        "quality": iou,
        "model_gap": theirs - iou,
        "prompt_gap": rows.column("refined_iou") - iou,
        "task_gap": np.maximum(rows.column("best_iou"), iou) - iou,
    }
