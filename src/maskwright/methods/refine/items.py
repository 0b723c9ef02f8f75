"""From human masks to training pairs: what the frozen base model really answers to one click on each.

Axes: B photos, N objects of each, A = pairs kept of B x N, M masks of one click, S input side, h w low
resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.losses.masks import actual_iou
from maskwright.methods.automatic.filters import tight_boxes
from maskwright.methods.finetune.items import Batch
from maskwright.methods.refine.config import RefinerSettings
from maskwright.methods.refine.refiner import soft_prompt
from maskwright.models.base import Features, MaskModel, PromptBatch
from maskwright.models.selection import select


@dataclass(frozen=True, eq=False)
class Pairs:
    """A masks of the base model and the human masks that they should have been.

    Args:
        photos_A: the photo of each pair: its place in the batch.
        prompts: soft mask, box and click (A, 1, …) in the input's frame.
        targets_ASS: bool human masks.
        weights_ASS: float trust in each pixel: 0 outside the photo and where nobody labelled.
        input_iou_A: IoU of the base's mask with the human one.
        kept: share of the clicks whose mask passed the filters. If none did, there is one pair of weight 0.
    """

    photos_A: Tensor
    prompts: PromptBatch
    targets_ASS: Tensor
    weights_ASS: Tensor
    input_iou_A: Tensor
    kept: Tensor


@torch.no_grad()
def make_pairs(base: MaskModel, features: Features, batch: Batch, settings: RefinerSettings) -> Pairs:
    """Ask the base with each click, take the best of its masks, and keep those that pass the filters.

    SUM, section 3.2.3: the output closest to the human mask, if their IoU is at least 0.7, and if it passes
    the mask generator's filters (predicted IoU, stability, area).
    """
    [(_, clicks)] = batch.groups  # a single kind of prompt, so a single group of all photos
    assert clicks.points is not None
    assert clicks.labels is not None
    answer = base.decode_once(features, clicks)
    logits_BNMhw, scores_BNM, _ = select(answer, multimask=True, hq=settings.hq)
    logits_AMhw, scores_AM = logits_BNMhw.flatten(0, 1).float(), scores_BNM.flatten(0, 1).float()
    count = batch.masks.shape[1]
    targets_ASS, weights_BNSS = batch.masks.flatten(0, 1), _trust(batch)
    weights_ASS = weights_BNSS.flatten(0, 1)
    ious_AM = _low_res_iou(logits_AMhw, targets_ASS, weights_ASS)
    best_A1 = ious_AM.argmax(dim=1, keepdim=True)
    logits_Ahw = logits_AMhw.take_along_dim(best_A1[..., None, None], dim=1)[:, 0]
    iou_A, score_A = (values.gather(1, best_A1)[:, 0] for values in (ious_AM, scores_AM))
    inside_ASS = inside_photo(batch.pixels).repeat_interleave(count, dim=0)
    masks_ASS = (enlarged(logits_Ahw, targets_ASS.shape[-1]) > 0) & inside_ASS
    area_A = masks_ASS.sum(dim=(-1, -2)) / inside_ASS.sum(dim=(-1, -2)).clamp(min=1)
    fits_A = passes(iou_A, score_A, stability(logits_Ahw, settings.stability_score_offset), area_A, settings)
    kept_A = fits_A & batch.valid.repeat_interleave(count)
    rows = kept_A.nonzero().flatten() if bool(kept_A.any()) else kept_A.new_zeros(1, dtype=torch.long)
    prompts = PromptBatch(
        clicks.points.flatten(0, 1)[rows, None],
        clicks.labels.flatten(0, 1)[rows, None],
        prompt_boxes(masks_ASS[rows])[:, None],
        soft_prompt(logits_Ahw[rows])[:, None],
    )
    return Pairs(
        rows // count,
        prompts,
        targets_ASS[rows],
        weights_ASS[rows] * kept_A[rows, None, None],
        iou_A[rows],
        kept_A.float().mean(),
    )


def passes(
    iou_A: Tensor, score_A: Tensor, stability_A: Tensor, area_A: Tensor, settings: RefinerSettings
) -> Tensor:
    """(A,) bool: which masks are refined; `area_A` is their share of the photo. Empty ones never are."""
    return (
        (iou_A >= settings.min_iou)
        & (score_A >= settings.pred_iou_thresh)
        & (stability_A >= settings.stability_score_thresh)
        & (area_A <= settings.max_area)
        & (area_A > 0)
    )


def stability(logits_AHW: Tensor, offset: float) -> Tensor:
    """(A,) IoU of each mask at logits above `offset` and above -`offset`; 1 where the latter is empty."""
    inner_A, outer_A = ((logits_AHW > limit).sum(dim=(-1, -2)) for limit in (offset, -offset))
    return torch.where(outer_A > 0, inner_A / outer_A.clamp(min=1), 1.0)


def inside_photo(pixels_B3SS: Tensor) -> Tensor:
    """(B, S, S) bool: where the photo is. Padding is exactly zero; no colour is, for means are fractions."""
    return (pixels_B3SS != 0).any(dim=1)


def enlarged(logits_Ahw: Tensor, side: int) -> Tensor:
    """(A, S, S) logits at the input's resolution, bilinear, as `Geometry.to_image` does it."""
    return F.interpolate(logits_Ahw[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]


def prompt_boxes(masks_AHW: Tensor) -> Tensor:
    """(A, 4) float boxes (x0, y0, x1, y1), x1 and y1 exclusive, around bool masks; (0, 0, 1, 1) if empty."""
    last_A4 = torch.from_numpy(tight_boxes(masks_AHW))
    return (last_A4 + torch.tensor([0, 0, 1, 1])).float().to(masks_AHW.device)


def _trust(batch: Batch) -> Tensor:
    """(B, N, S, S) weights: 1 on the photo, less where a label is uncertain."""
    inside = inside_photo(batch.pixels)[:, None].float().expand(batch.masks.shape)
    return inside if batch.weights is None else inside * batch.weights


def _low_res_iou(logits_AMhw: Tensor, targets_ASS: Tensor, weights_ASS: Tensor) -> Tensor:
    """(A, M) IoU of each mask with the truth, at the decoder's resolution."""
    side = logits_AMhw.shape[-1]
    targets, weights = (
        F.adaptive_avg_pool2d(part.float(), side)[:, None].expand_as(logits_AMhw)
        for part in (targets_ASS, weights_ASS)
    )
    return actual_iou(logits_AMhw, targets, weights)
