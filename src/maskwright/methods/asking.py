"""How a known object is asked for, as an annotator would: a box or a click first, then corrective clicks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch

from maskwright.data.prompts import center_point, corrective_point, edge_point, tight_box
from maskwright.errors import ConfigError
from maskwright.methods.prediction import ModelPredictor, PredictedMask, Predictor
from maskwright.methods.scores import Choice, ClickKind, PromptKind
from maskwright.metrics.regions import iou
from maskwright.types import BoolArray, FloatArray, Prompts

POINTS: dict[ClickKind, Callable[[BoolArray], FloatArray]] = {"center": center_point, "edge": edge_point}


@dataclass(frozen=True)
class Asking:
    """How an object is asked for, and which of a model's answers counts.

    Args:
        prompt: what it is asked for with first.
        counts: after how many prompts, the first included, figures are wanted; in rising order.
        click: where in the object, and later in the largest error, clicks go: to its innermost pixel or to
            one near its outline.
        choice: "single" takes the predictor's one answer. "oracle" asks for all masks of an ambiguous prompt
            and takes the one closest to the truth, after every click; its logits are what is fed back. No
            user has the truth, so such figures are an upper bound and no match for those of "single".
        box: how a mask's box is drawn.

    Raises:
        ConfigError: for counts that are not whole numbers from 1, each larger than the one before.
    """

    prompt: PromptKind = "box"
    counts: tuple[int, ...] = (1,)
    click: ClickKind = "center"
    choice: Choice = "single"
    box: Callable[[BoolArray], FloatArray] = tight_box

    def __post_init__(self) -> None:
        rising = all(one < other for one, other in zip(self.counts, self.counts[1:], strict=False))
        if not self.counts or self.counts[0] < 1 or not rising:
            raise ConfigError(
                "clicks are whole numbers from 1 in rising order, such as 1,3,5, not "
                f"{','.join(map(str, self.counts)) or 'none'}."
            )

    @property
    def clicks(self) -> int:
        """How many prompts an object gets in all."""
        return self.counts[-1]

    def first(self, truth: BoolArray) -> Prompts:
        """The box of a mask, or one click on it."""
        if self.prompt == "box":
            return Prompts(boxes=torch.from_numpy(self.box(truth))[None])
        click = torch.from_numpy(POINTS[self.click](truth))[None, None]
        return Prompts(points=click, labels=torch.ones(1, 1, dtype=torch.long))

    def corrected(self, prompt: Prompts, predicted: PredictedMask, truth: BoolArray) -> Prompts:
        """The prompt with one more click, on the largest error, and the previous logits.

        Where the mask is already right, the prompt is returned as it is.
        """
        correction = corrective_point(truth, predicted.mask, point_of=POINTS[self.click])
        if correction is None:
            return prompt
        assert predicted.low_res is not None, "a predictor that takes corrections gives logits"
        points, labels = torch.from_numpy(correction[0])[None, None], torch.tensor([[correction[1]]])
        if prompt.points is not None and prompt.labels is not None:
            points, labels = torch.cat([prompt.points, points], 1), torch.cat([prompt.labels, labels], 1)
        return Prompts(points, labels, prompt.boxes, predicted.low_res[None].float().cpu())


def box_rule(predictor: Predictor) -> Callable[[BoolArray], FloatArray]:
    """How boxes are drawn for a predictor: tight, or, where it is shown stretched images, on those."""
    if isinstance(predictor, ModelPredictor) and predictor.stretch:
        return partial(stretched_box, side=predictor.segmenter.model.image_size)
    return tight_box


def closest(candidates: Sequence[PredictedMask], truth: BoolArray) -> PredictedMask:
    """Of several masks the one with the highest IoU with the truth; the first of equals."""
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=lambda candidate: float(iou(candidate.mask, truth)))


def stretched_box(mask: BoolArray, side: int) -> FloatArray:
    """The (4,) box of an (H, W) mask as HQ-SAM's evaluation draws it (Ke et al. 2023, released code).

    The mask is stretched to a square of `side` pixels, bilinear, and cut at one half; the box goes from its
    smallest to its largest pixel index, which is half a pixel in from the pixels' edges on each side. Here
    it is scaled back to the image. Where nothing is left of a mask so small, its tight box is taken.
    """
    height, width = mask.shape
    scale = np.array([width / side, height / side] * 2, np.float32)
    values = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    square: BoolArray = np.asarray(values) > 0.5
    if not square.any():
        return tight_box(mask)
    x0, y0, x1, y1 = tight_box(square)
    # A box has to have an inside, even that of a single row of pixels.
    return np.array([x0, y0, max(x1 - 1, x0 + 0.5), max(y1 - 1, y0 + 0.5)], np.float32) * scale
