"""Exponential moving average of the weights that learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """A second copy of the learning weights that follows them slowly; it is what gets evaluated and exported.

    Early on the decay is min(decay, (1 + n) / (10 + n)), so that the random start is forgotten.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float) -> None:
        """Start at the present weights."""
        self.parameters = parameters
        self.decay = decay
        self.values = {name: parameter.detach().clone().float() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the weights after optimiser step `step` (0-based)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self.parameters.items():
            self.values[name].lerp_(parameter.detach().float(), 1 - decay)

    @torch.no_grad()
    def load(self, values: dict[str, Tensor]) -> None:
        """Take over saved values."""
        assert values.keys() == self.values.keys()
        for name, value in values.items():
            self.values[name].copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model, and the weights back afterwards."""
        kept = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.copy_to_model()
        try:
            yield
        finally:
            self._copy_in(kept)

    def copy_to_model(self) -> None:
        """Put the average into the model for good."""
        self._copy_in(self.values)

    @torch.no_grad()
    def _copy_in(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
