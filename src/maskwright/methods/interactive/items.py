"""From photos with human or machine-made masks to training items. No model is needed here.

Axes: N masks of a photo, S input side, H W size of the photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskwright.data.dataset import Dataset
from maskwright.data.mixture import Mixture
from maskwright.data.prompts import JITTER_PIXELS, jitter_box, tight_box
from maskwright.data.transforms import Matrix, warp_boxes, warp_maps
from maskwright.errors import ConfigError, DatasetError
from maskwright.methods.base import ItemKey, TrainingData
from maskwright.methods.finetune.items import (
    Augmentation,
    Frame,
    photo_pixels,
    usable_masks,
    view_masks,
)
from maskwright.methods.interactive.config import InteractiveSettings, MachineLabelSettings
from maskwright.types import ByteArray, FloatArray, Sample

# How many photos' headers are looked at before the first step: all of a usual set, a part of SA-1B.
CHECKED = 10_000
# SAM moves the sides of a box by at most 20 pixels of an input of this side.
SAM_SIDE = 1024


@dataclass(frozen=True, eq=False)
class Source:
    """One dataset of the mixture.

    Args:
        dataset: photos with masks.
        name: as the user gave it.
        task: number of its task prompt.
        machine: whether its masks are machine-made.
        weight: how often it is drawn from, against the other sources of its kind.
    """

    dataset: Dataset
    name: str
    task: int
    machine: bool
    weight: float


@dataclass(frozen=True, eq=False)
class Objects:
    """The masks of one photo, in the model's input frame.

    Args:
        masks: (N, S, S) bool; N is 0 for a photo without a usable mask.
        certainty: (N, S, S) uint8, 255 where a pixel's label is certain; None: everywhere.
        boxes: (N, 4) float32, the masks' boxes as the prompt gives them.
        size: height and width of the photo's part of the frame, at its upper left.
        first: what the first round asks with.
        machine: whether the masks are machine-made.
        task: number of the task prompt.
        seed: of the clicks in this item, whichever process draws them.
    """

    masks: Tensor
    certainty: Tensor | None
    boxes: Tensor
    size: tuple[int, int]
    first: Literal["box", "click"]
    machine: bool
    task: int
    seed: int

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Objects:
        """The same on a device."""
        masks, boxes = (part.to(device, non_blocking=non_blocking) for part in (self.masks, self.boxes))
        certainty = self.certainty
        if certainty is not None:
            certainty = certainty.to(device, non_blocking=non_blocking)
        return replace(self, masks=masks, certainty=certainty, boxes=boxes)


@dataclass(frozen=True, eq=False)
class Item:
    """One photo: (3, S, S) float32 pixels, normalised, and its masks."""

    pixels: Tensor
    objects: Objects


@dataclass(frozen=True, eq=False)
class Batch:
    """B photos: their pixels (B, 3, S, S), and the masks of each, which differ in number."""

    pixels: Tensor
    objects: list[Objects]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on a device."""
        return Batch(
            self.pixels.to(device, non_blocking=non_blocking),
            [one.to(device, non_blocking) for one in self.objects],
        )


class InteractiveData(TrainingData):
    """Human and machine-made masks in a set proportion.

    Args:
        sources: the datasets.
        settings: augmentation, masks and prompts.
        frame: the model's input.

    Raises:
        ConfigError: there is no source.
    """

    def __init__(self, sources: Sequence[Source], settings: InteractiveSettings, frame: Frame) -> None:
        if not sources:
            raise ConfigError(
                "no training data were given: use --unlabeled DIR (of `maskwright label masks`) and "
                "--labeled KIND:FOLDER, see `maskwright data list`."
            )
        self.settings, self.frame = settings, frame
        self.sources = sorted(sources, key=lambda source: source.machine)
        self.mixture = Mixture([(source.dataset, 1.0) for source in self.sources])
        self.groups = [
            _Group.of(self.sources, self.mixture.offsets, machine)
            for machine in (False, True)
            if any(source.machine is machine for source in self.sources)
        ]

    def __len__(self) -> int:
        return len(self.mixture)

    def source(self, index: int) -> str:
        """The photo's file."""
        return str(self.mixture.image_path(index))

    def order(self, epoch: int, seed: int) -> npt.NDArray[np.int64]:
        """Human and machine-made labels alternate as evenly as their proportion allows.

        So every step holds about the set proportion. Within each kind, photos come in random order.
        """
        rng, count = np.random.default_rng((seed, epoch)), len(self)
        if len(self.groups) == 1:
            return self.groups[0].draw(count, rng)
        machine = min(max(1, round(self.settings.unlabeled_share * count)), count - 1)
        parts = [group.draw(n, rng) for group, n in zip(self.groups, (count - machine, machine), strict=True)]
        places = np.concatenate([(np.arange(len(part)) + rng.random()) / len(part) for part in parts])
        return np.concatenate(parts)[np.argsort(places, kind="stable")]

    def check(self) -> None:
        """Look at photos' headers and read the first samples of each source, so that wrong data show at once.

        Raises:
            FileError: a photo cannot be opened.
            DatasetError: none of the first samples of a source has a usable mask.
        """
        for source in self.sources:
            check_source(source, 0.0 if source.machine else self.settings.min_area)

    def __getitem__(self, key: ItemKey) -> Item:
        rng, settings, source = key.rng(), self.settings, self.sources[self.mixture.part(key.index)]
        least = 0.0 if source.machine else settings.min_area
        item = view_photo(self.mixture[key.index], source, least, self.frame, settings, settings, rng)
        objects, first = item.objects, settings.first
        if first == "either":
            first = "box" if rng.random() < 0.5 else "click"
        boxes = self._moved(objects.boxes.numpy(), objects.size, rng)
        return replace(item, objects=replace(objects, first=first, boxes=torch.from_numpy(boxes)))

    def collate(self, items: Sequence[Item]) -> Batch:
        """Stack the pixels."""
        return Batch(torch.stack([item.pixels for item in items]), [item.objects for item in items])

    def _moved(self, boxes: FloatArray, size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
        deviation, limit = self.settings.box_noise, JITTER_PIXELS * self.frame.side / SAM_SIDE
        if not deviation or not len(boxes):
            return boxes
        return np.stack([jitter_box(box, size, rng, deviation=deviation, limit=limit) for box in boxes])


@dataclass(frozen=True, eq=False)
class _Group:
    """The sources of one kind, human or machine: a mixture of their own, and where it lies in the whole."""

    mixture: Mixture
    offset: int

    @classmethod
    def of(cls, sources: Sequence[Source], offsets: Sequence[int], machine: bool) -> _Group:
        chosen = [place for place, source in enumerate(sources) if source.machine is machine]
        parts = [(sources[place].dataset, sources[place].weight) for place in chosen]
        return cls(Mixture(parts), offsets[chosen[0]])

    def draw(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        return self.offset + self.mixture.draw(count, rng)


def check_source(source: Source, min_area: float) -> None:
    """Look at the photos' headers and read the first samples.

    Raises:
        FileError: a photo cannot be opened.
        DatasetError: none of the first samples has a usable mask.
    """
    dataset = source.dataset
    step = max(1, len(dataset) // CHECKED)
    for index in {dataset.image_path(index): index for index in range(0, len(dataset), step)}.values():
        dataset.probe(index)
    looked = [dataset[index] for index in range(min(8, len(dataset)))]
    if not any(usable_masks(sample, min_area) for sample in looked):
        raise DatasetError(
            f"{source.name}: none of the first {len(looked)} photos has a mask to learn from "
            f"({'min_ratio, max_ratio' if source.machine else 'min_area'}). Inspect them with "
            "`maskwright data check`."
        )


def view_photo(
    sample: Sample,
    source: Source,
    min_area: float,
    frame: Frame,
    how: Augmentation,
    labels: MachineLabelSettings,
    rng: np.random.Generator,
) -> Item:
    """Bring a photo and some of its masks into a model's frame, with their tight boxes.

    Args:
        sample: of `source`.
        source: what its masks are.
        min_area: smallest mask, as a part of the photo.
        frame: the model's input.
        how: augmentation.
        labels: how many masks, and whether their certainty is of use.
        rng: of the item.
    """
    usable = usable_masks(sample, min_area)
    matrix, masks, chosen = view_masks(sample, usable, frame, how, labels.max_masks, rng)
    # What humans did not label is left out in any case.
    weighted = labels.use_uncertainty_loss or labels.use_uncertainty_clicks or not source.machine
    certainty = _view_certainty(sample, chosen, matrix, frame.side) if weighted else None
    boxes = [tight_box(mask) for mask in masks]
    objects = Objects(
        torch.from_numpy(masks),
        None if certainty is None else torch.from_numpy(certainty),
        torch.from_numpy(np.stack(boxes) if boxes else np.zeros((0, 4), np.float32)),
        _visible_size(sample, matrix, frame.side),
        "box",
        source.machine,
        source.task,
        int(rng.integers(2**62)),
    )
    return Item(photo_pixels(sample.image, matrix, frame, how, rng), objects)


def _view_certainty(sample: Sample, chosen: Sequence[int], matrix: Matrix, side: int) -> ByteArray | None:
    """Certainty 1 - u of some masks in the frame as bytes (N, S, S), read one map at a time."""
    if sample.uncertainty is None:
        return None
    certainty = np.zeros((len(chosen), side, side), np.uint8)
    for place, k in enumerate(chosen):
        doubt = warp_maps(sample.uncertainty, [k], matrix, (side, side))[0]
        certainty[place] = np.rint(255 * (1 - doubt))
    return certainty


def _visible_size(sample: Sample, matrix: Matrix, side: int) -> tuple[int, int]:
    """Height and width of the photo's part of the frame; it begins at the frame's upper left corner."""
    height, width = sample.image.size
    _, _, right, bottom = warp_boxes(np.array([0, 0, width, height]), matrix).tolist()
    return min(side, max(1, round(bottom))), min(side, max(1, round(right)))
