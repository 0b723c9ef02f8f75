"""SUM on the HQ-SAM architecture: HQ-SAM's steps on human masks, and between them steps on machine-made ones.

The counterpart of the released training script (README, section "The HQ architecture"): an optimiser step on
human masks is one of `methods/finetune`; the next one asks for up to 40 machine-made masks of a photo, once
and without corrections.
"""

from __future__ import annotations

from pathlib import Path

import torch

from maskwright.data.dataset import Dataset
from maskwright.data.mixture import Mixture
from maskwright.errors import ConfigError
from maskwright.methods.base import Losses, ParameterGroup, StepContext
from maskwright.methods.finetune.cache import encoded, open_cache
from maskwright.methods.finetune.items import Batch as HumanBatch
from maskwright.methods.finetune.items import Frame
from maskwright.methods.finetune.loss import refined_logits
from maskwright.methods.finetune.method import Finetune
from maskwright.methods.interactive.alternating_items import AlternatingData, MachineBatch
from maskwright.methods.interactive.config import AlternatingSettings
from maskwright.methods.interactive.gradients import Gradients
from maskwright.methods.interactive.rounds import Labels, label_losses
from maskwright.methods.interactive.sources import (
    give_task_prompts,
    open_machine,
    open_with_held_out,
    unweighed,
)
from maskwright.methods.interactive.validation import validate
from maskwright.models.base import MaskModel


class AlternatingSUM(Finetune):
    """SUM on the HQ-SAM architecture.

    Args:
        settings: what learns, from what.
        cache_folder: where embeddings are kept with cache = "disk".

    Raises:
        ConfigError: human or machine-made labels are missing.
        MaskwrightError: the model or the data cannot be opened.
    """

    name = "sum-hq"
    settings: AlternatingSettings

    def __init__(self, settings: AlternatingSettings, cache_folder: Path | None = None) -> None:
        if not settings.data or not settings.unlabeled:
            raise ConfigError(
                "this recipe learns from human and machine-made labels by turns: give --data KIND:FOLDER "
                "(see `maskwright data list`) and --unlabeled DIR (of `maskwright label masks`)."
            )
        super().__init__(settings, cache_folder)
        self.machine = open_machine(settings)
        # Photos with machine-made labels are always seen alike, whatever is done to the others.
        self.machine_cache = self.cache
        if self.cache is None and settings.cache == "auto" and settings.train != "all":
            self.machine_cache = open_cache("memory", self.model, None)

    def open_data(self) -> tuple[Dataset, Dataset | None]:
        """Human sets, each with its task."""
        settings = self.settings
        self.human, self.held = open_with_held_out(
            settings.data, settings.val, settings.val_share, settings.seed
        )
        return Mixture([(source.dataset, source.weight) for source in self.human]), None

    def start(self) -> MaskModel:
        """The model, with fresh HQ layers and task prompts where it needs them."""
        model = super().start()
        give_task_prompts(model, self.settings)
        return model

    def parameter_groups(self) -> list[ParameterGroup]:
        """What fine-tuning learns, and the task prompts."""
        groups = super().parameter_groups()
        found = {name for group in groups for name in group.parameters}
        prompts = {
            name: parameter
            for name, parameter in self.model.named_parameters()
            if name.startswith("task_prompts.") and name not in found
        }
        return [*groups, ParameterGroup("task prompts", prompts, weight_decay=0.0)] if prompts else groups

    def training_data(self) -> AlternatingData:  # type: ignore[override]
        """Both kinds of photos, by turns."""
        frame, tasks = Frame.of(self.model), self.model.task_prompts is not None
        return AlternatingData(self.human, self.machine, self.settings, frame, tasks=tasks)

    def warnings(self) -> list[str]:
        """Machine-made labels without uncertainty."""
        return unweighed(self.machine, self.settings)

    def training_step(self, batch: HumanBatch | MachineBatch, context: StepContext) -> Losses:
        """HQ-SAM's step on human masks, or one on machine-made ones."""
        if isinstance(batch, HumanBatch):
            losses = super().training_step(batch, context)
            return {**losses, "human": losses["loss"].detach()}
        features = encoded(self.model, batch.pixels, self.machine_cache)
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        gradients = Gradients(learning, features)
        sums = {name: torch.zeros((), device=batch.pixels.device) for name in ("focal", "dice")}
        for row, asked in enumerate(batch.asked):
            if asked.prompts is None:
                continue
            decoded = self.model.decode(gradients.photo(row), asked.prompts)
            refined = refined_logits(decoded)
            logits = decoded.masks if refined is None else refined
            labels = Labels.of(asked.objects, self.model.low_res, self.settings)
            terms = label_losses(labels.read(logits[0, :, 0]), labels, self.settings)
            means = [term.mean() / len(batch.asked) for term in terms]
            gradients.add(torch.stack(means).sum())
            for name, value in zip(sums, means, strict=True):
                sums[name] = sums[name] + value.detach()
        loss = gradients.loss(torch.stack([*sums.values()]).sum())
        return {"loss": loss, **sums, "machine": loss.detach()}

    def evaluate(self) -> dict[str, float]:
        """Figures of the held-out objects; see `validation.validate`."""
        return validate(self.model, self.held, self.settings)
