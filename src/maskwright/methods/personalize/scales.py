"""PerSAM-F: the weights of SAM's mask scales, fitted on the reference (Zhang et al. 2023, section 3.3).

The scales' logits do not depend on the weights, so they are decoded once and the fit is a few sums a step:
no decoder and no autograd. The gradients are written out; tests compare them with autograd.

Axes: S scales, P pixels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.types import BoolArray, FloatArray, Geometry

STEPS = 1000
RATE = 1e-3
BETAS = (0.9, 0.999)
EPSILON = 1e-4
DECAY = 0.01
ALPHA = 0.25
FIT_SIDE = 128
"""Longest side in pixels of the masks on which weights are fitted: a few numbers need no more."""


def fit_scales(
    logits_SP: FloatArray, mask_P: BoolArray, steps: int = STEPS, rate: float = RATE
) -> FloatArray:
    """Fit the weights of some masks so that their weighted sum is the reference's mask.

    Dice and focal loss, AdamW and a cosine schedule to zero, all weights 1 / S at the start; the first
    weight is one minus the others, as published.

    Args:
        logits_SP: of each scale, (S, P).
        mask_P: the reference's mask.
        steps: of the optimiser.
        rate: its learning rate at the start.

    Returns:
        (S,) float32; they add up to one and may be negative.
    """
    first, others = logits_SP[0], logits_SP[1:]
    difference = np.ascontiguousarray(others - first, np.float32)
    weights = np.full(len(others), 1 / len(logits_SP))
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    sign, balance = _constants(mask_P)
    for step in range(steps):
        logits_P = first + weights.astype(np.float32) @ difference
        gradient = difference @ _slope(logits_P, mask_P, sign, balance)
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
        now = rate * (1 + math.cos(math.pi * step / steps)) / 2
        weights = weights * (1 - now * DECAY)
        corrected = np.sqrt(square / (1 - BETAS[1] ** (step + 1))) + EPSILON
        weights = weights - now * mean / (1 - BETAS[0] ** (step + 1)) / corrected
    return np.array([1 - weights.sum(), *weights], np.float32)


def _constants(mask_P: BoolArray) -> tuple[FloatArray, FloatArray]:
    """+1 and -1 for object and background, and the focal loss's weight of each pixel in their mean."""
    sign = np.where(mask_P, 1, -1).astype(np.float32)
    balance = (np.where(mask_P, ALPHA, 1 - ALPHA) / len(mask_P)).astype(np.float32)
    return sign, balance


def _slope(logits_P: FloatArray, mask_P: BoolArray, sign_P: FloatArray, balance_P: FloatArray) -> FloatArray:
    """Derivative of Dice plus focal loss (γ = 2) by each logit."""
    # Beyond ±30 float32 no longer tells a probability from one, and its logarithm from zero.
    right = 1 / (1 + np.exp(-np.clip(sign_P * logits_P, -30, 30)))
    wrong = 1 - right
    focal = sign_P * balance_P * wrong**2 * (2 * right * np.log(right) - wrong)
    object_P = np.where(mask_P, right, wrong)
    both = 2 * float(object_P[mask_P].sum()) + 1
    total = float(object_P.sum()) + float(mask_P.sum()) + 1
    dice = -(2 * mask_P * total - both) / total**2 * right * wrong
    slope: FloatArray = (focal + dice).astype(np.float32)
    return slope


def fit_resolution(
    logits_Shw: Tensor, geometry: Geometry, mask_HW: BoolArray
) -> tuple[FloatArray, BoolArray]:
    """Scales and mask at the same, moderate size, flat: (S, P) and (P,).

    The mask is what it covers by half, or where it covers most, if it is that small.
    """
    height, width = geometry.size
    shrink = min(1.0, FIT_SIDE / max(height, width))
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    small = Geometry(size, geometry.side, geometry.resize)
    covered = F.interpolate(torch.tensor(mask_HW)[None, None].float(), size, mode="area").flatten()
    target = covered >= min(0.5, float(covered.max()))
    return small.to_image(logits_Shw).flatten(1).numpy(), target.numpy()
