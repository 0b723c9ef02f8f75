"""Our side of the benchmark of training: a SAM-HQ with random weights, and our loop on ready items."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from maskwright.methods.base import ItemKey, TrainingData
from maskwright.methods.finetune.config import FinetuneSettings
from maskwright.methods.finetune.method import Finetune
from maskwright.methods.interactive.alternating import AlternatingSUM
from maskwright.methods.interactive.config import AlternatingSettings
from maskwright.methods.interactive.sources import give_task_prompts
from maskwright.models.base import MaskModel
from maskwright.models.fresh import fresh_model
from maskwright.models.sam_hq import SAMHQ
from maskwright.recipes import merge_settings, read_recipe
from maskwright.training.engine import Engine

SHARED = {"val_share": 0.0, "steps": 100, "accumulate": 1, "device": "cpu"}


def random_model(side: int, tiny: bool) -> SAMHQ:
    """A SAM-HQ with random weights, its position tables too."""
    torch.manual_seed(0)
    model = SAMHQ.from_config(tiny_config(side)) if tiny else fresh_model("sam-hq-vit-b", image_size=side)
    assert isinstance(model, SAMHQ)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "rel_pos" in name or "pos_embed" in name:
                parameter.normal_(std=0.02)
    return model


def tiny_config(side: int) -> dict[str, Any]:
    """The sizes of a model that is instant."""
    vision = {
        "hidden_size": 32, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": side, "patch_size": 16, "window_size": 3, "global_attn_indexes": [1], "mlp_dim": 64,
        "num_pos_feats": 16,
    }  # fmt: skip
    prompt = {"hidden_size": 32, "image_size": side, "patch_size": 16, "mask_input_channels": 4}
    decoder = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
    config = {"vision_config": vision, "prompt_encoder_config": prompt}
    return {**config, "mask_decoder_config": {**decoder, "vit_dim": 32}}


class GivenModel(Finetune):
    """Our training of the HQ token, of a model that is there already; it is copied.

    Args:
        model: to start from.
        data: KIND:FOLDER.
        changes: of the settings of the recipe hq.
    """

    def __init__(self, model: SAMHQ, data: str, **changes: Any) -> None:  # noqa: ANN401
        self.given = copy.deepcopy(model)
        values = merge_settings(read_recipe("hq").values, {**SHARED, "data": [data], **changes})
        super().__init__(FinetuneSettings.model_validate(values))

    def start(self) -> MaskModel:
        """The given model."""
        return self.given


class GivenSUM(AlternatingSUM):
    """The same with machine-made labels.

    Args:
        model: to start from.
        data: KIND:FOLDER of human masks; unlabeled: of machine-made ones.
        changes: of the settings of the recipe sum-hq.
    """

    def __init__(self, model: SAMHQ, data: str, unlabeled: str, **changes: Any) -> None:  # noqa: ANN401
        self.given = copy.deepcopy(model)
        given = {**SHARED, "data": [data], "unlabeled": [unlabeled], **changes}
        values = merge_settings(read_recipe("sum-hq").values, given)
        super().__init__(AlternatingSettings.model_validate(values))

    def start(self) -> MaskModel:
        """The given model, with task prompts."""
        give_task_prompts(self.given, self.settings)
        return self.given


class Training:
    """Our loop's steps on ready items."""

    def __init__(self, method: Finetune) -> None:
        self.method = method
        self.data: TrainingData = method.training_data()
        self.engine = Engine(method)
        method.train_mode()

    def items(self, indices: Sequence[int]) -> list[Any]:
        """Items of the first epoch."""
        return [self.data[ItemKey(index, 0, self.method.settings.seed)] for index in indices]

    def batch(self, indices: Sequence[int]) -> Any:  # noqa: ANN401
        """A batch of them."""
        return self.data.collate(self.items(indices))

    def step(self, batch: Any) -> float:  # noqa: ANN401
        """One step of the optimiser; the loss before it."""
        return self.engine.step(0, 100, iter([batch]), stop=False)[0]["loss"]

    def epoch(self, items: Sequence[Any], size: int) -> list[float]:
        """Train on ready items once, in their order; the loss of each step."""
        starts = range(0, len(items), size)
        return [self.step(self.data.collate(items[start : start + size])) for start in starts]
