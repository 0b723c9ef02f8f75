"""Clicks that keep away from labels in doubt (SUM, NeurIPS 2024, section 3.2.2).

A click comes from a region: the target at first, later the pixels at which a prediction differs from it.
Pixel i of the region is drawn with probability c_i / Σ c, where c is the label's certainty (1 for human
labels), and the click's label is the target's value there. Pixels of certainty 0 are never drawn: give the
padding of a photo that, or cut it off.

Where a region has no pixel, or none with a certainty above 0, there is no click. Any other point would be one
whose label is known to be wrong or worthless; a mask that is in doubt everywhere teaches nothing anyway. As
"no point" (label -1) such a mask stays in its batch.

`certain_points` is for single masks, in data workers; the functions on tensors are for batches, in a training
loop, on any device, without waiting for it. Frames have any shape; points are (x, y) pixel indices in theirs.

Axes: N masks, H W size, P points, 2 (x, y).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskwright.types import BoolArray, FloatArray


def certain_points(
    region: BoolArray, certainty: FloatArray | None, rng: np.random.Generator, count: int
) -> FloatArray | None:
    """Draw several distinct points, one after the other, each ∝ certainty among those that are left.

    Args:
        region: (H, W) where to click.
        certainty: (H, W) in [0, 1], or None for 1.
        rng: source of randomness.
        count: P. Where fewer pixels have any certainty, each is taken and some of them are taken again.

    Returns:
        (P, 2) float32, or None where no pixel can be drawn.
    """
    pixels, weights = _candidates(region, certainty)
    if not len(pixels):
        return None
    # The order in which exponential clocks of these rates ring (Efraimidis and Spirakis 2006).
    clocks = rng.standard_exponential(len(pixels)) / weights
    if count < len(pixels):
        chosen = np.argpartition(clocks, count)[:count]
    else:
        again = rng.choice(len(pixels), count - len(pixels), p=weights / weights.sum())
        chosen = np.concatenate([np.arange(len(pixels)), again])
    pixels, width = pixels[rng.permutation(chosen)], region.shape[1]
    return np.stack([pixels % width, pixels // width], axis=1).astype(np.float32)


def sample_clicks(
    region_NHW: Tensor, certainty_NHW: Tensor | None, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draw one point for each of N masks ∝ certainty, on any device.

    Args:
        region_NHW: (N, H, W) bool, where to click.
        certainty_NHW: (N, H, W) in [0, 1], or None for 1.
        generator: source of randomness; one of the CPU gives the same points whatever the device.

    Returns:
        points (N, 2) float32, and found (N,) bool: False, with the point (0, 0), where none can be drawn.
    """
    assert region_NHW.ndim == 3, region_NHW.shape
    assert region_NHW.dtype == torch.bool, region_NHW.dtype
    if certainty_NHW is None:
        weights_NHW = region_NHW.float()
    else:
        assert certainty_NHW.shape == region_NHW.shape, (certainty_NHW.shape, region_NHW.shape)
        weights_NHW = torch.where(region_NHW, certainty_NHW.float(), 0.0)
    masks, device = len(region_NHW), region_NHW.device
    source = device if generator is None else generator.device
    chance_2N = torch.rand(2, masks, generator=generator, device=source).to(device)
    # First a row ∝ its sum, then a pixel of that row: neither the running sums nor the random numbers are
    # ever as long as the image, over which single precision would lose some pixels.
    y_N = _draw(weights_NHW.sum(dim=2), chance_2N[0])
    row_NW = weights_NHW[torch.arange(masks, device=device), y_N]
    x_N = _draw(row_NW, chance_2N[1])
    found_N = (row_NW > 0).any(dim=1)
    return torch.stack([x_N, y_N], dim=1).float() * found_N[:, None], found_N


def next_clicks(
    target_NHW: Tensor,
    prediction_NHW: Tensor,
    certainty_NHW: Tensor | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """The next click on each of N objects.

    Args:
        target_NHW: (N, H, W) bool, the objects.
        prediction_NHW: (N, H, W) bool, what was found so far; all False before the first click.
        certainty_NHW: (N, H, W) in [0, 1], or None for 1.
        generator: as in `sample_clicks`.

    Returns:
        points (N, 2) float32, and labels (N,) int64: 1 object, 0 background, -1 no point.
    """
    assert prediction_NHW.shape == target_NHW.shape, (prediction_NHW.shape, target_NHW.shape)
    points_N2, found_N = sample_clicks(target_NHW ^ prediction_NHW, certainty_NHW, generator)
    x_N, y_N = points_N2.long().unbind(dim=1)
    labels_N = target_NHW[torch.arange(len(points_N2), device=points_N2.device), y_N, x_N].long()
    return points_N2, torch.where(found_N, labels_N, -1)


def _candidates(
    region: BoolArray, certainty: FloatArray | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The pixels that may be drawn, as places in the flattened mask, and their weights."""
    if certainty is None:
        pixels = np.flatnonzero(region)
        return pixels, np.ones(len(pixels))
    assert certainty.shape == region.shape, (certainty.shape, region.shape)
    pixels = np.flatnonzero(region & (certainty > 0))
    return pixels, certainty.reshape(-1)[pixels].astype(np.float64)


def _draw(weights_NL: Tensor, chance_N: Tensor) -> Tensor:
    """(N,) place at which the running sum of the weights exceeds a share `chance` of their total.

    Only places of positive weight come in question, however the sums are rounded; 0 where there is none.
    """
    running_NL = weights_NL.cumsum(dim=1)
    possible_NL = weights_NL > 0
    total_N = torch.where(possible_NL, running_NL, 0.0).amax(dim=1)
    reached_NL = possible_NL & (running_NL > (chance_N * total_N)[:, None])
    return reached_NL.to(torch.uint8).argmax(dim=1)
