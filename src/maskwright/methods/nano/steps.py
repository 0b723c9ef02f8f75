"""One training step of nano: prompts, a corrective round, losses.

Axes: B photos, K segments (prompts), P points, M mask tokens, h w target size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.losses.masks import actual_iou, bce, dice
from maskwright.models.base import Decoded, Features, PromptBatch
from maskwright.models.nano import LOGIT_LIMIT, Nano

BARE, SILENT = 0.25, 0.35


@dataclass(frozen=True, eq=False)
class Batch:
    """Items stacked: uint8 pixels (B, S, S, 3), targets (B, K, h, w), trusted, edges (B, h, w); prompts."""

    pixels: Tensor
    targets: Tensor
    trusted: Tensor
    edges: Tensor
    points: Tensor
    labels: Tensor
    boxes: Tensor


def normalise(pixels_BSS3: Tensor, model: Nano) -> Tensor:
    """uint8 photos to (B, 3, S, S) float32 as the encoder expects them."""
    mean, std = pixels_BSS3.new_tensor([model.pixel_mean, model.pixel_std], dtype=torch.float32)
    normal: Tensor = (pixels_BSS3.float() - mean) / std
    return normal.permute(0, 3, 1, 2)


def prompts_for(
    model: Nano, features: Features, batch: Batch, targets: Tensor, generator: torch.Generator, share: float
) -> PromptBatch:
    """The prompts to learn from: the first ones, or (in a `share` of the steps) those of a second round.

    The second round adds a corrective click, drawn from where the first answer is wrong, and that answer's
    logits; for a quarter of the prompts nothing but the logits stays, so that a mask alone works as a prompt.
    """
    first = PromptBatch(batch.points, batch.labels, batch.boxes)
    device = generator.device
    if float(torch.rand((), generator=generator, device=device)) >= share:
        return first
    with torch.no_grad():
        answer = best_logits(model.decode_once(features.map(Tensor.detach), first))
    click, label = corrective_clicks(answer > 0, targets > 0.5, batch.trusted[:, None] > 0, generator)
    step = model.image_size / model.low_res
    points = torch.cat([batch.points, ((click + 0.5) * step)[:, :, None]], dim=2)
    labels = torch.cat([batch.labels, label[:, :, None]], dim=2)
    chance = torch.rand(answer.shape[:2], generator=generator, device=device)
    bare, silent = chance < BARE, (chance >= BARE) & (chance < BARE + SILENT)
    labels = torch.where(bare[..., None], -1, labels)
    labels[..., -1] = torch.where(silent, -1, labels[..., -1])
    boxes = torch.where(bare[..., None], torch.nan, batch.boxes)
    return PromptBatch(points, labels, boxes, answer.clamp(-LOGIT_LIMIT, LOGIT_LIMIT))


def best_logits(decoded: Decoded) -> Tensor:
    """(B, K, h, w) summed logits of the mask with the highest predicted IoU."""
    assert decoded.hq is not None
    pick = decoded.iou.argmax(dim=2)[..., None, None, None]
    masks = decoded.masks + decoded.hq
    return masks.gather(2, pick.expand(-1, -1, 1, *masks.shape[-2:]))[:, :, 0]


def corrective_clicks(
    answer: Tensor, target: Tensor, trusted: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A uniform pixel of the wrong region: cells (B, K, 2) as (x, y); labels (B, K), -1 for none."""
    wrong = ((answer != target) & trusted).flatten(2).float()
    cell = torch.multinomial(wrong.flatten(0, 1) + 1e-8, 1, generator=generator).view(wrong.shape[:2])
    positive = target.flatten(2).gather(2, cell[..., None])[..., 0].long()
    labels = torch.where(wrong.sum(dim=2) > 0, positive, -1)
    width = answer.shape[-1]
    return torch.stack([cell % width, cell // width], dim=-1).float(), labels


def mask_losses(logits: Tensor, targets: Tensor, trusted: Tensor) -> Tensor:
    """2 BCE + Dice on trusted cells: (B, K, M, h, w), (B, K, 1, h, w), (B, 1, 1, h, w) give (B, K, M)."""
    targets, trusted = targets.expand_as(logits), trusted.expand_as(logits)
    return 2 * bce(logits, targets, trusted) + dice(logits, targets, trusted)


def step_losses(decoded: Decoded, targets: Tensor, trusted: Tensor) -> dict[str, Tensor]:
    """All losses of a decoded batch; targets (B, K, h, w) float, trusted (B, h, w) float.

    The single mask learns from every prompt; of the three others only the best does (SAM, section 3).
    SAM's logits, the HQ logits and their sum all learn, so that each of the three modes can be used alone.
    The IoU head learns the IoU of the sums.
    """
    assert decoded.hq is not None
    targets, trusted = targets[:, :, None], trusted[:, None, None]
    total = decoded.masks + decoded.hq
    summed = mask_losses(total, targets, trusted)
    best = 1 + summed[..., 1:].detach().argmin(dim=-1, keepdim=True)
    pick = torch.cat([torch.zeros_like(best), best], dim=-1)[..., None, None].expand(
        -1, -1, -1, *total.shape[-2:]
    )
    plain = mask_losses(decoded.masks.gather(2, pick), targets, trusted)
    alone = mask_losses(decoded.hq[:, :, :1], targets, trusted)
    real = actual_iou(total, targets.expand_as(total), trusted.expand_as(total))
    losses = {
        "single": summed[..., 0].mean(),
        "best": summed.gather(2, best).mean(),
        "plain": plain.mean(),
        "hq": alone.mean(),
        "iou_head": F.mse_loss(decoded.iou, real),
    }
    loss = losses["single"] + losses["best"] + 0.3 * losses["plain"] + 0.2 * losses["hq"] + losses["iou_head"]
    return {"loss": loss, **losses, "iou": real[..., 0].mean(), "best_iou": real[..., 1:].amax(dim=-1).mean()}


def edge_loss(logits_BHW: Tensor, edges_BHW: Tensor) -> Tensor:
    """Class-balanced BCE on the outlines (HED, Xie and Tu 2015), where they are known; zero when nowhere."""
    known = (edges_BHW != 255).float()
    target = (edges_BHW > 0).float() * known
    positive = (target.sum() / known.sum().clamp(min=1)).clamp(0.01, 0.99)
    weight = torch.where(target > 0, 1 - positive, positive) * known
    bce = F.binary_cross_entropy_with_logits(logits_BHW, target, reduction="none")
    return (bce * weight).sum() / weight.sum().clamp(min=1)
