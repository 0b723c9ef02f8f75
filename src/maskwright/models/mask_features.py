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
_LOGIT_LIMIT = 32.0
_BITS = 1.4426950408889634  # 1 / ln 2


def mask_features(low_res_NMhw: Tensor, iou_NM: Tensor) -> Tensor:
    """(N, M, F) float32, in the order of `FEATURES`; finite for an empty mask, too.

    Args:
        low_res_NMhw: logits.
        iou_NM: the model's estimate of each mask's IoU.
    """
    step = max(1, low_res_NMhw.shape[-1] // SIDE)
    logits = low_res_NMhw[..., ::step, ::step].flatten(2).float().clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT)
    probability, inside = logits.sigmoid(), (logits > 0).float()
    # The entropy of a Bernoulli variable with logit x is softplus(x) − x σ(x), in nats.
    entropy = (F.softplus(logits) - logits * probability) * _BITS
    foreground, area = probability.sum(2), inside.sum(2)
    count, mass = logits.shape[2], (probability * inside).sum(2)
    signed = (logits * inside).sum(2)
    rest = (count - area).clamp(min=1)
    area_or_one = area.clamp(min=1)
    outer = (logits > -OFFSET).sum(2).clamp(min=1)
    columns = (
        iou_NM.float(),
        (probability * entropy).sum(2) / foreground.clamp(min=1e-6),
        (logits > OFFSET).sum(2) / outer,
        ((area + 1) / count).log(),
        mass / area_or_one,
        (foreground - mass) / area_or_one,
        signed / area_or_one,
        (logits.sum(2) - signed) / rest,
    )
    return torch.stack(columns, dim=2)
