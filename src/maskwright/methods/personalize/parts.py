"""Parts of an object, and which of several masks is most like it (P²SAM: Zhang et al. 2024, section 3).

Axes: F G features of two regions, K parts, C channels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from maskwright.methods.personalize.features import evenly

COMPARED = 128
"""Features of a region that are compared at most: the assignment's time grows with their cube."""


def prototypes(features_FC: Tensor, count: int, seed: int = 0) -> Tensor:
    """(K, C) mean vectors of the parts into which k-means cuts an object's features.

    K is at most `count`, and less where the features do not fall into as many parts.
    """
    values = features_FC.double().numpy()
    count = min(count, len(np.unique(values, axis=0)))
    if count == 1:
        return features_FC.mean(dim=0, keepdim=True)
    random = np.random.default_rng(seed)
    try:
        centres, _ = kmeans2(values, count, minit="++", missing="raise", seed=random)
    except ClusterError:
        # A part was left with no feature at all.
        return prototypes(features_FC, count - 1, seed)
    return torch.tensor(centres, dtype=torch.float32)


def earth_mover(features_FC: Tensor, others_GC: Tensor) -> float:
    """The earth mover's distance of two sets of features: squared Euclidean, at length one, evenly weighted.

    Sets of different size are compared by as many features of each, evenly spread; of equal weights the best
    transport is an assignment.
    """
    size = min(COMPARED, max(len(features_FC), len(others_GC)))
    first, second = (F.normalize(_sized(part, size), dim=1) for part in (features_FC, others_GC))
    costs = torch.cdist(first, second).square().numpy()
    rows, columns = linear_sum_assignment(costs)
    return float(costs[rows, columns].mean())


def _sized(features_FC: Tensor, size: int) -> Tensor:
    """Exactly `size` of the features, some more than once if there are fewer."""
    if len(features_FC) >= size:
        return evenly(features_FC, size)
    return features_FC[torch.arange(size) * len(features_FC) // size]
