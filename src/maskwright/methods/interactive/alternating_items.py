"""Training items of the HQ-architecture recipe: human photos as in fine-tuning, and machine-labelled ones.

Axes: N masks of a photo, P points, S input side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskwright.data.clicks import certain_points
from maskwright.data.mixture import Mixture
from maskwright.data.prompts import random_points
from maskwright.methods.base import ItemKey, TrainingData
from maskwright.methods.finetune.items import Batch as HumanBatch
from maskwright.methods.finetune.items import FinetuneData, Frame
from maskwright.methods.finetune.items import Item as HumanItem
from maskwright.methods.interactive.config import AlternatingSettings
from maskwright.methods.interactive.items import Objects, Source, check_source, view_photo
from maskwright.models.base import PromptBatch
from maskwright.types import BoolArray, ByteArray


@dataclass(frozen=True)
class AsItIs:
    """Machine-made labels are learned without augmentation."""

    augment: Literal["none"] = "none"
    scale: tuple[float, float] = (1.0, 1.0)
    color: bool = False


@dataclass(frozen=True, eq=False)
class Asked:
    """The masks of one photo and the prompts for them, (1, N, …); None where the photo has no mask."""

    objects: Objects
    prompts: PromptBatch | None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Asked:
        """The same on a device."""
        prompts = None if self.prompts is None else self.prompts.map(lambda part: part.to(device))
        return Asked(self.objects.to(device, non_blocking), prompts)


@dataclass(frozen=True, eq=False)
class MachineItem:
    """One photo with machine-made masks: (3, S, S) pixels."""

    pixels: Tensor
    asked: Asked


@dataclass(frozen=True, eq=False)
class MachineBatch:
    """B such photos: pixels (B, 3, S, S)."""

    pixels: Tensor
    asked: list[Asked]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MachineBatch:
        """The batch on a device."""
        pixels = self.pixels.to(device, non_blocking=non_blocking)
        return MachineBatch(pixels, [one.to(device, non_blocking) for one in self.asked])


class AlternatingData(TrainingData):
    """Human photos for one optimiser step, machine-labelled ones for the next.

    Items 0 to H - 1 are the human photos, H to H + L - 1 the others, and H + L is nothing: a step on
    machine-made labels takes `unlabeled_photos` photos a batch, and the rest of the batch stays empty. An
    epoch shows every human photo once.

    Args:
        human: sources of human masks.
        machine: sources of machine-made ones.
        settings: what is done with them.
        frame: the model's input.
        tasks: whether the model has task prompts.
    """

    def __init__(
        self,
        human: Sequence[Source],
        machine: Sequence[Source],
        settings: AlternatingSettings,
        frame: Frame,
        *,
        tasks: bool,
    ) -> None:
        self.sources = (list(human), list(machine))
        self.human, self.machine = (
            Mixture([(source.dataset, source.weight) for source in sources]) for sources in self.sources
        )
        self.settings, self.frame, self.tasks = settings, frame, tasks
        self.clean = FinetuneData(self.human, settings, frame)
        self.begin(settings.batch_size * settings.accumulate)

    def begin(self, items_per_step: int) -> None:
        """Cut the data into steps."""
        self.items_per_step = items_per_step
        self.pairs = -(-len(self.human) // items_per_step)

    def __len__(self) -> int:
        return 2 * self.pairs * self.items_per_step

    def source(self, index: int) -> str:
        """The photo's file."""
        mixture, place = self._locate(index)
        return "(no photo)" if mixture is None else str(mixture.image_path(place))

    def check(self) -> None:
        """Look at photos' headers and read the first samples.

        Raises:
            FileError: a photo cannot be opened.
            DatasetError: none of the first samples has a usable mask.
        """
        self.clean.check()
        for source in self.sources[1]:
            check_source(source, 0.0)

    def order(self, epoch: int, seed: int) -> npt.NDArray[np.int64]:
        """Human and machine-labelled photos by turns, a step's worth each."""
        rng, settings = np.random.default_rng((seed, epoch)), self.settings
        size = settings.batch_size
        clean = self.human.draw(self.pairs * self.items_per_step, rng)
        batches = self.pairs * self.items_per_step // size
        noisy = np.full((batches, size), len(self.human) + len(self.machine))
        drawn = self.machine.draw(batches * settings.unlabeled_photos, rng)
        noisy[:, : settings.unlabeled_photos] = len(self.human) + drawn.reshape(batches, -1)
        steps = [part.reshape(self.pairs, self.items_per_step) for part in (clean, noisy)]
        return np.stack(steps, axis=1).reshape(-1)

    def __getitem__(self, key: ItemKey) -> tuple[HumanItem, int] | MachineItem | None:
        mixture, place = self._locate(key.index)
        if mixture is None:
            return None
        if mixture is self.human:
            return self.clean[key], self.sources[0][mixture.part(place)].task
        rng, source = key.rng(), self.sources[1][mixture.part(place)]
        item = view_photo(mixture[place], source, 0.0, self.frame, AsItIs(), self.settings, rng)
        return MachineItem(item.pixels, Asked(item.objects, self._prompts(item.objects, rng)))

    def collate(
        self, items: Sequence[tuple[HumanItem, int] | MachineItem | None]
    ) -> HumanBatch | MachineBatch:
        """Stack items, which are of one kind."""
        machine = [item for item in items if isinstance(item, MachineItem)]
        if machine:
            pixels = torch.stack([item.pixels for item in machine])
            return MachineBatch(pixels, [item.asked for item in machine])
        human = [item for item in items if isinstance(item, tuple)]
        batch = self.clean.collate([item for item, _ in human])
        if not self.tasks:
            return batch
        tasks = torch.tensor([task for _, task in human])
        groups = [
            (index, replace(prompts, task=tasks[index][:, None].repeat(1, prompts.shape[1])))
            for index, prompts in batch.groups
        ]
        return replace(batch, groups=groups)

    def _locate(self, index: int) -> tuple[Mixture | None, int]:
        human = len(self.human)
        if index < human:
            return self.human, index
        return (self.machine, index - human) if index < human + len(self.machine) else (None, 0)

    def _prompts(self, objects: Objects, rng: np.random.Generator) -> PromptBatch | None:
        """One kind of prompt for all masks of a photo, clicks by their certainty."""
        settings, masks = self.settings, objects.masks.numpy()
        if not len(masks):
            return None
        kind = settings.prompts[int(rng.integers(len(settings.prompts)))]
        if kind not in ("click", "points"):
            prompts = self.clean.draw_prompts(kind, masks, rng)
        else:
            count = settings.points if kind == "points" else 1
            certainty = objects.certainty if settings.use_uncertainty_clicks else None
            weights = None if certainty is None else certainty.numpy()
            prompts = _clicks(masks, weights, rng, count)
        return replace(prompts.map(lambda part: part[None]), task=objects.task if self.tasks else None)


def _clicks(
    masks: BoolArray, certainty: ByteArray | None, rng: np.random.Generator, count: int
) -> PromptBatch:
    """`count` clicks on each mask, distinct and by certainty; anywhere on one that is certain nowhere."""
    points = []
    for place, mask in enumerate(masks):
        weights = None if certainty is None else certainty[place].astype(np.float32) / 255
        found = certain_points(mask, weights, rng, count)
        points.append(random_points(mask, rng, count) if found is None else found)
    stacked = torch.from_numpy(np.stack(points))
    return PromptBatch(stacked, torch.ones(stacked.shape[:2], dtype=torch.long))
