"""Rows of containers, shared out between learning, calibration and evaluation, and cut into steps.

Axes: A rows, K heads, B rows of a head's step, V values of a row (`models.uncertainty.mask_inputs`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from maskwright.errors import ConfigError, DatasetError
from maskwright.methods.base import ItemKey, TrainingData
from maskwright.methods.uncertainty.config import HeadPlan, HeadsSettings
from maskwright.methods.uncertainty.container import Container
from maskwright.methods.uncertainty.targets import choose_rows, head_names, targets
from maskwright.models.mask_features import FEATURES

Index = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

PUBLISHED_TOKENS = 2
"""The paper's heads read the IoU token and the mask token."""
BLOCK = 512
"""Rows that lie one after the other, and are read in the same part of an epoch."""
WINDOW = 128 * BLOCK
"""Rows among which steps draw; the file cache must hold two windows (200 MB each with P = 3, C = 256)."""
CHUNK = 8192


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows with what the heads should say of them.

    Args:
        container: the rows; their tokens stay in its file until they are asked for.
        targets: (A, K).
        values: V, how many of a row's numbers the heads look at, from the first on.
    """

    container: Container
    targets: Floats
    values: int

    @classmethod
    def of(cls, container: Container, settings: HeadsSettings, what: str) -> Rows:
        """The rows of a container that heads of a kind are about.

        Raises:
            ConfigError: a model is not in the container.
            DatasetError: there is no row, or some lack what a head should learn; `what` says which data.
        """
        kind = settings.kind
        if settings.models:
            container = container.of_models(settings.models)
        chosen = choose_rows(container, kind)
        if not len(chosen):
            raise DatasetError(f"{what}: no row for {kind} heads; extract with the prompts that they need.")
        wanted = targets(chosen, kind)
        missing = np.isnan(wanted).sum(axis=0)
        lacking = [
            f"{name} ({count:,} rows)"
            for name, count in zip(head_names(kind, chosen.models), missing, strict=True)
            if count
        ]
        if lacking:
            raise DatasetError(
                f"{what}: what heads should learn is not known for {', '.join(lacking)} of {len(chosen):,}; "
                "extract again with all prompts, the refined one too."
            )
        tokens = (
            min(chosen.token_shape[0], PUBLISHED_TOKENS) if kind == "published" else chosen.token_shape[0]
        )
        features = len(FEATURES) if settings.components else 0
        return cls(chosen, wanted, tokens * chosen.channels + features)

    def __len__(self) -> int:
        return len(self.targets)

    def read(self, index_A: Index) -> Floats:
        """(A, V) of some rows."""
        return np.ascontiguousarray(self.container.inputs(index_A)[:, : self.values])

    def chunks(self) -> Iterator[Floats]:
        """The values of all rows, in order, some at a time."""
        for start in range(0, len(self), CHUNK):
            yield self.read(np.arange(start, min(start + CHUNK, len(self))))


@dataclass(frozen=True, eq=False)
class Parts:
    """The data by use. No image or video is in two parts.

    Args:
        training: what heads learn from.
        calibration: what their outputs are calibrated on, if they are.
        validation: what they are evaluated on, if they are.
    """

    training: Rows
    calibration: Rows | None
    validation: Rows | None


def open_parts(settings: HeadsSettings) -> Parts:
    """Open the containers and share out their rows.

    Raises:
        ConfigError: no data are given, data and validation overlap, or are too few to be parted.
        DatasetError: a container cannot be used.
    """
    if not settings.data:
        raise ConfigError("no training data were given: use --data CONTAINER, see `maskwright uncertainty`.")
    data = Container.open([Path(path) for path in settings.data])
    val_share, calibration_share = settings.held_out
    training, validation = _split(data, val_share, settings.seed)
    if settings.val:
        validation = Container.open([Path(path) for path in settings.val])
        _check_apart(data, validation)
    # Of what is left, so that the share is one of all the data.
    training, calibration = _split(training, calibration_share / (1 - val_share), settings.seed + 1)
    return Parts(
        Rows.of(training, settings, "the training data"),
        None if calibration is None else Rows.of(calibration, settings, "the calibration data"),
        None if validation is None else Rows.of(validation, settings, "the validation data"),
    )


def _split(rows: Container, share: float, seed: int) -> tuple[Container, Container | None]:
    return rows.split(share, seed) if share else (rows, None)


def _check_apart(data: Container, validation: Container) -> None:
    if data.models != validation.models:
        raise ConfigError(
            f"the data are of {', '.join(data.models)} and the validation data of "
            f"{', '.join(validation.models)}: both must be of the same models."
        )
    both = np.intersect1d(data.groups, validation.groups)
    if len(both):
        raise ConfigError(
            f"{len(both)} images or videos are in the validation data and in the data, {both[0]} among them: "
            "figures would be too good. Take them out of one, or leave --val out to hold a share out."
        )


@dataclass(frozen=True)
class Batch:
    """One step of all heads.

    Args:
        inputs: (U, V) rows that some head looks at.
        targets: (U, K).
        index: (K, B) the rows of each head, among the U.
        weight: (K, B) 1 / (rows of the head), and 0 where it has fewer than B.
    """

    inputs: Tensor
    targets: Tensor
    index: Tensor
    weight: Tensor

    def losses(self, network: nn.Module) -> Tensor:
        """(K,) mean squared error of each head on its rows."""
        said_KB = network(self.inputs[self.index])
        true_KB = self.targets.T.gather(1, self.index)
        losses_K: Tensor = ((said_KB - true_KB) ** 2 * self.weight).sum(dim=1)
        return losses_K

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """The same on a device."""
        parts = (self.inputs, self.targets, self.index, self.weight)
        return Batch(*(part.to(device, non_blocking=non_blocking) for part in parts))


class Steps(TrainingData):
    """One item is one step: the rows that each head looks at in it.

    An epoch is one pass of the head that takes the most steps. Heads with equally many rows a step look at
    the same ones, so that those are read once; which they are depends on no other head.

    Args:
        rows: to learn from.
        plans: of the K heads.
    """

    def __init__(self, rows: Rows, plans: Sequence[HeadPlan]) -> None:
        self.rows, self.plans = rows, tuple(plans)
        self._orders: dict[tuple[int, int, int], Index] = {}
        self._windows: dict[tuple[int, int, int], int] = {}
        longest = max(self.plans, key=self._total)
        self.epochs = longest.epochs
        self._length = longest.steps(len(rows))

    def _total(self, plan: HeadPlan) -> int:
        return plan.steps(len(self.rows)) * (plan.epochs or 1)

    def __len__(self) -> int:
        return self._length

    def order(self, epoch: int, seed: int) -> Index:
        """As they come: rows are shuffled within."""
        return np.arange(len(self))

    def until(self, plan: HeadPlan) -> float:
        """The part of the run in which a head learns."""
        return 1.0 if self.epochs is None else self._total(plan) / (self.epochs * len(self))

    def __getitem__(self, key: ItemKey) -> Batch:
        """Read the rows of a step."""
        place = key.epoch * len(self) + key.index
        wanted = [self._rows_of(plan, place, key.seed) for plan in self.plans]
        read, index = np.unique(np.concatenate(wanted), return_inverse=True)
        widest = max(map(len, wanted))
        index_KB = np.zeros((len(wanted), widest), np.int64)
        weight_KB = np.zeros((len(wanted), widest), np.float32)
        ends = np.cumsum([len(rows) for rows in wanted])
        for k, rows in enumerate(wanted):
            index_KB[k, : len(rows)] = index[ends[k] - len(rows) : ends[k]]
            weight_KB[k, : len(rows)] = 1 / max(1, len(rows))
        arrays = (self.rows.read(read), self.rows.targets[read], index_KB, weight_KB)
        return Batch(*map(torch.from_numpy, arrays))

    def collate(self, items: Sequence[Batch]) -> Batch:
        """One step is one batch."""
        [item] = items
        return item

    def _rows_of(self, plan: HeadPlan, place: int, seed: int) -> Index:
        if plan.epochs is not None and place >= self._total(plan):
            return np.zeros(0, np.int64)
        epoch, step = divmod(place, plan.steps(len(self.rows)))
        key = (plan.batch_size, epoch, seed)
        if key not in self._orders:
            # The stream only moves forward.
            for old in [old for old in self._orders if old[0] == plan.batch_size]:
                del self._orders[old], self._windows[old]
            rng = np.random.default_rng((seed, plan.batch_size, epoch))
            self._orders[key] = shuffled(len(self.rows), rng)
        start = step * plan.batch_size
        self._read_ahead(key, start // WINDOW)
        return self._orders[key][start : start + plan.batch_size]

    def _read_ahead(self, key: tuple[int, int, int], window: int) -> None:
        """When a window begins, let the disk read the next one; at first, the one that begins as well."""
        last = self._windows.get(key)
        if last == window:
            return
        first = window if last is None else window + 1
        self.rows.container.read_ahead(self._orders[key][first * WINDOW : (window + 2) * WINDOW])
        self._windows[key] = window


def shuffled(count: int, rng: np.random.Generator) -> Index:
    """An order of rows that reads a file larger than memory piece by piece.

    Blocks of neighbouring rows are shuffled, then the rows in windows of so many blocks. With few enough
    rows, all in one window, this is any order.
    """
    blocks = -(-count // BLOCK)
    starts = rng.permutation(blocks) * BLOCK
    rows = (starts[:, None] + np.arange(BLOCK)).reshape(-1)
    rows = rows[rows < count]
    for start in range(0, count, WINDOW):
        rng.shuffle(rows[start : start + WINDOW])
    return rows
