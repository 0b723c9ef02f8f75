"""How good a model is on held-out objects while it learns: for a box, for a click, and after a few clicks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from maskwright.methods.finetune.validation import HeldOut, evaluate_held_out
from maskwright.methods.interactive.items import Source
from maskwright.models.base import MaskModel


class Validation(HeldOut, Protocol):
    """The settings that say what is measured."""

    @property
    def val_clicks(self) -> int:
        """Clicks in the longest sequence."""


def validate(model: MaskModel, sources: Sequence[Source], settings: Validation) -> dict[str, float]:
    """IoU and boundary IoU, means over the sets; each is asked for with its own task.

    Returns:
        "miou", the mean of the IoUs that follow; those for a box, for one click and after `val_clicks`
        clicks, each with its boundary IoU. Empty without a set.

    Raises:
        MaskwrightError: a photo cannot be read.
    """
    if not sources:
        return {}
    found = [_measure(model, source, settings) for source in sources]
    means = {name: sum(each[name] for each in found) / len(found) for name in found[0]}
    ious = [value for name, value in means.items() if name.endswith("_miou")]
    return {"miou": sum(ious) / len(ious), **means}


def _measure(model: MaskModel, source: Source, settings: Validation) -> dict[str, float]:
    task = None if model.task_prompts is None else source.task
    box = evaluate_held_out(model, source.dataset, settings, "box", task=task)
    clicks = evaluate_held_out(
        model, source.dataset, settings, "point", clicks=settings.val_clicks, task=task
    )
    figures = {"box_miou": box.miou, "box_boundary_iou": box.boundary_iou}
    for count in sorted({1, settings.val_clicks}):
        name = "click" if count == 1 else f"clicks{count}"
        for kind in ("iou", "boundary_iou"):
            values = [getattr(score, f"{kind}_by_click")[count - 1] for score in clicks.scores]
            figures[f"{name}_{'miou' if kind == 'iou' else kind}"] = sum(values) / len(values)
    return figures
