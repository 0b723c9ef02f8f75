"""Gradients of many losses in the memory of one: each loss is taken back as soon as it is known.

Interactive rounds share the parameters and the photo's features, so one backward pass at the end would keep
the activations of all rounds. Here each round's gradients are taken and added up at once, and the training
loop gets one loss whose own backward pass hands the sums on: to the parameters, and through the features to
the encoder. For the loop, data parallelism and mixed precision it is a loss like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from maskwright.models.base import Features

# A power of two, so that it changes no digit; it keeps small gradients of fp16 activations from vanishing.
SCALE = 1024.0


class Gradients:
    """Sums of gradients with respect to parameters and to the features of a batch of photos.

    Args:
        parameters: those that learn behind the features; ones that take no part are left alone.
        features: of B photos, with or without a graph behind them.
    """

    def __init__(self, parameters: Sequence[Tensor], features: Features) -> None:
        self.parameters = list(parameters)
        self.parts = [features.image, *features.high_res]
        if features.early is not None:
            self.parts.append(features.early)
        self.features = features
        self.sums: dict[int, Tensor] = {}
        self.feature_sums: dict[int, Tensor] = {}
        self.leaves: list[tuple[int, Tensor]] = []
        self.row = 0

    def photo(self, row: int) -> Features:
        """The features of one photo, cut off from what made them; `add` remembers what flows into them."""
        self.row, self.leaves = row, []
        places = {id(part): place for place, part in enumerate(self.parts)}

        def cut(part: Tensor) -> Tensor:
            leaf = part[row : row + 1].detach()
            if part.requires_grad:
                self.leaves.append((places[id(part)], leaf.requires_grad_()))
            return leaf

        return self.features.map(cut)

    def add(self, loss: Tensor) -> None:
        """Take back a loss on the present photo; its graph is freed."""
        inputs = [*self.parameters, *(leaf for _, leaf in self.leaves)]
        with torch.autocast(loss.device.type, enabled=False):
            found = torch.autograd.grad(SCALE * loss, inputs, allow_unused=True)
        for place, gradient in enumerate(found[: len(self.parameters)]):
            if gradient is not None:
                self.sums[place] = gradient + self.sums[place] if place in self.sums else gradient
        for (place, _), gradient in zip(self.leaves, found[len(self.parameters) :], strict=True):
            if gradient is not None:
                if place not in self.feature_sums:
                    self.feature_sums[place] = torch.zeros_like(self.parts[place])
                self.feature_sums[place][self.row] += gradient[0]

    def loss(self, value: Tensor) -> Tensor:
        """The value, as a loss whose backward pass gives the sums."""
        inputs = [self.parameters[place] for place in self.sums]
        inputs += [self.parts[place] for place in self.feature_sums]
        gradients = [*self.sums.values(), *self.feature_sums.values()]
        if not inputs:  # nothing was added: a loss that sends zeros
            inputs, gradients = self.parameters[:1], [torch.zeros_like(self.parameters[0])]
        result: Tensor = _Handed.apply(  # type: ignore[no-untyped-call]
            value.detach(), [gradient / SCALE for gradient in gradients], *inputs
        )
        return result


class _Handed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *_: Tensor) -> Tensor:  # noqa: ANN401
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        return None, None, *(outer * gradient for gradient in ctx.gradients)
