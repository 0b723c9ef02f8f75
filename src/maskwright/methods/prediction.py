"""What is evaluated: anything that turns an image and one prompt into one mask, model or not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from torch import Tensor

from maskwright.data.tasks import Task
from maskwright.errors import InputError
from maskwright.types import BoolArray, Embedding, Geometry, HQMode, Image, Masks, Prompts

if TYPE_CHECKING:
    from maskwright.methods.refine.refiner import MaskRefiner
    from maskwright.models.segmenter import Segmenter


@dataclass(frozen=True, eq=False)
class PredictedMask:
    """One mask of one object.

    Args:
        mask: (H, W) bool.
        iou: the predictor's own estimate of the mask's IoU, or None.
        low_res: (h, w) logits that the predictor takes back as a mask prompt, or None.
    """

    mask: BoolArray
    iou: float | None = None
    low_res: Tensor | None = None


class Predictor(Protocol):
    """Anything that finds the object of a prompt; the image is prepared once for all its prompts."""

    @property
    def name(self) -> str:
        """What tables and results call it."""

    @property
    def is_model(self) -> bool:
        """True for a model, False for a baseline without weights."""

    @property
    def takes_corrections(self) -> bool:
        """True when it can use further clicks and its own previous mask."""

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that change its masks, for the record."""

    def prepare(self, image: Image) -> Any:  # noqa: ANN401
        """Do what is needed once per image, such as encoding it."""

    def predict(self, prepared: Any, prompt: Prompts) -> PredictedMask:  # noqa: ANN401
        """Find the object of one prompt (`len(prompt) == 1`) in a prepared image."""


@runtime_checkable
class CandidatePredictor(Predictor, Protocol):
    """A predictor that gives several masks for a prompt that may mean several things."""

    def candidates(self, prepared: Any, prompt: Prompts) -> list[PredictedMask]:  # noqa: ANN401
        """All its masks of one prompt, of which `predict` would give one."""


@dataclass(frozen=True)
class ModelPredictor:
    """A model as a `Predictor`.

    Args:
        segmenter: the model.
        name: what tables and results call it.
        multimask: ask for three masks and keep the one the model believes best. Corrections (prompts with
            a previous mask) are no longer ambiguous and get the single mask, as in SAM's own training.
        hq: which logits of an HQ model; see `Segmenter.decode`.
        stretch: show the model the image stretched to its square, whatever it does by itself, as HQ-SAM's
            evaluation does; with hq="only" and boxes that is its published protocol.
        task: which kind of mask is wanted, told with the first prompt; see `Segmenter.decode`.
        refiner: redraws every mask, that of a correction too.
    """

    segmenter: Segmenter
    name: str
    multimask: bool = False
    hq: HQMode = "sum"
    stretch: bool = False
    task: Task | int | None = None
    refiner: MaskRefiner | None = None

    is_model = True
    takes_corrections = True

    @property
    def settings(self) -> dict[str, Any]:
        """How the model is asked."""
        asked = {"multimask": self.multimask, "hq": self.hq, "stretch": self.stretch}
        refiner = None if self.refiner is None else self.refiner.signature
        told = {"task": self.task, "refiner": refiner}
        return asked | {name: value for name, value in told.items() if value is not None}

    @torch.no_grad()
    def prepare(self, image: Image) -> Embedding:
        """Encode the image."""
        if not self.stretch:
            return self.segmenter.embed(image)
        side = self.segmenter.model.image_size
        pixels = cv2.resize(image.pixels, (side, side), interpolation=cv2.INTER_LINEAR)
        embedding = self.segmenter.embed(Image(np.asarray(pixels, np.uint8), image.source))
        # The model has seen a square; prompts and masks are those of the image.
        return replace(embedding, geometry=Geometry(image.size, side, "stretch"))

    @torch.no_grad()
    def predict(self, prepared: Embedding, prompt: Prompts) -> PredictedMask:
        """Decode one prompt and bring the mask to the image's size."""
        multimask = self.multimask and prompt.masks is None
        return _predicted(self._decode(prepared, prompt, multimask).best())[0]

    @torch.no_grad()
    def candidates(self, prepared: Embedding, prompt: Prompts) -> list[PredictedMask]:
        """The three masks for an ambiguous prompt.

        Raises:
            InputError: for a model that gives only one.
        """
        found = _predicted(self._decode(prepared, prompt, multimask=True))
        if len(found) == 1:
            raise InputError(
                f"{self.name} gives one mask a prompt with hq={self.hq!r}, so there is no best of three; "
                "ask for its one output, or for SAM's own three masks with hq='off'."
            )
        return found

    def _decode(self, prepared: Embedding, prompt: Prompts, multimask: bool) -> Masks:
        task = self.task if prompt.masks is None else None
        masks = self.segmenter.decode(prepared, prompt, multimask=multimask, hq=self.hq, task=task)
        return masks if self.refiner is None else self.refiner.refine_masks(prepared, masks, prompt)


def _predicted(masks: Masks) -> list[PredictedMask]:
    """The M masks of a single prompt."""
    columns = zip(masks.binary()[0], masks.iou[0], masks.low_res[0], strict=True)
    return [PredictedMask(mask, float(iou), low_res) for mask, iou, low_res in columns]
