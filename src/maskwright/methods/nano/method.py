"""Nano's training as a `Method`; see README.md beside this file for the recipe and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from maskwright.data.dataset import Dataset
from maskwright.data.registry import open_dataset
from maskwright.errors import DatasetError, WeightsError
from maskwright.methods.base import ItemKey, Losses, Method, ParameterGroup, StepContext, TrainingData
from maskwright.methods.evaluate import evaluate_prompted
from maskwright.methods.nano.augment import Item, make_item
from maskwright.methods.nano.config import NanoSettings
from maskwright.methods.nano.pool import Photo, pack
from maskwright.methods.nano.steps import Batch, edge_loss, normalise, prompts_for, step_losses
from maskwright.methods.prediction import ModelPredictor
from maskwright.methods.scores import PromptKind, Selection
from maskwright.models.nano import SIZES, Nano
from maskwright.models.registry import load, save
from maskwright.models.segmenter import Segmenter

TRIES = 20


class Photos(TrainingData):
    """The mixture, held in memory; an epoch draws photos by the sources' weights, with repetition."""

    def __init__(self, settings: NanoSettings) -> None:
        self.settings = settings
        self.sources = [
            pack(dataset_below(settings.root, source.data), settings.longest_side)
            for source in settings.sources
        ]
        self.photos = [photo for source in self.sources for photo in source]
        self.chances = _chances(
            [len(source) for source in self.sources], [s.weight for s in settings.sources]
        )
        self.donors = _chances([len(source) for source in self.sources], [s.donor for s in settings.sources])

    def __len__(self) -> int:
        return self.settings.photos_per_epoch

    def order(self, epoch: int, seed: int) -> npt.NDArray[np.int64]:
        """Which item is which photo is decided by the item's own random numbers."""
        return np.arange(len(self))

    def __getitem__(self, key: ItemKey) -> Item:
        rng = key.rng()
        for _ in range(TRIES):
            photo = self._draw(self.chances, rng)
            donor = self._draw(self.donors, rng)
            item = make_item(photo, donor, rng, self.settings.side_at(key.epoch), self.settings.segments)
            if item is not None:
                return item
        raise DatasetError(
            f"{photo.source}: no segment of a usable size in {TRIES} random crops; are its masks empty?"
        )

    def collate(self, items: Sequence[Item]) -> Batch:
        """Stack items."""
        stacked = {
            field.name: torch.from_numpy(np.stack([getattr(item, field.name) for item in items]))
            for field in fields(Item)
        }
        return Batch(**stacked)

    def _draw(self, chances: npt.NDArray[np.float64], rng: np.random.Generator) -> Photo:
        return self.photos[int(rng.choice(len(self.photos), p=chances))]


class NanoWithEdges(nn.Module):
    """Nano and the auxiliary outline head, which is thrown away after training."""

    def __init__(self, nano: Nano) -> None:
        super().__init__()
        self.nano = nano
        self.edge = nn.Conv2d(nano.config.detail, 1, 1)


class NanoTraining(Method):
    """Boxes, clicks, corrections and mask prompts on a mixture of photos with human masks."""

    name = "nano"
    headline = "box_iou"
    settings: NanoSettings
    model: NanoWithEdges

    def __init__(self, settings: NanoSettings) -> None:
        self.settings = settings
        self.model = NanoWithEdges(self._start())

    def _start(self) -> Nano:
        if self.settings.init is None:
            return Nano(replace(SIZES[self.settings.size], image_size=self.settings.image_size))
        nano = load(self.settings.init, device="cpu").model
        if not isinstance(nano, Nano):
            raise WeightsError(f"{self.settings.init}: nano goes on from a nano, not from {nano.family}.")
        nano.with_image_size(self.settings.image_size)
        return nano

    def parameter_groups(self) -> list[ParameterGroup]:
        """All of it; weight decay on matrices and kernels, not on norms, biases and token embeddings."""
        named = dict(self.model.named_parameters())
        spared = {
            name: p
            for name, p in named.items()
            if p.ndim < 2 or name.endswith(("prompts.kinds", "decoder.tokens"))
        }
        decayed = {name: p for name, p in named.items() if name not in spared}
        return [ParameterGroup("weights", decayed), ParameterGroup("spared", spared, weight_decay=0.0)]

    def training_data(self) -> Photos:
        """Read the mixture into memory."""
        return Photos(self.settings)

    def training_step(self, batch: Batch, context: StepContext) -> Losses:
        """Encode photos once, decode all their prompts, add the outline loss."""
        nano = self.model.nano
        nano.with_image_size(batch.pixels.shape[1])
        targets, trusted = batch.targets.float() / 255, batch.trusted.float()
        features = nano.encode(normalise(batch.pixels, nano))
        prompts = prompts_for(nano, features, batch, targets, context.generator, self.settings.second_round)
        losses = step_losses(nano.decode_once(features, prompts), targets, trusted)
        losses["edge"] = edge_loss(self.model.edge(features.high_res[0])[:, 0].float(), batch.edges)
        losses["loss"] = losses["loss"] + self.settings.edge_weight * losses["edge"]
        return losses

    def evaluate(self) -> dict[str, float]:
        """IoU and boundary IoU with boxes and with one click, means over the validation sets."""
        if not self.settings.validation:
            return {}
        self.model.nano.with_image_size(self.settings.image_size)
        predictor = ModelPredictor(Segmenter(self.model.nano, name="nano"), name="nano")
        metrics: dict[str, list[float]] = {}
        for spec in self.settings.validation:
            dataset = dataset_below(self.settings.root, spec)
            kinds: tuple[PromptKind, ...] = ("box", "point")
            for kind in kinds:
                result = evaluate_prompted(predictor, dataset, prompt=kind, selection=Selection(limit=60))
                metrics.setdefault(f"{kind}_iou", []).append(result.miou)
                metrics.setdefault(f"{kind}_boundary_iou", []).append(result.boundary_iou)
        return {name: float(np.mean(values)) for name, values in metrics.items()}

    def export(self, folder: Path, metrics: dict[str, float]) -> Path:
        """Write nano alone, as float16: half the size, and the same masks to within rounding."""
        self.model.nano.with_image_size(self.settings.image_size)
        return save(self.model.nano, folder / "nano.safetensors", dtype=torch.float16)


def dataset_below(root: Path, spec: str) -> Dataset:
    """Open `kind:FOLDER?…` with the folder below `root`."""
    kind, _, rest = spec.partition(":")
    return open_dataset(f"{kind}:{root / rest}")


def _chances(lengths: Sequence[int], weights: Sequence[float]) -> npt.NDArray[np.float64]:
    """The chance of each photo when sources are drawn by weight and photos evenly within a source."""
    each = [weight / length for length, weight in zip(lengths, weights, strict=True)]
    chances = np.repeat(np.array(each, np.float64), lengths)
    return chances / float(chances.sum())
