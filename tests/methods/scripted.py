"""Datasets in memory, and predictors whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from maskwright.errors import ImageError
from maskwright.methods.prediction import PredictedMask
from maskwright.types import BoolArray, Image, Prompts, Sample

SIZE = (60, 80)


def rectangle(top: int, left: int, bottom: int, right: int) -> BoolArray:
    mask = np.zeros(SIZE, np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def sample(name: str, *masks: BoolArray) -> Sample:
    ids = tuple(range(10, 10 + len(masks)))
    stack = np.stack(masks) if masks else np.zeros((0, *SIZE), np.bool_)
    return Sample(Image(np.zeros((*SIZE, 3), np.uint8), name), stack, ids, name)


class Samples(Sequence[Any]):
    """A dataset in memory; a string in place of a sample is the reason it cannot be read."""

    def __init__(self, *items: Sample | str) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        item = self.items[index]
        if isinstance(item, str):
            raise ImageError(f"photo{index}.jpg: {item}")
        return item

    def image_path(self, index: int) -> str:
        return f"photo{index}.jpg"


@dataclass
class Scripted:
    """Answers by a function of the prompt, and counts what it was asked."""

    answer: Callable[[Prompts], BoolArray]
    name: str = "scripted"
    is_model: bool = True
    takes_corrections: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    prepared: list[str] = field(default_factory=list)
    asked: list[Prompts] = field(default_factory=list)

    def prepare(self, image: Image) -> Image:
        self.prepared.append(image.source)
        return image

    def predict(self, prepared: Image, prompt: Prompts) -> PredictedMask:
        self.asked.append(prompt)
        mask = self.answer(prompt)
        return PredictedMask(mask, iou=0.5, low_res=torch.from_numpy(mask[:16, :16] * 8.0 - 4))


def filled(prompt: Prompts) -> BoolArray:
    assert prompt.boxes is not None
    x0, y0, x1, y1 = (int(side) for side in prompt.boxes[0])
    return rectangle(y0, x0, y1, x1)


@dataclass
class Choosy(Scripted):
    """Gives three masks: what it answers, the same two pixels to the right, and nothing."""

    def candidates(self, prepared: Image, prompt: Prompts) -> list[PredictedMask]:
        first = self.predict(prepared, prompt)
        shifted = np.roll(first.mask, 2, axis=1)
        return [
            PredictedMask(mask, 0.5, first.low_res) for mask in (np.zeros_like(shifted), shifted, first.mask)
        ]
