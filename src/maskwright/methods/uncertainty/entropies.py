"""Entropies of masks and of their averages: the baselines that uncertainty heads are compared with.

After UncertainSAM (Kaiser, Norrenbrock, Rosenhahn 2025, sections 3.1 and 4.1, equations 3 to 10). A mask's
probabilities y, at the decoder's low resolution, have the entropy

    H(y) = Σ_p y_p h₂(y_p) / Σ_p y_p,    h₂(q) = −q log₂ q − (1 − q) log₂ (1 − q)      (eq. 3)

a mean over the foreground in bits, in [0, 1]; y is clipped to [1e-6, 1 − 1e-6] as in the released code. The
measures are entropies of averages over augmentations t, clicks x, models θ and proposals a, of which each
model believes p(a) = score_a / Σ score (eq. 10), all else being equally likely:

    predictive  H_Y   Σ_{t,x,θ,a} p(a) y / (T X Θ)                    eq. 4, all models together
    epistemic   H_Θ   Σ_θ y_best / Θ, photo as it is, centre click     eq. 5, all models together
    prompt      H_XP  Σ_x y_best / X, photo as it is                   eq. 6, of each model
    task        H_A   Σ_a p(a) y_a, photo as it is, centre click       eq. 7, of each model
    augmentation      Σ_t y_best / T, centre click                     released code, of each model

where y_best is the proposal with the highest true IoU, in every configuration anew.

The sums run over the whole map of a model that stretches the photo to its square, as those of the paper do.
Where the photo is padded, the padding is no part of it and is left out: a decoder may answer anything there.

Axes: K instances, Q clicks, M proposals, N maps, h w low resolution without padding.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.types import Geometry

CLIP = 1e-6


def map_entropy(maps_Nhw: Tensor) -> Tensor:
    """(N,) entropy in bits of each probability map, equation 3."""
    y = maps_Nhw.clamp(CLIP, 1 - CLIP)
    bits = -(y * y.log2() + (1 - y) * (1 - y).log2())
    return (y * bits).sum(dim=(-2, -1)) / y.sum(dim=(-2, -1))


def inside(logits: Tensor, geometry: Geometry) -> Tensor:
    """(…, h, w) probabilities where the photo is, of logits (…, side, side) of a model's padded square."""
    low_res = logits.shape[-1]
    height, width = (math.ceil(length * low_res / geometry.side) for length in geometry.input_size)
    return logits[..., :height, :width].sigmoid()


def task_probabilities(scores_KQM: Tensor) -> Tensor:
    """(K, Q, M) the model's belief in each proposal, equation 10.

    SAM's predicted IoUs are no probabilities and may be negative; such a proposal is not believed.
    """
    positive = scores_KQM.clamp(min=CLIP)
    return positive / positive.sum(dim=-1, keepdim=True)


def best_maps(maps_KQMhw: Tensor, iou_KQM: Tensor) -> Tensor:
    """(K, Q, h, w) the proposal of the highest true IoU."""
    best = iou_KQM.argmax(dim=-1).to(maps_KQMhw.device)
    return maps_KQMhw.take_along_dim(best[..., None, None, None], dim=2)[:, :, 0]


def believed_maps(maps_KQMhw: Tensor, scores_KQM: Tensor) -> Tensor:
    """(K, Q, h, w) the mean of the proposals, each by the model's belief in it."""
    weights = task_probabilities(scores_KQM).to(maps_KQMhw)
    return torch.einsum("kqmhw,kqm->kqhw", maps_KQMhw, weights)


class MeanMaps:
    """The mean of many maps of each instance, of which only the sum is kept.

    All maps of a photo, 480 an instance as published, would not fit into memory. The first ones decide the
    frame; those of models with another low resolution or resizing are brought into it, bilinear.
    """

    def __init__(self, instances: int) -> None:
        self._instances = instances
        self._sums: Tensor | None = None
        self._weights = torch.zeros(instances)

    def add(self, first: int, maps_KQhw: Tensor) -> None:
        """Count the Q maps of each of K instances, `first` and those after it."""
        sum_Khw = maps_KQhw.sum(dim=1).float()
        if self._sums is None:
            self._sums = sum_Khw.new_zeros(self._instances, *sum_Khw.shape[1:])
        if sum_Khw.shape[1:] != self._sums.shape[1:]:
            grid = self._sums.shape[1:]
            sum_Khw = F.interpolate(sum_Khw[None], grid, mode="bilinear", align_corners=False)[0]
        rows = slice(first, first + len(sum_Khw))
        self._sums[rows] += sum_Khw.to(self._sums.device)
        self._weights[rows] += maps_KQhw.shape[1]

    def entropy(self) -> Tensor:
        """(K,) entropy of each instance's mean map."""
        assert self._sums is not None, "no map was added"
        # One after the other, for each takes several maps of memory.
        pairs = zip(self._sums, self._weights, strict=True)
        return torch.stack([map_entropy((total / weight)[None])[0] for total, weight in pairs]).cpu()
