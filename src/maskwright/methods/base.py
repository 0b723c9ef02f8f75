"""What a method of training is: the model, what of it learns, the data, one step's loss, the evaluation.

`training/loop.py` drives any `Method` and knows none by name. The loop brings precision, accumulation,
clipping, schedule, moving average, processes, checkpoints, resumption and logs; a method brings the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from maskwright.methods.settings import TrainSettings

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class ItemKey:
    """Names one training item of one epoch, so that it is the same whoever prepares it, and whenever.

    Args:
        index: position in the training data.
        epoch: which pass.
        seed: the run's seed.
    """

    index: int
    epoch: int
    seed: int

    def rng(self) -> np.random.Generator:
        """The item's own random numbers: all augmentation and sampling for the item must come from here."""
        return np.random.default_rng((self.seed, self.epoch, self.index))


class TrainingData(ABC):
    """Training items by key. Preparing an item must use no random state but `key.rng()`.

    Worker processes get a pickled copy, so it holds no model.
    """

    def begin(self, items_per_step: int) -> None:  # noqa: B027  (most data's order is one of items)
        """Told once, before the first item: how many items an optimiser step takes, over all processes."""

    @abstractmethod
    def __len__(self) -> int:
        """Items in one epoch."""

    @abstractmethod
    def __getitem__(self, key: ItemKey) -> Any:  # noqa: ANN401
        """Prepare one item. A data error raised here must name the file."""

    @abstractmethod
    def collate(self, items: Sequence[Any]) -> Any:  # noqa: ANN401
        """Make a batch of items: CPU tensors in dicts, lists, tuples, or an object with `.to(device)`."""

    def order(self, epoch: int, seed: int) -> npt.NDArray[np.int64]:
        """The order of one epoch: indices, by default a shuffle of all. Override to weight or mix."""
        return np.random.default_rng((seed, epoch)).permutation(len(self))

    def source(self, index: int) -> str:
        """Where an item comes from, for messages."""
        return f"item {index}"

    def check(self) -> None:  # noqa: B027  (most data need no further check)
        """Raise `DatasetError` early, before the first step, for data that cannot be trained on."""


@dataclass(frozen=True, eq=False)
class ParameterGroup:
    """Parameters that learn, with their own rate.

    Args:
        name: for messages and logs, unique in a method.
        parameters: by their names in `Method.model`.
        lr_scale: factor on the learning rate.
        weight_decay: in place of the optimiser's, or None.
        momentum: in place of the optimiser's first beta, or None.
        until: the part of the run after which they stay as they are.
    """

    name: str
    parameters: dict[str, nn.Parameter]
    lr_scale: float = 1.0
    weight_decay: float | None = None
    momentum: float | None = None
    until: float = 1.0


@dataclass(frozen=True)
class StepContext:
    """Where in the run a training step stands.

    Args:
        step: optimiser steps done so far.
        steps: optimiser steps of the whole run.
        generator: on the training device, seeded by (seed, step, batch within the step, process): random
            choices of a step (dropped prompts, say) drawn from it repeat exactly on resumption. What should
            not depend on the number of processes is drawn by a seed of the item's instead.
    """

    step: int
    steps: int
    generator: torch.Generator

    @property
    def progress(self) -> float:
        """Part of the run that is done, 0 to 1."""
        return self.step / self.steps


class Method(ABC):
    """A way to train a model. Build it from its settings; then the loop calls the methods below.

    Attributes:
        name: word in the list of methods.
        settings: a subclass of `TrainSettings`.
        model: holds every parameter and buffer. State that must survive a resumption lives in its buffers.
        headline: the metric by which the best checkpoint is chosen; higher is better.
    """

    name: ClassVar[str]
    headline: ClassVar[str]
    settings: TrainSettings
    model: nn.Module

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """What learns. Every other parameter is frozen by the loop (and left out of checkpoints)."""

    @abstractmethod
    def training_data(self) -> TrainingData:
        """The items to learn from."""

    @abstractmethod
    def training_step(self, batch: Any, context: StepContext) -> Losses:  # noqa: ANN401
        """Run the model on a batch, already on the device, perhaps under autocast.

        Returns:
            scalars; "loss" is minimised, the others are logged. Compute losses in float32 (`logits.float()`).
        """

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Metrics on the validation data, `headline` among them; {} when there is none.

        Called on one process, without gradients, the model in eval mode and holding the averaged weights
        when the run keeps an average.
        """

    @abstractmethod
    def export(self, folder: Path, metrics: dict[str, float]) -> Path:
        """Write what was trained into a folder and return its path, which `next_steps` tells how to use."""

    def save_epoch(self, folder: Path) -> None:
        """Write the model as it is after an epoch into a folder of its own; by default, what `export` writes.

        Called on one process, the model holding the averaged weights when the run keeps an average.
        """
        self.export(folder, {})

    def warnings(self) -> list[str]:
        """What the user should know before the training, and may not have meant."""
        return []

    def next_steps(self, model: Path) -> tuple[str, ...]:
        """Commands that use the exported model, for the end of the training's output."""
        return (
            f"maskwright segment PHOTO --model {model} --box X0,Y0,X1,Y1",
            f"maskwright evaluate prompted --model {model} --data KIND:FOLDER",
        )

    def train_mode(self) -> None:
        """Put the model into training mode; override to keep frozen parts in eval mode."""
        self.model.train()
