"""What a mask's own map shows of its quality: a few numbers that uncertainty heads read beside the tokens.

Tokens alone tell what a decoder meant; its map tells how clear the outcome is. On few training photos these
numbers carry over to new ones better than tokens do (docs/results/uncertainty.md).

Axes: N prompts, M masks, h w low resolution, F features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FEATURES = (
    "score",
    "entropy",
    "stability",
    "log_area",
    "inside",
    "outside",
    "logit_inside",
    "logit_outside",
)
"""The model's own estimate; the foreground's mean entropy in bits (UncertainSAM, eq. 3); the IoU of the mask
at logits above 1 and above −1; the logarithm of its share of the map; its mean probability, and what lies
outside it, as a share of its area; the mean logit inside and outside."""
SIDE = 64
"""Maps are looked at in about so many rows and columns: on all of SAM's 256, looking would cost more than
reading the tokens."""
OFFSET = 1.0
CHUNK = 64
"""Prompts looked at together: what is computed on the way takes several times the memory of their maps."""
_LOGIT_LIMIT = 32.0
_BITS = 1.4426950408889634  # 1 / ln 2


def mask_features(low_res_NMhw: Tensor, iou_NM: Tensor) -> Tensor:
    """(N, M, F) float32, in the order of `FEATURES`; finite for an empty mask, too.

    Args:
        low_res_NMhw: logits.
        iou_NM: the model's estimate of each mask's IoU.
    """
    parts = zip(low_res_NMhw.split(CHUNK), iou_NM.split(CHUNK), strict=True)
    return torch.cat([_features(low_res, iou) for low_res, iou in parts])


def _features(low_res_NMhw: Tensor, iou_NM: Tensor) -> Tensor:
    step = max(1, low_res_NMhw.shape[-1] // SIDE)
    logits = low_res_NMhw[..., ::step, ::step].flatten(2).float().clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT)
    probability = logits.sigmoid()
    # The entropy of a Bernoulli variable with logit x is softplus(x) − x σ(x), in nats. One buffer serves for
    # all that follows: for so few numbers, memory takes longer than arithmetic.
    buffer = F.softplus(logits).addcmul_(logits, probability, value=-1)
    entropy = torch.linalg.vecdot(probability, buffer) * _BITS
    signed = torch.clamp(logits, min=0, out=buffer).sum(2)
    inside = buffer.sign_()
    area, mass = inside.sum(2), torch.linalg.vecdot(probability, inside)
    foreground, count = probability.sum(2), logits.shape[2]
    inner, outer = ((logits > limit).sum(2) for limit in (OFFSET, -OFFSET))
    area_or_one = area.clamp(min=1)
    columns = (
        iou_NM.float(),
        entropy / foreground.clamp(min=1e-6),
        inner / outer.clamp(min=1),
        ((area + 1) / count).log(),
        mass / area_or_one,
        (foreground - mass) / area_or_one,
        signed / area_or_one,
        (logits.sum(2) - signed) / (count - area).clamp(min=1),
    )
    return torch.stack(columns, dim=2)
