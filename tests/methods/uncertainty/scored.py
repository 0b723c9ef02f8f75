"""Rows of an extraction whose true and estimated IoUs a test chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maskwright.methods.uncertainty.rows import FEATURE, TokenRows, row_schema
from maskwright.models.mask_features import FEATURES

MODELS = ("small", "large")
P, C = 3, 8


def made_rows(n: int = 60, seed: int = 0, models: Sequence[str] = MODELS, **columns: Any) -> TokenRows:
    """Four masks for a click on each of n objects, three an image, by each model.

    The IoU of each mask is in `iou`, the model's score is drawn apart from it. Columns that are given, (n,),
    are true of all masks of an object.
    """
    rng = np.random.default_rng(seed)
    iou = rng.random((len(models), n, 4))
    score = rng.random(iou.shape)
    refined = rng.random((len(models), n))
    best, selected = iou[..., 1:].argmax(2), score[..., 1:].argmax(2)
    by_object = {
        "best_iou": iou[..., 1:].max(2),
        "selected_iou": np.take_along_axis(iou[..., 1:], selected[..., None], 2)[..., 0],
        "single_iou": iou[..., 0],
    }
    objects = np.arange(n)
    values: dict[str, Any] = {field.name: np.nan for field in row_schema(models)}
    values |= {
        "image": np.array([f"{k // 3}.jpg" for k in objects], object)[:, None],
        "group": np.array([f"{k // 6}" for k in objects], object)[:, None],
        "instance": objects[:, None],
        "model": np.array(models, object)[:, None, None],
        "prompt": np.array("center", object),
        "prompt_number": 0,
        "mask": np.arange(4),
        "area": 0.1,
        "height": 60,
        "width": 80,
        "sam_score": score,
        "stability": rng.random(iou.shape),
        "entropy": rng.random(iou.shape),
        "iou": iou,
        "best": np.pad(best[..., None] == np.arange(3), ((0, 0), (0, 0), (1, 0))),
        "selected": np.pad(selected[..., None] == np.arange(3), ((0, 0), (0, 0), (1, 0))),
        "refined_iou": refined[..., None],
        "refined_best_iou": np.minimum(refined + 0.1, 1)[..., None],
        **{FEATURE + name: rng.normal(size=iou.shape) for name in FEATURES},
        **{name: part[..., None] for name, part in by_object.items()},
        **{
            f"{name}@{model}": part[number, :, None]
            for name, part in by_object.items()
            for number, model in enumerate(models)
        },
        **{name: np.asarray(part)[:, None] for name, part in columns.items()},
    }
    full = {name: np.broadcast_to(part, iou.shape).reshape(-1).copy() for name, part in values.items()}
    tokens = rng.normal(size=(iou.size, P, C)).astype(np.float32)
    return TokenRows(tokens, full)
