"""From a place to a mask: the first mask is given back to the decoder twice (PerSAM, section 3.2).

Axes: N prompts, S scales, M masks of a prompt, h w low resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from maskwright.models.base import Decoded
from maskwright.models.guidance import Guidance
from maskwright.types import Embedding, HQMode, Masks, Prompts

if TYPE_CHECKING:
    from maskwright.models.segmenter import Segmenter


@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass of the decoder gave for N prompts.

    Args:
        own: (N, M, h, w) SAM's own logits, which are given back.
        masks: (N, M, h, w) logits of the masks: the same, or with the HQ token's.
        iou: (N, M) predicted IoU.
        tokens: (N, T, C) the decoder's output tokens.
        mask_token: (N, M) which of the mask tokens each mask is of; of a sum the one with the highest score.
        boxes: (N, 4) the box that was asked with, NaN where there was none; or None.
    """

    own: Tensor
    masks: Tensor
    iou: Tensor
    tokens: Tensor
    mask_token: Tensor
    boxes: Tensor | None = None

    def best(self) -> Pass:
        """Of each prompt the mask with the highest predicted IoU: M becomes 1."""
        pick = self.iou.argmax(dim=1, keepdim=True)
        own, masks = (part.take_along_dim(pick[..., None, None], dim=1) for part in (self.own, self.masks))
        iou, made_by = (part.gather(1, pick) for part in (self.iou, self.mask_token))
        return Pass(own, masks, iou, self.tokens, made_by, self.boxes)


def guided_start(
    segmenter: Segmenter, embedding: Embedding, points: Prompts, guidance: Guidance | None
) -> Pass:
    """PerSAM's first pass: the single mask, guided by the target, without the HQ token."""
    decoded = segmenter.decode_all(embedding, points, guidance=guidance)
    return _plain(decoded, slice(0, 1))


def scaled_start(
    segmenter: Segmenter, embedding: Embedding, points: Prompts, weights_NS: Tensor, hq: HQMode
) -> Pass:
    """PerSAM-F's first pass: the weighted sum of the scales; what goes back is SAM's part of it."""
    decoded = segmenter.decode_all(embedding, points, multimask=True)
    scales, own = scales_of(decoded, hq), decoded.masks.shape[2] - 1
    masks = torch.einsum("ns,nshw->nhw", weights_NS, scales)[:, None]
    back = torch.einsum("ns,nshw->nhw", weights_NS[:, :own], scales[:, :own])[:, None]
    iou, best = decoded.iou[0, :, 1:].max(dim=1, keepdim=True)
    return Pass(back, masks, iou, decoded.tokens[0], decoded.mask_token[0, :, 1:].gather(1, best))


def plain_start(segmenter: Segmenter, embedding: Embedding, prompts: Prompts, hq: HQMode) -> Pass:
    """A first pass that nothing guides: of the three masks that with the highest predicted IoU."""
    return _asked(segmenter, embedding, prompts, hq).best()


def scales_of(decoded: Decoded, hq: HQMode) -> Tensor:
    """(N, S, h, w) what PerSAM-F weighs: SAM's three masks, and the HQ token's logits (of the best one)."""
    own = decoded.masks[0, :, 1:]
    if decoded.hq is None or hq == "off":
        return own
    extra = decoded.hq[0]
    if extra.shape[1] > 1:
        best = decoded.iou[0, :, 1:].argmax(dim=1)[:, None, None, None]
        extra = extra[:, 1:].take_along_dim(best, dim=1)
    return torch.cat([own, extra], dim=1)


def refine(
    segmenter: Segmenter,
    embedding: Embedding,
    points: Prompts,
    start: Pass,
    *,
    hq: HQMode,
    box_at_once: bool,
) -> tuple[Pass, Pass]:
    """The second and the third pass: points and logits given back, the third with the second's box.

    Args:
        segmenter: the model.
        embedding: of the image.
        points: the N prompts of the first pass.
        start: the first pass, M = 1.
        hq: which logits make the masks.
        box_at_once: the second pass gets the first's box, as in PerSAM-F.

    Returns:
        All masks of both passes; see `Pass.best`. Of a prompt whose second mask is empty, the third pass gets
        no box.
    """
    boxes = _boxes(start, embedding) if box_at_once else None
    second = _again(segmenter, embedding, points, start, boxes, hq)
    chosen = second.best()
    return second, _again(segmenter, embedding, points, chosen, _boxes(chosen, embedding), hq)


def _again(
    segmenter: Segmenter,
    embedding: Embedding,
    points: Prompts,
    before: Pass,
    boxes_N4: Tensor | None,
    hq: HQMode,
) -> Pass:
    prompts = Prompts(points.points, points.labels, boxes_N4, before.own[:, 0].cpu())
    return _asked(segmenter, embedding, prompts, hq)


def _asked(segmenter: Segmenter, embedding: Embedding, prompts: Prompts, hq: HQMode) -> Pass:
    """The three masks of each prompt, with the HQ token's part in them."""
    decoded = segmenter.decode_all(embedding, prompts, multimask=True)
    plain = replace(_plain(decoded, slice(1, None)), boxes=prompts.boxes)
    if decoded.hq is None or hq == "off":
        return plain
    # One HQ map for all masks (SAM-HQ), or one for each (nano).
    extra = decoded.hq[0] if decoded.hq.shape[2] == 1 else decoded.hq[0, :, 1:]
    return replace(plain, masks=extra.expand_as(plain.own) if hq == "only" else plain.own + extra)


def _plain(decoded: Decoded, chosen: slice) -> Pass:
    own = decoded.masks[0, :, chosen]
    return Pass(own, own, decoded.iou[0, :, chosen], decoded.tokens[0], decoded.mask_token[0, :, chosen])


def _boxes(found: Pass, embedding: Embedding) -> Tensor:
    """(N, 4) from the first to the last pixel of each mask; NaN for an empty one."""
    masks = Masks(found.masks, found.iou, embedding.geometry)
    # One at a time: at the size of a large photo, the masks of many candidates would fill the memory.
    boxes = torch.cat([torch.from_numpy(masks[row].boxes()[:, 0]) for row in range(len(masks))])
    empty = boxes[:, 2] == 0
    # Corners are pixels, as in the release; a mask of one column keeps a box that is one wide.
    boxes[:, 2:] = torch.maximum(boxes[:, 2:] - 1, boxes[:, :2] + 1)
    boxes[empty] = torch.nan
    return boxes
