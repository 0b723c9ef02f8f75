"""Choosing among the masks of a decoder.

Axes: B images, N prompts, M masks, h w low resolution.
"""

from __future__ import annotations

from torch import Tensor

from maskwright.errors import InputError
from maskwright.models.base import Decoded
from maskwright.types import HQMode


def select(decoded: Decoded, multimask: bool, hq: HQMode) -> tuple[Tensor, Tensor, Tensor]:
    """Choose masks (B, N, M, h, w), scores and mask tokens (B, N, M) among what a decoder returned.

    Without HQ, or with an HQ map per mask token: mask 0, or the ambiguous masks 1…, each with its own map.
    With a single HQ map (SAM-HQ as published): mask 0, or the best-scored ambiguous mask, with that map.

    Raises:
        InputError: hq="only" for a model without an HQ token.
    """
    chosen = slice(1, None) if multimask else slice(0, 1)
    masks, iou = decoded.masks[:, :, chosen], decoded.iou[:, :, chosen]
    made_by = decoded.mask_token[:, :, chosen]
    if hq == "off":
        return masks, iou, made_by
    if decoded.hq is None:
        if hq == "only":
            raise InputError("hq='only' needs a model with an HQ token, such as SAM-HQ or nano.")
        return masks, iou, made_by
    if decoded.hq.shape[2] == decoded.masks.shape[2]:
        refined = decoded.hq[:, :, chosen]
    else:
        best = iou.argmax(dim=2, keepdim=True)
        iou, masks = iou.gather(2, best), masks.take_along_dim(best[..., None, None], dim=2)
        made_by = made_by.gather(2, best)
        refined = decoded.hq
    return (refined if hq == "only" else masks + refined), iou, made_by
