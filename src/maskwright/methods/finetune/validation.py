"""How good a model is on held-out objects while it learns."""

from __future__ import annotations

from typing import Protocol

from maskwright.data.dataset import Dataset
from maskwright.errors import MaskwrightError
from maskwright.methods.evaluate import evaluate_prompted
from maskwright.methods.prediction import ModelPredictor
from maskwright.methods.scores import PromptedResult, PromptKind, Selection
from maskwright.models.base import MaskModel
from maskwright.models.segmenter import Segmenter
from maskwright.types import HQMode


class HeldOut(Protocol):
    """The settings that say which held-out objects are asked for."""

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


def evaluate_held_out(
    model: MaskModel,
    dataset: Dataset,
    settings: HeldOut,
    prompt: PromptKind,
    *,
    clicks: int = 1,
    task: int | None = None,
    hq: HQMode = "sum",
) -> PromptedResult:
    """Ask for held-out objects; see `evaluate_prompted`.

    Raises:
        MaskwrightError: a photo cannot be read, or there is no such object.
    """

    def refuse(item: str, error: MaskwrightError) -> None:
        raise error

    return evaluate_prompted(
        ModelPredictor(Segmenter(model), settings.model, task=task, hq=hq),
        dataset,
        prompt=prompt,
        clicks=clicks,
        selection=Selection(settings.min_area, 1.0, settings.val_masks, limit=settings.val_images),
        on_failure=refuse,
    )
