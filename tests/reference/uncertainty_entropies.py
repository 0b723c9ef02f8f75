"""The entropies of UncertainSAM from all maps at once, number by number.

Axes: E models, T augmentations (the photo as it is first), Q clicks (the centre first), M proposals, h w.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def map_entropy(y: Array) -> float:
    """Equation 3, pixel by pixel."""
    above = below = 0.0
    for value in y.astype(np.float64).ravel():
        q = min(max(float(value), 1e-6), 1 - 1e-6)
        above += q * (-q * math.log2(q) - (1 - q) * math.log2(1 - q))
        below += q
    return above / below


def entropies(maps_ETQMhw: Array, scores_ETQM: Array, iou_ETQM: Array, model: int) -> dict[str, float]:
    """All measures of one instance; equations 4 to 10."""
    models, augmentations, clicks, proposals = scores_ETQM.shape
    size = maps_ETQMhw.shape[-2:]

    def believed(e: int, t: int, q: int) -> Array:
        total = sum(float(score) for score in scores_ETQM[e, t, q])
        mean = np.zeros(size)
        for m in range(proposals):
            mean += float(scores_ETQM[e, t, q, m]) / total * maps_ETQMhw[e, t, q, m]
        return mean

    def best(e: int, t: int, q: int) -> Array:
        found: Array = maps_ETQMhw[e, t, q, int(iou_ETQM[e, t, q].argmax())]
        return found

    everything = np.zeros(size)
    for e in range(models):
        for t in range(augmentations):
            for q in range(clicks):
                everything += believed(e, t, q)
    return {
        "h_all": map_entropy(everything / (models * augmentations * clicks)),
        "h_theta": map_entropy(np.mean([best(e, 0, 0) for e in range(models)], axis=0)),
        "h_prompt": map_entropy(np.mean([best(model, 0, q) for q in range(clicks)], axis=0)),
        "h_task": map_entropy(believed(model, 0, 0)),
        "h_augmentation": map_entropy(np.mean([best(model, t, 0) for t in range(augmentations)], axis=0)),
    }
