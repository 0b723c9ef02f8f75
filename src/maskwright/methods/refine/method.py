"""Training a mask refiner (SUM, NeurIPS 2024, section 3.2.3) for any model family."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from maskwright.errors import ConfigError
from maskwright.methods.base import Losses, Method, ParameterGroup, StepContext
from maskwright.methods.finetune.cache import encoded, open_cache
from maskwright.methods.finetune.items import Batch, FinetuneData, Frame
from maskwright.methods.finetune.method import starting_model
from maskwright.methods.finetune.parts import learning_groups
from maskwright.methods.held_out import open_data
from maskwright.methods.refine.config import RefinerSettings
from maskwright.methods.refine.items import make_pairs
from maskwright.methods.refine.loss import refiner_losses
from maskwright.methods.refine.refiner import FILE, MaskRefiner, decoder_of, save_refiner
from maskwright.methods.refine.validation import Validation
from maskwright.models.base import Features, MaskModel
from maskwright.models.segmenter import Segmenter


class BaseAndRefiner(nn.Module):
    """The frozen base model, and the prompt encoder and decoder that learn to refine its masks."""

    def __init__(self, base: MaskModel) -> None:
        super().__init__()
        self.base = base.eval()
        self.refiner = decoder_of(base)


class RefinerTraining(Method):
    """Learn to turn a model's own masks into human ones.

    Args:
        settings: which model, from which data.
        cache_folder: where embeddings are kept with cache = "disk".

    Raises:
        ConfigError: no data are given.
        MaskwrightError: the model or the data cannot be opened.
    """

    name = "refiner"
    headline = "refined_boundary_iou"
    settings: RefinerSettings
    model: BaseAndRefiner

    def __init__(self, settings: RefinerSettings, cache_folder: Path | None = None) -> None:
        self.settings = settings
        if not settings.data:
            raise ConfigError(
                "no training data were given: use --data KIND:FOLDER, see `maskwright data list`."
            )
        photos = settings.photos()
        self.training, held_out = open_data(photos.data, photos.val, photos.val_share, photos.seed)
        self.model = BaseAndRefiner(starting_model(photos))
        self.cache = open_cache(settings.cache, self.model.base, cache_folder)
        self.segmenter = Segmenter(self.model.base, settings.model)
        self.validation = None
        if held_out is not None:
            self.validation = Validation(held_out, self.segmenter, settings, self._validation_features)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Prompt encoder and decoder of the refiner, HQ layers included."""
        groups = learning_groups(self.model.refiner, "decoder", 1.0)
        return [
            replace(group, parameters={f"refiner.{name}": p for name, p in group.parameters.items()})
            for group in groups
        ]

    def training_data(self) -> FinetuneData:
        """Photos, each object with one click."""
        return FinetuneData(self.training, self.settings.photos(), Frame.of(self.model.base))

    def training_step(self, batch: Batch, context: StepContext) -> Losses:
        """Ask the base with the clicks, refine what it answers, compare with the human masks."""
        base, refiner = self.model.base, self.model.refiner
        with torch.no_grad():
            # With jitter no photo comes twice.
            cache = None if self.settings.augment == "jitter" else self.cache
            features = encoded(base, batch.pixels, cache)
        pairs = make_pairs(base, features, batch, self.settings)
        own = refiner.fuse(features)
        decoded = refiner.decode(own.map(lambda part: part[pairs.photos_A]), pairs.prompts)
        return refiner_losses(decoded, pairs, self.settings)

    def train_mode(self) -> None:
        """The base stays as it is used."""
        self.model.train()
        self.model.base.eval()

    def evaluate(self) -> dict[str, float]:
        """Masks of held-out photos before and after refinement, and the calibration of the uncertainty."""
        if self.validation is None:
            return {}
        return self.validation.measure(MaskRefiner(self.model.refiner, self.segmenter))

    def export(self, folder: Path, metrics: dict[str, float]) -> Path:
        """Write the refiner's file: prompt encoder and decoder alone."""
        return save_refiner(self.model.refiner, self.model.base, folder / FILE)

    def next_steps(self, model: Path) -> tuple[str, ...]:
        """What to do with the refiner."""
        name = self.settings.model
        return (
            f"maskwright segment PHOTO --model {name} --refine {model} --box X0,Y0,X1,Y1 --out DIR",
            f"maskwright label refine DIR --model {name} --refiner {model}",
        )

    @torch.no_grad()
    def _validation_features(self, pixels: Tensor) -> Features:
        """Embeddings that are needed again: photos that come unchanged are encoded once."""
        return encoded(self.model.base, pixels, self.cache)
