"""Slow, obvious versions of `maskwright.losses.boundaries`: one image, one pixel at a time, in float64."""

from __future__ import annotations

import math

import numpy as np
from reference.mask_losses import Array, sigmoid


def log_sigmoid(logit: float) -> float:
    return -math.log1p(math.exp(-logit)) if logit > 0 else logit - math.log1p(math.exp(logit))


def enlarged(logits: Array, size: tuple[int, int]) -> Array:
    """Bilinear, pixel middles on pixel middles, the outermost values going on to the edge."""
    result = np.zeros(size)
    (rows, columns), (height, width) = logits.shape, size
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            u = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(v), int(u)
            low, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            upper = (1 - (u - left)) * logits[top, left] + (u - left) * logits[top, right]
            lower = (1 - (u - left)) * logits[low, left] + (u - left) * logits[low, right]
            result[y, x] = (1 - (v - top)) * upper + (v - top) * lower
    return result


def boundary_loss(
    logits: Array, fraction: Array, ignore: Array, kind: str, eta: float, lambda_: float, dice: float
) -> float:
    logits = enlarged(logits, fraction.shape)
    positives: list[tuple[int, ...]] = []
    negatives: list[tuple[int, ...]] = []
    counted: list[tuple[int, ...]] = []
    for index in np.ndindex(fraction.shape):
        share = float(fraction[index])
        if ignore[index] or (kind == "consensus" and 0 < share <= eta):
            continue
        counted.append(index)
        (positives if share > (eta if kind == "consensus" else 0) else negatives).append(index)
    target = {index: 1.0 for index in positives} | {index: 0.0 for index in negatives}
    if kind == "soft":
        target = {index: float(fraction[index]) for index in counted}
    beta = len(negatives) / max(1, len(counted))
    plus, minus = (1.0, 1.0) if kind in {"bce", "soft"} else (beta, 1 - beta)
    if kind == "consensus":
        minus *= lambda_
    total = overlap = sums = 0.0
    for index in counted:
        logit, wanted = float(logits[index]), target[index]
        total -= plus * wanted * log_sigmoid(logit) + minus * (1 - wanted) * log_sigmoid(-logit)
        overlap += sigmoid(logit) * wanted
        sums += sigmoid(logit) + wanted
    mean = total / (fraction.size if kind == "bce" else max(1, len(counted)))
    return mean + dice * (1 - (2 * overlap + 1) / (sums + 1))
