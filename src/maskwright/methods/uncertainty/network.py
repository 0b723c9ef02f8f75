"""The heads while they learn: a perceptron each, so that each has its own rate, computed together.

Axes: K heads, B rows of a head's step, D inputs, H hidden.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from maskwright.models.uncertainty import HeadsConfig, UncertaintyHeads


class Perceptron(nn.Module):
    """The layers of one head: `weights.i` (in, out) and `biases.i` (out,)."""

    def __init__(self, sizes: Sequence[int], rng: np.random.Generator) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise(sizes):
            # As torch begins a linear layer.
            bound = before**-0.5
            for parameters, shape in ((self.weights, (before, after)), (self.biases, (after,))):
                values = rng.uniform(-bound, bound, shape).astype(np.float32)
                parameters.append(nn.Parameter(torch.from_numpy(values)))


class HeadNetwork(nn.Module):
    """K perceptrons, computed together.

    Args:
        config: of the heads that they become.
        seed: a head begins the same whichever others there are.
    """

    def __init__(self, config: HeadsConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        sizes = (config.inputs, *config.hidden, 1)
        self.heads = nn.ModuleList(
            Perceptron(sizes, np.random.default_rng((seed, zlib.crc32(name.encode()))))
            for name in config.names
        )

    def forward(self, inputs_KBD: Tensor) -> Tensor:
        """(K, B) outputs in [0, 1], each head on its own rows."""
        values_KBH = inputs_KBD
        for layer in range(len(self.config.hidden) + 1):
            if layer:
                values_KBH = values_KBH.relu()
            values_KBH = torch.baddbmm(self.biases(layer)[:, None], values_KBH, self.weights(layer))
        return values_KBH[..., 0].float().sigmoid()

    def weights(self, layer: int) -> Tensor:
        """(K, in, out) of a layer."""
        return torch.stack([head.weights[layer] for head in self.heads])  # type: ignore[index]

    def biases(self, layer: int) -> Tensor:
        """(K, out) of a layer."""
        return torch.stack([head.biases[layer] for head in self.heads])  # type: ignore[index]

    @torch.no_grad()
    def finished(self) -> UncertaintyHeads:
        """The heads as they are used, without calibration."""
        heads = UncertaintyHeads(self.config)
        for layer, (weight, bias) in enumerate(zip(heads.weights, heads.biases, strict=True)):
            weight.copy_(self.weights(layer))
            bias.copy_(self.biases(layer))
        return heads.to(self.weights(0).device).eval()
