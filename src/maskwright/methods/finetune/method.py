"""HQ-SAM training (Ke et al. 2023), and the same with the decoder or everything learning, for any family."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from maskwright.data.dataset import Dataset
from maskwright.data.mixture import Mixture, split_by_image
from maskwright.data.registry import open_dataset
from maskwright.errors import ConfigError, MaskwrightError
from maskwright.methods.base import Losses, Method, ParameterGroup, StepContext
from maskwright.methods.evaluate import evaluate_prompted
from maskwright.methods.finetune.cache import EmbeddingCache
from maskwright.methods.finetune.config import FinetuneSettings
from maskwright.methods.finetune.items import Batch, FinetuneData, Frame
from maskwright.methods.finetune.loss import Targets, decoder_losses
from maskwright.methods.finetune.parts import encode_frozen, encoder_signature, learning_groups
from maskwright.methods.prediction import ModelPredictor
from maskwright.methods.scores import PromptedResult, PromptKind, Selection
from maskwright.models.base import Features, MaskModel
from maskwright.models.hq_layers import add_hq_layers
from maskwright.models.registry import load, save
from maskwright.models.segmenter import Segmenter


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
        self.cache: EmbeddingCache | None = None
        if settings.cache != "off" and settings.embeddings_stay:
            assert settings.cache != "disk" or cache_folder is not None
            folder = cache_folder if settings.cache == "disk" else None
            self.cache = EmbeddingCache(encoder_signature(self.model), folder)

    def open_data(self) -> tuple[Dataset, Dataset | None]:
        """Training and validation data."""
        return open_data(self.settings)

    def start(self) -> MaskModel:
        """The model to start from."""
        return starting_model(self.settings)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The HQ layers, the decoder, or everything."""
        return learning_groups(self.model, self.settings.train, self.settings.encoder_rate)

    def training_data(self) -> FinetuneData:
        """Augmented photos with prompts."""
        return FinetuneData(self.training, self.settings, Frame.of(self.model))

    def training_step(self, batch: Batch, context: StepContext) -> Losses:
        """Encode the photos once, decode each group of equal prompts, mean loss over all objects."""
        features = self._features(batch.pixels)
        sums: dict[str, list[Tensor]] = {}
        for index, prompts in batch.groups:
            decoded = self.model.decode(features.map(lambda part, rows=index: part[rows]), prompts)
            losses = decoder_losses(
                decoded,
                _targets(batch, index),
                hq_only=self.settings.train == "hq",
                points=self.settings.loss_points,
                generator=context.generator,
            )
            for name, value in losses.items():
                sums.setdefault(name, []).append(value)
        objects = batch.valid.sum().clamp(min=1) * batch.masks.shape[1]
        return {name: torch.stack(values).sum() / objects for name, values in sums.items()}

    def evaluate(self) -> dict[str, float]:
        """Mean IoU and boundary IoU of the held-out objects, asked for with boxes, then with one click."""
        if self.validation is None:
            return {}
        box, click = self._measure("box"), self._measure("point")
        return {
            "miou": box.miou,
            "boundary_iou": box.boundary_iou,
            "click_miou": click.miou,
            "click_boundary_iou": click.boundary_iou,
        }

    def export(self, folder: Path, metrics: dict[str, float]) -> Path:
        """Write the model as our own checkpoint."""
        return save(self.model, folder)

    def _features(self, pixels: Tensor) -> Features:
        if self.cache is not None:
            return self.cache.features(pixels, lambda part: encode_frozen(self.model, part))
        return encode_frozen(self.model, pixels)

    def _measure(self, prompt: PromptKind) -> PromptedResult:
        assert self.validation is not None
        settings = self.settings

        def refuse(item: str, error: MaskwrightError) -> None:
            raise error

        return evaluate_prompted(
            ModelPredictor(Segmenter(self.model), settings.model),
            self.validation,
            prompt=prompt,
            selection=Selection(
                min_area=settings.min_area,
                max_area=1.0,
                per_image=settings.val_masks,
                limit=settings.val_images,
            ),
            on_failure=refuse,
        )


def open_data(settings: FinetuneSettings) -> tuple[Dataset, Dataset | None]:
    """Training and validation data; without the latter, photos are held out of the former."""
    training = _open(settings.data)
    if settings.val:
        return training, _open(settings.val)
    if not settings.val_share:
        return training, None
    return split_by_image(training, settings.val_share, settings.seed)


def starting_model(settings: FinetuneSettings) -> MaskModel:
    """The model to start from, on the CPU; a plain SAM gets HQ layers where these are to learn."""
    model = load(
        settings.model, base=settings.base, num_heads=settings.num_heads, device="cpu", dtype="float32"
    ).model
    if settings.train == "hq" and model.family == "sam":
        return add_hq_layers(model)
    return model


def _open(specs: tuple[str, ...]) -> Dataset:
    opened = [open_dataset(spec) for spec in specs]
    return opened[0] if len(opened) == 1 else Mixture([(dataset, len(dataset)) for dataset in opened])


def _targets(batch: Batch, index: Tensor) -> Targets:
    weights = None if batch.weights is None else batch.weights[index].flatten(0, 1)
    masks = batch.masks[index]
    valid = batch.valid[index].repeat_interleave(masks.shape[1])
    return Targets(masks.flatten(0, 1).float(), weights, valid)
