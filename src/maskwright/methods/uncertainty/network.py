"""The heads while they learn: a perceptron each, so that each has its own rate, computed together.

Axes: A rows, K heads, B rows of a head's step, V values of a row, T of tokens, D inputs, H hidden.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from maskwright.errors import ConfigError
from maskwright.methods.uncertainty.data import Floats, Rows
from maskwright.models.mask_features import FEATURES
from maskwright.models.uncertainty import HeadsConfig, UncertaintyHeads

View = tuple[Floats, Floats]

LOOKED_AT = 2**15
"""Rows that components are found on: 100 MB of SAM 2's, in float64 twice that."""
LEAST = 1e-6


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
        view: (V,) center and (V, D) projection of what they read, where they read components.
    """

    center: Tensor
    projection: Tensor

    def __init__(self, config: HeadsConfig, seed: int, view: View | None = None) -> None:
        super().__init__()
        assert (view is None) == (config.components is None)
        self.config = config
        sizes = (config.inputs, *config.hidden, 1)
        self.heads = nn.ModuleList(
            Perceptron(sizes, np.random.default_rng((seed, zlib.crc32(name.encode()))))
            for name in config.names
        )
        if view is not None:
            for name, values in zip(("center", "projection"), view, strict=True):
                self.register_buffer(name, torch.from_numpy(values))

    def forward(self, inputs_KBV: Tensor) -> Tensor:
        """(K, B) outputs in [0, 1], each head on its own rows."""
        values_KBH = inputs_KBV
        if self.config.components is not None:
            values_KBH = (inputs_KBV - self.center) @ self.projection
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
        if self.config.components is not None:
            heads.center.copy_(self.center)
            heads.projection.copy_(self.projection)
        return heads.to(self.weights(0).device).eval()


def principal_view(rows: Rows, components: int) -> View:
    """What brings rows to principal components of their tokens, then their features, all of variance one.

    The F last values of a row are its features. Of many rows, so many spread evenly are looked at.

    Raises:
        ConfigError: there are fewer rows or token values than components.
    """
    features = len(FEATURES)
    index = np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(np.int64)
    values_AV = rows.read(index).astype(np.float64)
    most = min(len(index) - 1, rows.values - features)
    if components > most:
        raise ConfigError(f"components = {components} is too many: these rows give {most} at most.")
    center = values_AV.mean(axis=0)
    deviation = values_AV.std(axis=0)
    scale = 1 / np.where(deviation > LEAST, deviation, 1)
    tokens_AT = ((values_AV - center) * scale)[:, :-features]
    variances, directions = np.linalg.eigh(tokens_AT.T @ tokens_AT / len(index))
    # The largest come last.
    chosen = slice(-1, -components - 1, -1)
    projection = np.zeros((rows.values, components + features))
    reach = np.sqrt(np.maximum(variances[chosen], LEAST))
    projection[:-features, :components] = scale[:-features, None] * directions[:, chosen] / reach
    projection[-features:, components:] = np.diag(scale[-features:])
    return center.astype(np.float32), projection.astype(np.float32)
