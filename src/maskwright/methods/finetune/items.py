"""From annotated photos to training items: augmentation, objects, prompts. No model is needed here.

Axes: K objects of a photo, N objects asked for, P points, S input side, h w low resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from maskwright.data.augment import color_jitter
from maskwright.data.dataset import Dataset
from maskwright.data.prompts import center_point, degrade_mask, jitter_box, random_points, tight_box
from maskwright.data.transforms import (
    Matrix,
    compose,
    flip_matrix,
    identity_matrix,
    large_scale_jitter_matrix,
    resize_matrix,
    warp_image,
    warp_maps,
    warp_masks,
)
from maskwright.errors import DatasetError
from maskwright.methods.base import ItemKey, TrainingData
from maskwright.methods.finetune.config import FinetuneSettings, PromptName
from maskwright.models.base import MaskModel, PromptBatch
from maskwright.models.prompts import MASK_LOGIT
from maskwright.types import BoolArray, ByteArray, FloatArray, Geometry, Image, Resize, Sample

# An object of which less is left in a crop is not asked for: nobody could tell it from noise.
VISIBLE_PIXELS = 24
# Crops tried before the whole photo is taken.
TRIES = 4


@dataclass(frozen=True)
class Frame:
    """What an item must know of a model, small enough to be sent to worker processes."""

    side: int
    low_res: int
    resize: Resize
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, model: MaskModel) -> Frame:
        """A model's frame."""
        return cls(model.image_size, model.low_res, model.resize, model.pixel_mean, model.pixel_std)


@dataclass(frozen=True, eq=False)
class Item:
    """One photo with N objects, in the model's input frame.

    Args:
        pixels: (3, S, S) float32, normalised.
        masks: (N, S, S) bool; weights: (N, S, S) float32 trust, or None.
        valid: False when the photo has no usable object; the masks are then empty.
        kind: the prompt's name; the prompts themselves have no image axis yet.
        seed: of the points of the loss in this item, whichever process draws them.
    """

    pixels: Tensor
    masks: Tensor
    weights: Tensor | None
    valid: bool
    kind: PromptName
    prompts: PromptBatch
    seed: int


@dataclass(frozen=True, eq=False)
class Batch:
    """B items. `groups` are the photos that share a kind of prompt: their indices and prompts (b, N, …).

    `seeds` has one a photo, of the points of its loss.
    """

    pixels: Tensor
    masks: Tensor
    weights: Tensor | None
    valid: Tensor
    groups: list[tuple[Tensor, PromptBatch]]
    seeds: Sequence[int]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on a device."""

        def move(part: Tensor | None) -> Any:  # noqa: ANN401
            return None if part is None else part.to(device, non_blocking=non_blocking)

        groups = [(move(index), prompts.map(move)) for index, prompts in self.groups]
        pixels, masks, weights, valid = map(move, (self.pixels, self.masks, self.weights, self.valid))
        return Batch(pixels, masks, weights, valid, groups, self.seeds)


class FinetuneData(TrainingData):
    """Training items of a dataset.

    Args:
        dataset: annotated photos.
        settings: augmentation, objects and prompts.
        frame: the model's input.
    """

    def __init__(self, dataset: Dataset, settings: FinetuneSettings, frame: Frame) -> None:
        self.dataset, self.settings, self.frame = dataset, settings, frame

    def __len__(self) -> int:
        return len(self.dataset)

    def source(self, index: int) -> str:
        """The photo's file."""
        return str(self.dataset.image_path(index))

    def check(self) -> None:
        """Look at every photo's header and read the first samples, so that wrong data show at once.

        Raises:
            FileError: a photo cannot be opened.
            DatasetError: none of the first samples has an object of the required size.
        """
        # Items that share a photo are looked at once.
        for index in {self.dataset.image_path(index): index for index in range(len(self.dataset))}.values():
            self.dataset.probe(index)
        looked = [self.dataset[index] for index in range(min(8, len(self.dataset)))]
        if not any(usable_masks(sample, self.settings.min_area) for sample in looked):
            raise DatasetError(
                f"{looked[0].source}: none of the first {len(looked)} photos has an object that covers "
                f"{self.settings.min_area:.2%} of it (min_area). Inspect them with `maskwright data check`."
            )

    def __getitem__(self, key: ItemKey) -> Item:
        sample, rng = self.dataset[key.index], key.rng()
        usable, count = usable_masks(sample, self.settings.min_area), self.settings.masks_per_image
        matrix, masks, chosen = view_masks(sample, usable, self.frame, self.settings, count, rng)
        kind = self.settings.prompts[int(rng.integers(len(self.settings.prompts)))]
        pixels = photo_pixels(sample.image, matrix, self.frame, self.settings, rng)
        side = self.frame.side
        if not len(chosen):
            empty = torch.zeros(count, side, side, dtype=torch.bool)
            # A full prompt keeps the batch regular; the photo counts nothing.
            full = np.ones((count, side, side), bool)
            return Item(pixels, empty, None, False, kind, self.draw_prompts(kind, full, rng), _seed(rng))
        rows = np.resize(np.arange(len(chosen)), count)
        weights = self._weights(sample, chosen, matrix)
        return Item(
            pixels,
            torch.from_numpy(masks[rows]),
            None if weights is None else torch.from_numpy(weights[rows]),
            True,
            kind,
            self.draw_prompts(kind, masks[rows], rng),
            _seed(rng),
        )

    def collate(self, items: Sequence[Item]) -> Batch:
        """Stack items; those with one kind of prompt form a group."""
        kinds = dict.fromkeys(item.kind for item in items)
        groups = []
        for kind in kinds:
            index = [place for place, item in enumerate(items) if item.kind == kind]
            parts = [vars(items[place].prompts) for place in index]
            stacked: dict[str, Any] = {
                name: None if parts[0][name] is None else torch.stack([part[name] for part in parts])
                for name in parts[0]
            }
            groups.append((torch.tensor(index), PromptBatch(**stacked)))
        weights = None
        if any(item.weights is not None for item in items):
            weights = torch.stack(
                [torch.ones(item.masks.shape) if item.weights is None else item.weights for item in items]
            )
        return Batch(
            torch.stack([item.pixels for item in items]),
            torch.stack([item.masks for item in items]),
            weights,
            torch.tensor([item.valid for item in items]),
            groups,
            [item.seed for item in items],
        )

    def _weights(self, sample: Sample, chosen: list[int], matrix: Matrix) -> FloatArray | None:
        if sample.uncertainty is None:
            return None
        side = self.frame.side
        return 1 - warp_maps(sample.uncertainty, chosen, matrix, (side, side))

    def draw_prompts(self, kind: PromptName, masks: BoolArray, rng: np.random.Generator) -> PromptBatch:
        """The prompts of N objects, each drawn from its mask in the frame."""
        size = (self.frame.side, self.frame.side)
        if kind in ("box", "jittered_box"):
            boxes = [tight_box(mask) for mask in masks]
            if kind == "jittered_box":
                boxes = [jitter_box(box, size, rng) for box in boxes]
            return PromptBatch(boxes=torch.from_numpy(np.stack(boxes)))
        if kind == "mask":
            low_res = self.frame.low_res
            return PromptBatch(
                masks=torch.from_numpy(np.stack([mask_prompt(mask, low_res, rng) for mask in masks]))
            )
        if kind == "click":
            # The centre is where people click first; anywhere on the object teaches the rest.
            points = [
                center_point(mask)[None] if rng.random() < 0.5 else random_points(mask, rng) for mask in masks
            ]
        else:
            points = [random_points(mask, rng, self.settings.points) for mask in masks]
        stacked = torch.from_numpy(np.stack(points))
        return PromptBatch(stacked, torch.ones(stacked.shape[:2], dtype=torch.long))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**62))


def mask_prompt(mask: BoolArray, low_res: int, rng: np.random.Generator) -> FloatArray:
    """A degraded mask as logits of the size that a user's mask becomes (published: 0 and 255)."""
    small = cv2.resize(mask.astype(np.float32), (low_res, low_res), interpolation=cv2.INTER_AREA)
    return np.where(degrade_mask(small, rng), MASK_LOGIT, -MASK_LOGIT).astype(np.float32)


class Augmentation(Protocol):
    """The settings that say how a photo is augmented."""

    @property
    def augment(self) -> Literal["jitter", "flip", "none"]:
        """Large-scale jitter and mirroring, mirroring alone, or neither."""

    @property
    def scale(self) -> tuple[float, float]:
        """Jitter: range of the photo's size against the model's input."""

    @property
    def color(self) -> bool:
        """Jitter: also change the colours."""


def photo_matrices(
    size: tuple[int, int], frame: Frame, how: Augmentation, rng: np.random.Generator
) -> list[Matrix]:
    """Ways to bring a photo into a model's frame, to be tried in turn until an object is visible."""
    fit = Geometry(size, frame.side, frame.resize).input_size
    mirror = how.augment != "none" and rng.random() < 0.5
    whole = compose(flip_matrix(size) if mirror else identity_matrix(), resize_matrix(size, fit))
    if how.augment != "jitter":
        return [whole]
    crops = [large_scale_jitter_matrix(size, frame.side, rng, scale=how.scale) for _ in range(TRIES)]
    return [*crops, whole]


def photo_pixels(
    image: Image, matrix: Matrix, frame: Frame, how: Augmentation, rng: np.random.Generator
) -> Tensor:
    """A photo in a model's frame (3, S, S), normalised; what lies outside it is zero, as at inference."""
    side = (frame.side, frame.side)
    pixels: ByteArray = warp_image(image.pixels, matrix, side)
    if how.augment == "jitter" and how.color:
        pixels = color_jitter(pixels, rng)
    inside = cv2.warpAffine(
        np.ones(image.size, np.uint8), matrix, side, flags=cv2.INTER_NEAREST, borderValue=0
    )
    # A byte has 256 values: each colour is looked up, straight into its plane.
    levels = np.arange(256, dtype=np.float32)
    normal = np.empty((3, *side), np.float32)
    for colour, (mean, std) in enumerate(zip(frame.mean, frame.std, strict=True)):
        table = (levels - np.float32(mean)) / np.float32(std)
        np.multiply(cv2.LUT(cv2.extractChannel(pixels, colour), table), inside, out=normal[colour])
    return torch.from_numpy(normal)


def usable_masks(sample: Sample, min_area: float) -> list[int]:
    """The masks that cover at least `min_area` of the photo and are not empty."""
    height, width = sample.image.size
    least = max(1.0, min_area * height * width)
    return [k for k, mask in enumerate(sample.masks) if np.count_nonzero(mask) >= least]


def view_masks(
    sample: Sample,
    usable: Sequence[int],
    frame: Frame,
    how: Augmentation,
    most: int,
    rng: np.random.Generator,
) -> tuple[Matrix, BoolArray, list[int]]:
    """Bring a photo into the frame so that at least one of its masks is visible, where it has any.

    Args:
        sample: the photo and its masks.
        usable: those in question; they are drawn at random, and warped one by one to spare the rest.
        frame: the model's input.
        how: augmentation.
        most: at most this many masks.
        rng: of the item.

    Returns:
        How the photo is seen, the masks in the frame (N, S, S), and which ones they are.
    """
    side = frame.side
    for matrix in photo_matrices(sample.image.size, frame, how, rng):
        chosen, masks = [], []
        for k in rng.permutation(np.asarray(usable, np.int64)).tolist():
            mask = warp_masks(sample.masks[k : k + 1], matrix, (side, side))[0]
            if np.count_nonzero(mask) >= VISIBLE_PIXELS:
                chosen.append(k)
                masks.append(mask)
            if len(chosen) == most:
                break
        if chosen:
            return matrix, np.stack(masks), chosen
    return matrix, np.zeros((0, side, side), bool), []
