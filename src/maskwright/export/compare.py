"""What an export costs: masks of the exported model beside those of the model itself, on labelled photos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskwright.errors import InputError, MaskwrightError
from maskwright.methods.evaluate import evaluate_prompted
from maskwright.methods.prediction import ModelPredictor
from maskwright.methods.scores import PromptedResult, PromptKind, Selection
from maskwright.models.segmenter import Segmenter
from maskwright.types import Sample


@dataclass(frozen=True, eq=False)
class Loss:
    """How an exported model does, and what it loses against the model that it was made of.

    Args:
        name: the exported model's.
        result: its own scores.
        iou, boundary_iou: mean of the model's minus the exported one's, over the same objects.
        worst: the largest loss of IoU on one object.
        difference: mean absolute difference of IoU on an object, whichever is better.
    """

    name: str
    result: PromptedResult
    iou: float
    boundary_iou: float
    worst: float
    difference: float

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "iou": self.result.miou,
            "boundary_iou": self.result.boundary_iou,
            "iou_loss": self.iou,
            "boundary_iou_loss": self.boundary_iou,
            "worst_iou_loss": self.worst,
            "mean_absolute_difference": self.difference,
            "objects": len(self.result.scores),
        }


def compare(
    model: Segmenter,
    exported: Sequence[Segmenter],
    dataset: Sequence[Sample],
    *,
    prompt: PromptKind = "box",
    selection: Selection | None = None,
    data_name: str = "dataset",
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
    on_failure: Callable[[str, MaskwrightError], None] = lambda item, error: None,
) -> tuple[PromptedResult, list[Loss]]:
    """Ask a model and its exports for the same objects.

    Args:
        model: as it was before.
        exported: what was made of it.
        dataset: labelled photos.
        prompt: as of `evaluate_prompted`, and so is what follows.
        selection: which objects.
        data_name: what the results call the data.
        track: wraps the images' indices, once for each model.
        on_failure: called with the name of an image that could not be evaluated, and why.

    Raises:
        InputError: an export is of another model.
        MaskwrightError: as `evaluate_prompted`.
    """
    for one in exported:
        if one.digest != model.digest:
            raise InputError(
                f"{one.name} was not made of {model.name}: the weights are {one.digest}, not {model.digest}. "
                "Give the model that was exported, or export this one."
            )

    def measured(segmenter: Segmenter) -> PromptedResult:
        return evaluate_prompted(
            ModelPredictor(segmenter, segmenter.name),
            dataset,
            prompt=prompt,
            selection=selection,
            data_name=data_name,
            track=track,
            on_failure=on_failure,
        )

    before = measured(model)
    return before, [loss(before, measured(one), one.name) for one in exported]


def loss(before: PromptedResult, after: PromptedResult, name: str) -> Loss:
    """The loss over the objects that both have been asked for."""
    known = {(score.image, score.segment): score for score in before.scores}
    pairs = [(known[key], score) for score in after.scores if (key := (score.image, score.segment)) in known]
    ious = np.array([theirs.iou - score.iou for theirs, score in pairs])
    bands = np.array([theirs.boundary_iou - score.boundary_iou for theirs, score in pairs])
    return Loss(
        name, after, float(ious.mean()), float(bands.mean()), float(ious.max()), float(np.abs(ious).mean())
    )
