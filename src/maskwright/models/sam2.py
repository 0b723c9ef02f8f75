"""SAM 2 and 2.1 for single images (Ravi et al. 2024), over transformers' modules.

The forward pass is our own: it returns all four masks and the decoder's tokens, takes any number of prompts
per image with their own mask prompts, keeps no state, and skips what only video needs.

Measured against transformers: its layer norms have the original's eps here (1e-5 in the two-way transformer,
1e-6 elsewhere), so that nothing has to be corrected, unlike in its SAM and SAM-HQ.

Axes: B images, N prompts, A = B·N, P points, M mask tokens, T tokens, C channels, H W h w sizes, S side.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.sam2.configuration_sam2 import Sam2Config
from transformers.models.sam2.modeling_sam2 import Sam2Model

from maskwright.models.base import Decoded, Features, MaskModel, PromptBatch, per_prompt
from maskwright.models.guidance import run_two_way
from maskwright.models.sam import apply_kernels, encode_positions, image_positions

# Rows of the point embedding: background click, object click, upper left corner, lower right corner.
CORNERS = (2, 3)


class SAM2(MaskModel):
    """SAM 2's image predictor; `net` is transformers' `Sam2Model`, so that its checkpoints fit."""

    family = "sam2"
    resize = "stretch"
    first_mask_token = 2

    def __init__(self, net: Sam2Model) -> None:
        super().__init__()
        self.net = net
        self.image_size = int(net.config.prompt_encoder_config.image_size)
        self.low_res = self.image_size // 4

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SAM2:
        """Build a model with random weights from `config_dict()`."""
        return cls(Sam2Model(Sam2Config(**config)))

    def config_dict(self) -> dict[str, Any]:
        """Transformers' configuration of `net`."""
        config: dict[str, Any] = self.net.config.to_dict()
        return config

    def encode(self, pixels_B3SS: Tensor) -> Features:
        """Encode normalised square images; the image embedding has the no-memory embedding in it.

        `high_res` are the decoder's projections at stride 4 (C/8 channels) and stride 8 (C/4).
        """
        decoder = self.net.mask_decoder
        stages = self.net.vision_encoder.backbone(pixels_B3SS).intermediate_hidden_states
        fine, middle, coarse = self._pyramid(stages)
        image = coarse + self.net.no_memory_embedding.flatten()[:, None, None]
        return Features(image, high_res=(decoder.conv_s0(fine), decoder.conv_s1(middle)))

    def decode(self, features: Features, prompts: PromptBatch) -> Decoded:
        """Decode N prompts of each image; the tokens are IoU, four masks, object score."""
        return with_fallback(self.network(features, prompts), self.stability)

    @property
    def stability(self) -> tuple[float, float] | None:
        """Delta and threshold of `replace_unstable`, if the model falls back on its other masks."""
        settings = self.net.config.mask_decoder_config
        if not settings.dynamic_multimask_via_stability:
            return None
        return settings.dynamic_multimask_stability_delta, settings.dynamic_multimask_stability_thresh

    def network(self, features: Features, prompts: PromptBatch) -> Decoded:
        """One pass, without the fallback on other masks."""
        batch, count = prompts.shape
        decoder = self.net.mask_decoder
        sparse, dense = prompts.embedded or (self._sparse(prompts), self._dense(prompts))
        output_ATC, dense = self.with_task(prompts, dense)
        source = per_prompt(features.image, count) + dense
        queries = torch.cat([output_ATC.expand(batch * count, -1, -1), sparse], dim=1)
        position = image_positions(self.net, *source.shape[-2:])
        tokens, image = run_two_way(decoder.transformer, queries, source, position, prompts.guidance)
        number = decoder.num_mask_tokens
        score, iou_token, mask_tokens = tokens[:, :1], tokens[:, 1:2], tokens[:, 2 : 2 + number]
        fine, middle = (per_prompt(level, count) for level in features.high_res)
        up = F.gelu(decoder.upscale_layer_norm(decoder.upscale_conv1(image) + middle))
        up = F.gelu(decoder.upscale_conv2(up) + fine)
        heads = zip(decoder.output_hypernetworks_mlps, mask_tokens.unbind(1), strict=True)
        masks = apply_kernels(torch.stack([head(token) for head, token in heads], dim=1), up)
        iou = decoder.iou_prediction_head(iou_token[:, 0])
        kept = torch.cat([iou_token, mask_tokens, score], dim=1)
        masks, iou, kept = (part.unflatten(0, (batch, count)) for part in (masks, iou, kept))
        return Decoded(masks, iou, kept)

    def output_tokens(self) -> Tensor:
        """Object score, IoU and four masks."""
        decoder = self.net.mask_decoder
        learned = (decoder.obj_score_token, decoder.iou_token, decoder.mask_tokens)
        return torch.cat([token.weight for token in learned])

    def _pyramid(self, stages: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """The neck's maps at strides 4, 8 and 16; those named in the config get the coarser one added."""
        neck = self.net.vision_encoder.neck
        last = len(stages) - 1
        levels: list[Tensor] = []
        for index in range(last, -1, -1):
            level = neck.convs[last - index](stages[index].permute(0, 3, 1, 2))
            if levels and index in neck.fpn_top_down_levels:
                level = level + F.interpolate(levels[-1], scale_factor=2.0, mode="nearest")
            levels.append(level)
        return levels[-1], levels[-2], levels[-3]

    def _sparse(self, prompts: PromptBatch) -> Tensor:
        """Prompt tokens (A, T, C): box corners, points, and one "not a point"; none for a mask alone."""
        encoder = self.net.prompt_encoder
        batch = prompts.shape[0] * prompts.shape[1]
        parts = []
        if prompts.boxes is not None:
            corners = encoder.point_embed.weight[list(CORNERS)]
            parts.append(self._positions(prompts.boxes.reshape(batch, 2, 2)) + corners)
        if prompts.points is not None and prompts.labels is not None:
            labels = prompts.labels.flatten(0, 1)
            known = self._positions(prompts.points.flatten(0, 1)) + encoder.point_embed(labels.clamp(min=0))
            parts.append(torch.where(labels[..., None] < 0, encoder.not_a_point_embed.weight, known))
        if not parts:
            return torch.zeros(batch, 0, encoder.hidden_size, device=encoder.no_mask_embed.weight.device)
        parts.append(encoder.not_a_point_embed.weight.expand(batch, 1, -1))
        return torch.cat(parts, dim=1)

    def _positions(self, points: Tensor) -> Tensor:
        """Fourier encoding (…, C) of points (…, 2) in pixels of the input; a pixel's centre is at + 0.5."""
        matrix = self.net.prompt_encoder.shared_embedding.positional_embedding
        return encode_positions(matrix, (points.float() + 0.5) / self.image_size).to(matrix.dtype)

    def _dense(self, prompts: PromptBatch) -> Tensor:
        """Mask prompts (A, C, h, w), or the "no mask" embedding (1, C, 1, 1)."""
        encoder = self.net.prompt_encoder
        dense: Tensor
        if prompts.masks is None:
            dense = encoder.no_mask_embed.weight[:, :, None, None]
        else:
            dense = encoder.mask_embed(prompts.masks.flatten(0, 1)[:, None])
        return dense


def with_fallback(decoded: Decoded, stability: tuple[float, float] | None) -> Decoded:
    """What the decoder gave, after `replace_unstable` with this delta and threshold; None: as it is."""
    if stability is None:
        return decoded
    masks, iou, replaced = replace_unstable(decoded.masks, decoded.iou, *stability)
    return replace(decoded, masks=masks, iou=iou, replaced=replaced)


def replace_unstable(
    masks_BNMHW: Tensor, iou_BNM: Tensor, delta: float, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """SAM 2's dynamic multi-mask fallback: an unstable single mask (0) becomes the best of the others.

    Stability is the IoU of the mask at logits above `delta` and above -`delta` (Ravi et al. 2024, released
    predictor's default for the published models).

    Returns:
        The masks, their scores, and the number of the mask token that each mask is of now, (B, N, M).
    """
    single = masks_BNMHW[:, :, 0]
    inner, outer = ((single > limit).sum(dim=(-1, -2)).float() for limit in (delta, -delta))
    unstable = torch.where(outer > 0, inner / outer.clamp(min=1), 1.0) < threshold
    best = torch.where(unstable, 1 + iou_BNM[:, :, 1:].argmax(dim=2), 0)[..., None]
    chosen = masks_BNMHW.take_along_dim(best[..., None, None], dim=2)
    masks = torch.cat([chosen, masks_BNMHW[:, :, 1:]], dim=2)
    others = torch.arange(1, iou_BNM.shape[2], device=best.device).expand_as(iou_BNM[:, :, 1:])
    scores = torch.cat([iou_BNM.gather(2, best), iou_BNM[:, :, 1:]], dim=2)
    return masks, scores, torch.cat([best, others], dim=2)
