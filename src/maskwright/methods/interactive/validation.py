"""How good a model is on held-out objects while it learns: for a box, for a click, and after a few clicks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from maskwright.errors import MaskwrightError
from maskwright.methods.evaluate import evaluate_prompted
from maskwright.methods.interactive.items import Source
from maskwright.methods.prediction import ModelPredictor
from maskwright.methods.scores import PromptedResult, PromptKind, Selection
from maskwright.models.base import MaskModel
from maskwright.models.segmenter import Segmenter


class Validation(Protocol):
    """The settings that say what is measured."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def min_area(self) -> float:
        """Smallest object, as a part of the photo."""

    @property
    def val_masks(self) -> int:
        """Objects of a photo."""

    @property
    def val_images(self) -> int:
        """Photos of a set."""

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
    box = _evaluated(model, source, settings, "box", 1)
    clicks = _evaluated(model, source, settings, "point", settings.val_clicks)
    figures = {"box_miou": box.miou, "box_boundary_iou": box.boundary_iou}
    for count in sorted({1, settings.val_clicks}):
        name = "click" if count == 1 else f"clicks{count}"
        for kind in ("iou", "boundary_iou"):
            values = [getattr(score, f"{kind}_by_click")[count - 1] for score in clicks.scores]
            figures[f"{name}_{'miou' if kind == 'iou' else kind}"] = sum(values) / len(values)
    return figures


def _evaluated(
    model: MaskModel, source: Source, settings: Validation, prompt: PromptKind, clicks: int
) -> PromptedResult:
    def refuse(item: str, error: MaskwrightError) -> None:
        raise error

    task = None if model.task_prompts is None else source.task
    selection = Selection(settings.min_area, 1.0, settings.val_masks, limit=settings.val_images)
    return evaluate_prompted(
        ModelPredictor(Segmenter(model), settings.model, task=task),
        source.dataset,
        prompt=prompt,
        clicks=clicks,
        selection=selection,
        on_failure=refuse,
    )
