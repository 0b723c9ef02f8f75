"""A method small enough to train in milliseconds: fits a line with noise, dropout and batch norm."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskwright.errors import DatasetError
from maskwright.io.files import make_folder, write_text
from maskwright.methods.base import ItemKey, Losses, Method, ParameterGroup, StepContext, TrainingData
from maskwright.methods.settings import TrainSettings


class ToySettings(TrainSettings):
    """Settings of the toy."""

    items: int = 7
    """length of the data"""
    broken_item: int | None = None
    """index whose file cannot be read"""
    nan_step: int | None = None
    """step at which a loss is not a number"""
    nan_process: int = 0
    """process on which it is so"""
    validate_data: bool = True
    """whether there is validation data"""
    kill_worker: bool = False
    """a worker that prepares item 0 dies"""


@dataclass(frozen=True)
class ToyData(TrainingData):
    settings: ToySettings

    def __len__(self) -> int:
        return self.settings.items

    def __getitem__(self, key: ItemKey) -> Tensor:
        if key.index == self.settings.broken_item:
            raise DatasetError("photos/broken.jpg: cut short.")
        if self.settings.kill_worker and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        noise = key.rng().standard_normal(4)
        return torch.tensor(np.concatenate([[key.index / 10], noise]), dtype=torch.float32)

    def collate(self, items: Sequence[Any]) -> dict[str, Tensor]:
        return {"x": torch.stack(list(items))}

    def source(self, index: int) -> str:
        return f"photos/{index}.jpg"


class Toy(Method):
    name = "toy"
    headline = "score"

    def __init__(self, settings: ToySettings) -> None:
        self.settings: ToySettings = settings
        torch.manual_seed(settings.seed)
        self.model: nn.Sequential = nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1), nn.Linear(1, 1)
        )
        self.evaluations = 0

    def parameter_groups(self) -> list[ParameterGroup]:
        named = dict(self.model.named_parameters())
        last = {name: named.pop(name) for name in ("4.weight", "4.bias")}
        frozen = [name for name in named if name.startswith("5.")]
        for name in frozen:
            del named[name]
        return [ParameterGroup("body", named), ParameterGroup("head", last, lr_scale=0.5, weight_decay=0.01)]

    def training_data(self) -> ToyData:
        return ToyData(self.settings)

    def training_step(self, batch: dict[str, Tensor], context: StepContext) -> Losses:
        x = batch["x"]
        noise = torch.randn(len(x), generator=context.generator, device=x.device)
        error = (self.model(x)[:, 0].float() - x[:, 0] - 0.01 * noise).square().mean()
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        if context.step == self.settings.nan_step and rank == self.settings.nan_process:
            error = error * float("nan")
        return {"loss": error, "extra": error * 2}

    def evaluate(self) -> dict[str, float]:
        self.evaluations += 1
        torch.rand(3)  # an evaluation that uses random numbers must not change the run
        if not self.settings.validate_data:
            return {}
        x = torch.linspace(-1, 1, 5).repeat(3, 1)
        return {"score": -float(self.model(x).square().mean())}

    def export(self, folder: Path, metrics: dict[str, float]) -> Path:
        path = make_folder(folder) / "toy.txt"
        write_text(path, f"{sum(float(p.detach().double().sum()) for p in self.model.parameters()):.12f}\n")
        return path
