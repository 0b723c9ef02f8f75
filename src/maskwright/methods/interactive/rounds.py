"""Interactive rounds on one photo: a first prompt, corrective clicks, and the loss of every answer (README).

Axes: N masks of the photo, M mask tokens, P points, S input side, h w the photo's part of the frame at the
resolution of the loss, "low" the side of the decoder's masks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.data.clicks import next_clicks, sample_clicks
from maskwright.losses.masks import actual_iou
from maskwright.losses.uncertain import uncertain_dice, uncertain_focal
from maskwright.methods.base import Losses
from maskwright.methods.finetune.loss import refined_logits
from maskwright.methods.interactive.config import InteractiveSettings, MachineLabelSettings
from maskwright.methods.interactive.items import Objects
from maskwright.models.base import Decoded, Features, MaskModel, PromptBatch


@dataclass(frozen=True, eq=False)
class Labels:
    """What the masks of one photo should be, without the padding.

    Args:
        masks_Nhw: share of the object in each pixel, 0 to 1.
        certainty_Nhw: weight of each pixel in the losses, or None for 1.
        clickable_Nhw: weight of each pixel as a place to click, or None for 1.
        counted_Nhw: weight of each pixel in the measured IoU, or None for 1.
        side: of the frame that they are cut from.
        pixel: size of a pixel in those of the model's input.
    """

    masks_Nhw: Tensor
    certainty_Nhw: Tensor | None
    clickable_Nhw: Tensor | None
    counted_Nhw: Tensor | None
    side: int
    pixel: int

    @classmethod
    def of(cls, objects: Objects, low: int, settings: MachineLabelSettings) -> Labels:
        """The labels at the resolution of the loss; `low` is the side of the decoder's masks."""
        side = objects.masks.shape[-1]
        pixel = 1 if settings.loss_at == "input" else side // low
        # Rounded up: a mask in the last rows alone must not be lost.
        height, width = (-(-length // pixel) for length in objects.size)

        def read(part: Tensor) -> Tensor:
            return F.avg_pool2d(part.float(), pixel)[:, :height, :width]

        certainty = None if objects.certainty is None else read(objects.certainty) / 255
        weighs = settings.use_uncertainty_loss or not objects.machine
        guides = settings.use_uncertainty_clicks or not objects.machine
        return cls(
            read(objects.masks),
            certainty if weighs else None,
            certainty if guides else None,
            # The score predicts the IoU with the whole label, as published; but pixels that no human has
            # labelled are in no IoU.
            None if objects.machine else certainty,
            side // pixel,
            pixel,
        )

    @property
    def binary_Nhw(self) -> Tensor:
        """The masks as bool."""
        return self.masks_Nhw > 0.5

    def read(self, logits_Nhw: Tensor) -> Tensor:
        """The decoder's logits (N, low, low) at these pixels (N, h, w)."""
        logits = logits_Nhw.float()
        if logits.shape[-1] != self.side:
            size = (self.side, self.side)
            logits = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]
        return logits[:, : self.masks_Nhw.shape[1], : self.masks_Nhw.shape[2]]

    def places(self, points_N2: Tensor) -> Tensor:
        """Pixels (x, y) as points of the model's input."""
        return (points_N2 + 0.5) * self.pixel - 0.5


def interact(
    model: MaskModel, features: Features, objects: Objects, settings: InteractiveSettings
) -> Iterator[Losses]:
    """Ask for all masks of a photo in rounds; yield each round's losses, means over the masks.

    The gradient of a round does not flow into the rounds before it: what they gave is a prompt like any
    other. So the caller may take each loss back before asking for the next.

    Args:
        model: in training mode.
        features: of the one photo.
        objects: N > 0 masks.
        settings: rounds, weights and what certainty is used for.
    """
    labels = Labels.of(objects, model.low_res, settings)
    generator = torch.Generator(objects.masks.device).manual_seed(objects.seed)
    # A model without task prompts knows no tasks.
    task = None if model.task_prompts is None else objects.task
    prompts = replace(first_prompt(objects, labels, generator), task=task)
    for number in range(settings.rounds):
        decoded = model.decode(features, prompts)
        ambiguous = number == 0 and objects.first == "click"
        yield round_losses(decoded, labels, settings, ambiguous=ambiguous)
        answer = answered_logits(decoded, ambiguous=ambiguous)
        # The task is told once; the previous mask carries it on (SUM, Table 2).
        prompts = replace(prompts, masks=answer[None], task=None)
        if number + 2 < settings.rounds or settings.rounds == 2:
            prompts = with_correction(prompts, answer, labels, generator)


def first_prompt(objects: Objects, labels: Labels, generator: torch.Generator) -> PromptBatch:
    """The boxes, or one click on each mask."""
    if objects.first == "box":
        return PromptBatch(boxes=objects.boxes[None])
    points_N2 = labels.places(object_clicks(labels, generator))
    kinds_N = torch.ones(len(points_N2), dtype=torch.long, device=points_N2.device)
    return PromptBatch(points_N2[None, :, None], kinds_N[None, :, None])


def object_clicks(labels: Labels, generator: torch.Generator) -> Tensor:
    """A pixel (N, 2) of each mask, with probability proportional to certainty; uniform where it is all 0."""
    share = labels.masks_Nhw
    # At the decoder's resolution, a thin object may fill no pixel by half.
    region = (share > 0) & (share >= share.amax(dim=(1, 2), keepdim=True).clamp(max=0.5))
    points_N2, found_N = sample_clicks(region, labels.clickable_Nhw, generator)
    if labels.clickable_Nhw is None or bool(found_N.all()):
        return points_N2
    anywhere_N2, _ = sample_clicks(region, None, generator)
    return torch.where(found_N[:, None], points_N2, anywhere_N2)


def with_correction(
    prompts: PromptBatch, answer_Nhw: Tensor, labels: Labels, generator: torch.Generator
) -> PromptBatch:
    """Add a click drawn from where the answer is wrong, with probability proportional to certainty.

    Where it is wrong nowhere, or only where the label is worth nothing, the click is one more on the object.
    """
    answered = labels.read(answer_Nhw) > 0
    points_N2, kinds_N = next_clicks(labels.binary_Nhw, answered, labels.clickable_Nhw, generator)
    found_N = kinds_N >= 0
    if not bool(found_N.all()):
        points_N2 = torch.where(found_N[:, None], points_N2, object_clicks(labels, generator))
        kinds_N = torch.where(found_N, kinds_N, 1)
    points, kinds = labels.places(points_N2)[None, :, None], kinds_N[None, :, None]
    if prompts.points is not None and prompts.labels is not None:
        points = torch.cat([prompts.points, points], dim=2)
        kinds = torch.cat([prompts.labels, kinds], dim=2)
    return replace(prompts, points=points, labels=kinds)


@torch.no_grad()
def answered_logits(decoded: Decoded, *, ambiguous: bool) -> Tensor:
    """(N, low, low) logits of the mask that a user would correct: the single one, or that of best score."""
    masks = decoded.masks[0] if decoded.hq is None else (decoded.masks + decoded.hq)[0]
    token = decoded.iou[0].argmax(dim=1) if ambiguous else decoded.iou.new_zeros(len(masks), dtype=torch.long)
    return masks[torch.arange(len(masks), device=masks.device), token].detach().float()


def round_losses(
    decoded: Decoded, labels: Labels, settings: InteractiveSettings, *, ambiguous: bool
) -> Losses:
    """Loss of one round, means over the N masks: "loss", the sum of the others.

    The single mask learns; after an ambiguous prompt also the best of the three ambiguous ones (SAM, section
    3). For families with an HQ token, its masks and SAM's own both learn, as in fine-tuning.
    """
    refined = refined_logits(decoded)
    outputs = [decoded.masks] if refined is None else [refined, decoded.masks]
    # The score is that of the mask a user gets: nano's refined one, SAM's own in the other families.
    scored = outputs[0] if outputs[0].shape[2] == decoded.masks.shape[2] else decoded.masks
    sums = {name: decoded.iou.new_zeros(()) for name in ("focal", "dice", "iou_head")}
    for logits in outputs:
        tokens = range(logits.shape[2] if ambiguous else 1)
        focal, dice, error = zip(
            *(
                token_losses(labels.read(logits[0, :, token]), decoded.iou[0, :, token], labels, settings)
                for token in tokens
            ),
            strict=True,
        )
        focal_NM, dice_NM = torch.stack(focal, dim=1), torch.stack(dice, dim=1)
        learning_NM = best_tokens(focal_NM + dice_NM)
        sums["focal"] = sums["focal"] + (focal_NM * learning_NM).sum(dim=1).mean()
        sums["dice"] = sums["dice"] + (dice_NM * learning_NM).sum(dim=1).mean()
        if logits is scored:
            sums["iou_head"] = torch.stack(error, dim=1).mean()
    return {"loss": torch.stack([*sums.values()]).sum(), **sums}


def token_losses(
    logits_Nhw: Tensor, score_N: Tensor, labels: Labels, settings: InteractiveSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted focal loss, Dice loss and squared error of the score of one mask token, (N,) each."""
    focal, dice = label_losses(logits_Nhw, labels, settings)
    iou = actual_iou(logits_Nhw.detach(), labels.binary_Nhw, labels.counted_Nhw)
    return focal, dice, settings.iou_weight * (score_N.float() - iou).square()


def label_losses(logits_Nhw: Tensor, labels: Labels, settings: MachineLabelSettings) -> tuple[Tensor, Tensor]:
    """Weighted focal and Dice loss (N,) of logits at the labels' pixels (SUM, eq. 1 and 2)."""
    focal = uncertain_focal(logits_Nhw, labels.masks_Nhw, labels.certainty_Nhw)
    dice = uncertain_dice(logits_Nhw, labels.masks_Nhw, labels.certainty_Nhw, theta=settings.theta)
    return settings.focal_weight * focal, settings.dice_weight * dice


@torch.no_grad()
def best_tokens(total_NM: Tensor) -> Tensor:
    """(N, M) 1 for the single mask and the best of the others, 0 elsewhere."""
    chosen = torch.zeros_like(total_NM)
    chosen[:, 0] = 1
    if total_NM.shape[1] > 1:
        chosen.scatter_(1, 1 + total_NM[:, 1:].argmin(dim=1, keepdim=True), 1.0)
    return chosen
