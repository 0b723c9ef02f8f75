"""Slow, obvious versions of `maskwright.losses.uncertain`: one mask, one pixel at a time, in float64."""

from __future__ import annotations

import numpy as np
from reference.mask_losses import Array, focal_pixel, sigmoid


def focal(logits: Array, targets: Array, certainty: Array) -> float:
    """Equation 1: the mean over all pixels of c FL."""
    total = 0.0
    for index in np.ndindex(logits.shape):
        pixel = focal_pixel(float(logits[index]), float(targets[index]), 0.25, 2)
        total += float(certainty[index]) * pixel
    return total / logits.size


def dice(logits: Array, targets: Array, certainty: Array, theta: float) -> float:
    """Equation 2: numerator and denominator over the pixels with c > theta."""
    overlap = total = 0.0
    for index in np.ndindex(logits.shape):
        if certainty[index] > theta:
            p, t = sigmoid(float(logits[index])), float(targets[index])
            overlap += p * t
            total += p + t
    return 1 - (2 * overlap + 1) / (total + 1)
