"""Training a boundary model (DirectSAM; EPOC, ICML 2025, appendix A), with losses for several annotators."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from statistics import median

import torch

from maskwright.data.dataset import Dataset
from maskwright.errors import ConfigError, FileError
from maskwright.io.images import read_header
from maskwright.losses.boundaries import boundary_loss
from maskwright.methods.base import Losses, Method, ParameterGroup, StepContext
from maskwright.methods.everything.config import BoundarySettings
from maskwright.methods.everything.items import Batch, BoundaryData
from maskwright.methods.everything.validation import Validation
from maskwright.methods.held_out import open_data
from maskwright.models.boundary import BoundaryModel, normalise
from maskwright.models.boundary_files import save_boundary, start_model

FILE = "boundary.safetensors"
# From how often their size on photos count as enlarged, and how many are looked at.
ENLARGED, LOOKED_AT = 2, 20


class BoundaryTraining(Method):
    """Learn the outlines of everything that was annotated.

    Args:
        settings: which model, from which data.

    Raises:
        ConfigError: no data are given.
        MaskwrightError: the model or the data cannot be opened.
    """

    name = "boundary"
    headline = "ods"
    settings: BoundarySettings
    model: BoundaryModel

    def __init__(self, settings: BoundarySettings) -> None:
        self.settings = settings
        if not settings.data:
            raise ConfigError(
                "no training data were given: use --data KIND:FOLDER, see `maskwright data list`."
            )
        self.training, held_out = open_data(settings.data, settings.val, settings.val_share, settings.seed)
        torch.manual_seed(settings.seed)  # a fresh classifier
        self.model = start_model(settings.model, from_scratch=settings.from_scratch)
        self.validation = None if held_out is None else Validation(held_out, settings)

    def warnings(self) -> list[str]:
        """Photos that are brought to several times their size."""
        asked, side = self.settings.resolution, usual_side(self.training)
        if asked is None or side is None or asked < ENLARGED * side:
            return []
        return [
            f"photos have about {side} px and are enlarged to {asked}, which takes longer and adds nothing: "
            "--resolution None takes them as they are."
        ]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Everything; weight decay on matrices and kernels, not on norms and biases."""
        groups = []
        for part, rate in (("encoder", self.settings.encoder_rate), ("head", 1.0)):
            named = {n: p for n, p in self.model.named_parameters() if _is_head(n) == (part == "head")}
            matrices = {name: p for name, p in named.items() if p.ndim > 1}
            vectors = {name: p for name, p in named.items() if p.ndim <= 1}
            groups.append(ParameterGroup(part, matrices, rate))
            groups.append(ParameterGroup(f"{part} vectors", vectors, rate, weight_decay=0.0))
        return [group for group in groups if group.parameters]

    def training_data(self) -> BoundaryData:
        """Augmented photos with their outlines."""
        return BoundaryData(self.training, self.settings, self.model.multiple, self.model.smallest)

    def training_step(self, batch: Batch, context: StepContext) -> Losses:
        """One forward pass, and the loss over all pixels that are not ignored."""
        settings = self.settings
        logits_B1hw = self.model(normalise(batch.pixels_BHW3)).float()
        loss_B = boundary_loss(
            logits_B1hw,
            batch.fraction_BHW,
            batch.ignore_BHW,
            settings.loss,
            eta=settings.eta,
            lambda_=settings.negatives,
            dice=settings.dice,
        )
        return {"loss": loss_B.mean()}

    def evaluate(self) -> dict[str, float]:
        """Best F of the boundaries of held-out photos."""
        return {} if self.validation is None else self.validation.measure(self.model)

    def export(self, folder: Path, metrics: dict[str, float]) -> Path:
        """Write the model with its resolution."""
        settings = self.settings
        figures = {f"validation_{name}": f"{value:.4f}" for name, value in metrics.items()}
        return save_boundary(
            self.model,
            folder / FILE,
            resolution=settings.resolution,
            keep_aspect=settings.keep_aspect,
            metadata=figures,
        )

    def next_steps(self, model: Path) -> tuple[str, ...]:
        """Commands that use the model."""
        return (
            f"maskwright everything PHOTO --method boundary --model {model} --out DIR",
            f"maskwright evaluate tokens --data KIND:FOLDER --model {model}",
        )


def usual_side(dataset: Dataset) -> int | None:
    """The median of the photos' longer sides, of some of them; None where no header of a file tells it."""
    sides = []
    for index in range(0, len(dataset), max(1, len(dataset) // LOOKED_AT)):
        with suppress(FileError):  # one in a video or an archive; a damaged one is named when it is read
            sides.append(max(read_header(dataset.image_path(index)).size))
    return round(median(sides)) if sides else None


def _is_head(name: str) -> bool:
    return "decode_head." in name or name.startswith("head.")
