"""HQ-SAM training (Ke et al. 2023), and the same with the decoder or everything learning, for any family."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from maskwright.data.dataset import Dataset
from maskwright.errors import ConfigError
from maskwright.methods.base import Losses, Method, ParameterGroup, StepContext
from maskwright.methods.finetune.cache import EmbeddingCache, encoded, open_cache
from maskwright.methods.finetune.config import FinetuneSettings
from maskwright.methods.finetune.items import Batch, FinetuneData, Frame
from maskwright.methods.finetune.loss import Targets, decoder_losses
from maskwright.methods.finetune.parts import learning_groups
from maskwright.methods.finetune.validation import evaluate_held_out
from maskwright.methods.held_out import open_data
from maskwright.models.base import MaskModel
from maskwright.models.fresh import fresh_model
from maskwright.models.hq_layers import add_hq_layers
from maskwright.models.parts import HQ_OF, PARTS, part_names
from maskwright.models.registry import load, save
from maskwright.models.sam_hq import SAMHQ
from maskwright.types import HQMode


class Finetune(Method):
    """Fine-tune a promptable model on annotated photos.

    Args:
        settings: what learns, from what.
        cache_folder: where embeddings are kept with cache = "disk".

    Raises:
        ConfigError: no data are given, or the model has nothing of the kind that should learn.
        MaskwrightError: the model or the data cannot be opened.
    """

    name = "finetune"
    headline = "miou"

    def __init__(self, settings: FinetuneSettings, cache_folder: Path | None = None) -> None:
        self.settings: FinetuneSettings = settings
        if not settings.data:
            raise ConfigError(
                "no training data were given: use --data KIND:FOLDER, see `maskwright data list`."
            )
        self.training, self.validation = self.open_data()
        torch.manual_seed(settings.seed)  # fresh HQ layers
        self.model: MaskModel = self.start()
        if settings.hq_only and not PARTS[self.model.family].hq:
            raise ConfigError(
                f"a {self.model.family} has no HQ token to train: set add_hq for a SAM, or use a SAM-HQ."
            )
        self.cache: EmbeddingCache | None = None
        if settings.embeddings_stay:
            self.cache = open_cache(settings.cache, self.model, cache_folder)

    def open_data(self) -> tuple[Dataset, Dataset | None]:
        """Training and validation data."""
        settings = self.settings
        return open_data(settings.data, settings.val, settings.val_share, settings.seed)

    def start(self) -> MaskModel:
        """The model to start from."""
        return starting_model(self.settings)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The HQ layers, the decoder, or everything."""
        settings = self.settings
        return learning_groups(self.model, settings.train, settings.encoder_rate, settings.freeze)

    def training_data(self) -> FinetuneData:
        """Augmented photos with prompts."""
        return FinetuneData(self.training, self.settings, Frame.of(self.model))

    def training_step(self, batch: Batch, context: StepContext) -> Losses:
        """Encode the photos once, decode each group of equal prompts, mean loss over all objects.

        A photo without a usable object counts as one of loss 0, and each photo's points are drawn by its own
        seed, so that the mean does not depend on how photos are dealt to processes.
        """
        features = encoded(self.model, batch.pixels, self.cache)
        sums: dict[str, list[Tensor]] = {}
        for index, prompts in batch.groups:
            decoded = self.model.decode(features.map(lambda part, rows=index: part[rows]), prompts)
            losses = decoder_losses(
                decoded,
                _targets(batch, index),
                hq_only=self.settings.hq_only,
                points=self.settings.loss_points,
                generators=[
                    torch.Generator(batch.pixels.device).manual_seed(batch.seeds[row])
                    for row in index.tolist()
                ],
            )
            for name, value in losses.items():
                sums.setdefault(name, []).append(value)
        count = len(batch.masks) * batch.masks.shape[1]
        return {name: torch.stack(values).sum() / count for name, values in sums.items()}

    def evaluate(self) -> dict[str, float]:
        """Mean IoU and boundary IoU of the held-out objects, asked for with boxes, then with one click."""
        if self.validation is None:
            return {}
        # nano's HQ maps are corrections of its masks and no masks by themselves.
        hq: HQMode = "only" if self.settings.loss == "hq" and isinstance(self.model, SAMHQ) else "sum"
        box, click = (
            evaluate_held_out(self.model, self.validation, self.settings, prompt, hq=hq)
            for prompt in ("box", "point")
        )
        return {
            "miou": box.miou,
            "boundary_iou": box.boundary_iou,
            "click_miou": click.miou,
            "click_boundary_iou": click.boundary_iou,
        }

    def export(self, folder: Path, metrics: dict[str, float]) -> Path:
        """Write the model as our own checkpoint."""
        return save(self.model, folder)

    def save_epoch(self, folder: Path) -> None:
        """Write the model, and each of its parts for itself."""
        save(self.model, folder)
        for part in part_names(self.model.family):
            save(self.model, folder / f"{part}.safetensors", part=part)

    def train_mode(self) -> None:
        """Training mode, but for modules that are frozen as a whole: their statistics stay, too."""
        self.model.train()
        for module in self.model.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()


def starting_model(settings: FinetuneSettings) -> MaskModel:
    """The model to start from, on the CPU; a SAM or MobileSAM gets HQ layers where these are to learn."""
    name, base, heads = settings.model, settings.base, settings.num_heads
    if settings.from_scratch:
        model = fresh_model(name, base=base, num_heads=heads, image_size=settings.input_size)
    else:
        model = load(name, base=base, num_heads=heads, device="cpu", dtype="float32", heads=None).model
    if (settings.train == "hq" or settings.add_hq) and model.family in HQ_OF:
        return add_hq_layers(model)
    return model


def _targets(batch: Batch, index: Tensor) -> Targets:
    weights = None if batch.weights is None else batch.weights[index].flatten(0, 1)
    masks = batch.masks[index]
    valid = batch.valid[index].repeat_interleave(masks.shape[1])
    return Targets(masks.flatten(0, 1).float(), weights, valid)
