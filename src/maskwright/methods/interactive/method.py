"""SUM's training of a promptable model, as a `Method`; see README.md beside this file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from maskwright.methods.base import Losses, Method, ParameterGroup, StepContext
from maskwright.methods.finetune.cache import EmbeddingCache, encoded, open_cache
from maskwright.methods.finetune.items import Frame
from maskwright.methods.finetune.parts import learning_groups
from maskwright.methods.interactive.config import InteractiveSettings
from maskwright.methods.interactive.gradients import Gradients
from maskwright.methods.interactive.items import Batch, InteractiveData
from maskwright.methods.interactive.layers import layered_groups
from maskwright.methods.interactive.rounds import interact
from maskwright.methods.interactive.sources import (
    give_task_prompts,
    open_machine,
    open_with_held_out,
    unweighed,
)
from maskwright.methods.interactive.validation import validate
from maskwright.models.base import Features, MaskModel
from maskwright.models.registry import load, save


class SUM(Method):
    """Fine-tune a promptable model on rounds of prompts, with human and machine-made labels.

    Args:
        settings: what learns, from what.
        cache_folder: where embeddings are kept with cache = "disk".

    Raises:
        ConfigError: no data are given.
        MaskwrightError: the model or the data cannot be opened.
    """

    name = "sum"
    headline = "miou"

    def __init__(self, settings: InteractiveSettings, cache_folder: Path | None = None) -> None:
        self.settings: InteractiveSettings = settings
        human, self.validation = open_with_held_out(
            settings.labeled, settings.val, settings.val_share, settings.seed, settings.root
        )
        self.sources = [*human, *open_machine(settings, settings.root)]
        self.model: MaskModel = load(
            settings.model, base=settings.base, num_heads=settings.num_heads, device="cpu", dtype="float32"
        ).model
        give_task_prompts(self.model, settings)
        self.cache: EmbeddingCache | None = None
        if settings.embeddings_stay:
            self.cache = open_cache(settings.cache, self.model, cache_folder)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Everything, each block of the encoder at its own rate; or prompt encoder and decoder."""
        if self.settings.train == "all":
            return layered_groups(self.model, self.settings.layer_decay)
        return learning_groups(self.model, "decoder", 1.0)

    def training_data(self) -> InteractiveData:
        """Photos with masks and first prompts."""
        return InteractiveData(self.sources, self.settings, Frame.of(self.model))

    def warnings(self) -> list[str]:
        """Machine-made labels without uncertainty."""
        return unweighed(self.sources, self.settings)

    def training_step(self, batch: Batch, context: StepContext) -> Losses:
        """Encode the photos once, then ask for each one's masks in rounds.

        Means over the masks of a photo, the rounds and the photos; one without a mask counts as a photo of
        loss 0, so that the mean does not depend on how photos are dealt to processes.
        """
        features = self._features(batch.pixels)
        gradients = Gradients(self._behind_features(), features)
        count = len(batch.objects) * self.settings.rounds
        sums: Losses = {
            name: torch.zeros((), device=batch.pixels.device)
            for name in ("loss", "focal", "dice", "iou_head")
        }
        for row, objects in enumerate(batch.objects):
            if not len(objects.masks):
                continue
            for losses in interact(self.model, gradients.photo(row), objects, self.settings):
                gradients.add(losses["loss"] / count)
                for name, value in losses.items():
                    sums[name] = sums[name] + value.detach() / count
        return {**sums, "loss": gradients.loss(sums["loss"])}

    def evaluate(self) -> dict[str, float]:
        """Figures of the held-out objects; see `validation.validate`."""
        return validate(self.model, self.validation, self.settings)

    def export(self, folder: Path, metrics: dict[str, float]) -> Path:
        """Write the model, with its task prompts, as our own checkpoint."""
        return save(self.model, folder)

    def _features(self, pixels_B3SS: Tensor) -> Features:
        features = encoded(self.model, pixels_B3SS, self.cache)
        # Once a photo, not once a round.
        return self.model.fuse(features)

    def _behind_features(self) -> list[Tensor]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]
