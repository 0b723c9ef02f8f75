"""What is evaluated: anything that turns an image and one prompt into one mask, model or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from maskwright.types import BoolArray, Embedding, HQMode, Image, Prompts

if TYPE_CHECKING:
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


@dataclass(frozen=True)
class ModelPredictor:
    """A model as a `Predictor`.

    Args:
        segmenter: the model.
        name: what tables and results call it.
        multimask: ask for three masks and keep the one the model believes best. Corrections (prompts with
            a previous mask) are no longer ambiguous and get the single mask, as in SAM's own training.
        hq: which logits of an HQ model; see `Segmenter.decode`.
    """

    segmenter: Segmenter
    name: str
    multimask: bool = False
    hq: HQMode = "sum"

    is_model = True
    takes_corrections = True

    @property
    def settings(self) -> dict[str, Any]:
        """How the model is asked."""
        return {"multimask": self.multimask, "hq": self.hq}

    @torch.no_grad()
    def prepare(self, image: Image) -> Embedding:
        """Encode the image."""
        return self.segmenter.embed(image)

    @torch.no_grad()
    def predict(self, prepared: Embedding, prompt: Prompts) -> PredictedMask:
        """Decode one prompt and bring the mask to the image's size."""
        multimask = self.multimask and prompt.masks is None
        masks = self.segmenter.decode(prepared, prompt, multimask=multimask, hq=self.hq).best()
        return PredictedMask(masks.binary()[0, 0], float(masks.iou[0, 0]), masks.low_res[0, 0])
