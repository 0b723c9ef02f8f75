"""The published training of HQ-SAM as a plain loop, on the model of the package segment-anything-hq.

Written from the recipe as published (Ke et al. 2023; SysCV/sam-hq, train/): SAM frozen, its encoder run anew
in every step without gradients, the decoder run photo by photo, point-sampled BCE and Dice of the HQ logits,
Adam. On purpose otherwise: the frozen decoder's pass, whose masks the release throws away, is left out; the
points of the loss are drawn from a seed of each photo, as ours are, so that losses can be compared; and the
logits keep their value in the outermost half pixel, where the release blends them with zero.

Axes: B photos, N masks of a photo, P points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from peers import stand_in
from torch import Tensor, nn
from torch.utils.data import DataLoader

from maskwright.methods.finetune.items import Item
from maskwright.models.base import PromptBatch
from maskwright.models.checkpoint import NET
from maskwright.models.keys import PROMPT_POSITION, SAM_RULES, original
from maskwright.models.sam_hq import SAMHQ

HQ = ("hf_token", "hf_mlp", "compress_vit_feat", "embedding_encoder", "embedding_maskfeature")
POINTS, OVERSAMPLE, IMPORTANT = 112 * 112, 3, 0.75


def published_model(ours: SAMHQ) -> nn.ModuleDict:
    """The package's encoder, prompt encoder and decoder, with the weights of a model of ours."""
    stand_in()
    from segment_anything_hq import modeling

    config = ours.config_dict()
    vision, prompt, decoder = (
        config[f"{part}_config"] for part in ("vision", "prompt_encoder", "mask_decoder")
    )
    side, grid = vision["image_size"], vision["image_size"] // vision["patch_size"]
    width = decoder["hidden_size"]
    parts = nn.ModuleDict(
        {
            "image_encoder": modeling.ImageEncoderViT(
                depth=vision["num_hidden_layers"],
                embed_dim=vision["hidden_size"],
                img_size=side,
                mlp_ratio=vision["mlp_dim"] / vision["hidden_size"],
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                num_heads=vision["num_attention_heads"],
                patch_size=vision["patch_size"],
                qkv_bias=True,
                use_rel_pos=True,
                global_attn_indexes=vision["global_attn_indexes"],
                window_size=vision["window_size"],
                out_chans=vision["output_channels"],
            ),
            "prompt_encoder": modeling.PromptEncoder(
                embed_dim=width,
                image_embedding_size=(grid, grid),
                input_image_size=(side, side),
                mask_in_chans=prompt["mask_input_channels"],
            ),
            "mask_decoder": modeling.MaskDecoderHQ(
                num_multimask_outputs=3,
                transformer=modeling.TwoWayTransformer(
                    depth=decoder["num_hidden_layers"],
                    embedding_dim=width,
                    mlp_dim=decoder["mlp_dim"],
                    num_heads=decoder["num_attention_heads"],
                ),
                transformer_dim=width,
                iou_head_depth=decoder["iou_head_depth"],
                iou_head_hidden_dim=decoder["iou_head_hidden_dim"],
                vit_dim=vision["hidden_size"],
            ),
        }
    )
    state = {name.removeprefix(NET): value for name, value in ours.state_dict().items()}
    parts.load_state_dict(
        {original(name, SAM_RULES): value for name, value in state.items() if name != PROMPT_POSITION}
    )
    return parts


@dataclass(frozen=True, eq=False)
class PlainBatch:
    """What the loader gives: pixels (B, 3, S, S), masks (B, N, S, S), and each photo's prompts and seed."""

    pixels: Tensor
    masks: Tensor
    prompts: list[PromptBatch]
    seeds: list[int]


def collate(items: Sequence[Item]) -> PlainBatch:
    """Stack what can be stacked."""
    return PlainBatch(
        torch.stack([item.pixels for item in items]),
        torch.stack([item.masks for item in items]).float(),
        [item.prompts for item in items],
        [item.seed for item in items],
    )


class PlainTraining:
    """The loop.

    Args:
        ours: gives the weights.
        rate: of Adam.
    """

    def __init__(self, ours: SAMHQ, rate: float) -> None:
        self.net: Any = published_model(ours).eval()
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(any(part in name for part in HQ))
        learning = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(learning, lr=rate)

    def epoch(self, items: Sequence[Item], batch: int) -> list[float]:
        """Train on ready items once, in their order; the loss of each step."""
        loader: Iterator[PlainBatch] = iter(DataLoader(items, batch_size=batch, collate_fn=collate))  # type: ignore[arg-type]
        return [self.step(part) for part in loader]

    def step(self, batch: PlainBatch) -> float:
        """One step of the optimiser; the loss before it."""
        with torch.no_grad():
            embeddings, early = self.net["image_encoder"](batch.pixels)
        logits = torch.cat(
            [
                self._decode(embeddings[place, None], [level[place, None] for level in early], prompts)
                for place, prompts in enumerate(batch.prompts)
            ]
        )
        seeds = [seed for seed in batch.seeds for _ in range(batch.masks.shape[1])]
        loss = sampled_loss(logits, batch.masks.flatten(0, 1)[:, None], seeds)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def _decode(self, embedding: Tensor, early: list[Tensor], prompts: PromptBatch) -> Tensor:
        """HQ logits (N, 1, h, w) of one photo."""
        encoder = self.net["prompt_encoder"]
        points, boxes, masks = prompts.points, prompts.boxes, prompts.masks
        with torch.no_grad():
            sparse, dense = encoder(
                points=None if points is None else (points, prompts.labels),
                boxes=boxes,
                masks=None if masks is None else masks[:, None],
            )
            position = encoder.get_dense_pe()
        logits: Tensor = self.net["mask_decoder"](
            image_embeddings=embedding,
            image_pe=position,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            hq_token_only=True,
            interm_embeddings=early,
        )[0]
        return logits


def sampled_loss(logits: Tensor, targets: Tensor, seeds: Sequence[int]) -> Tensor:
    """BCE and Dice at points, 75 % of them where the logits are nearest to zero of three times as many.

    Args:
        logits: (A, 1, h, w).
        targets: (A, 1, H, W).
        seeds: of each mask; masks of one photo share it and stand together.
    """
    with torch.no_grad():
        uniform = Uniform(seeds)
        candidates = uniform(OVERSAMPLE * POINTS)
        doubt = -read(logits, candidates).abs()
        important = int(IMPORTANT * POINTS)
        chosen = doubt.topk(important, dim=1).indices
        places = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
        places = torch.cat([places, uniform(POINTS - important)], dim=1)
        truth = read(targets, places)
    found = read(logits, places)
    bce = F.binary_cross_entropy_with_logits(found, truth, reduction="none").mean(dim=1)
    probability = found.sigmoid()
    overlap, total = (probability * truth).sum(dim=1), (probability + truth).sum(dim=1)
    return (bce + 1 - (2 * overlap + 1) / (total + 1)).mean()


class Uniform:
    """Uniform points (A, P, 2); those of a photo's masks come from one source."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.counts = {seed: seeds.count(seed) for seed in seeds}
        self.sources = {seed: torch.Generator().manual_seed(seed) for seed in self.counts}

    def __call__(self, points: int) -> Tensor:
        """So many points of each mask."""
        return torch.cat(
            [
                torch.rand(self.counts[seed], points, 2, generator=source)
                for seed, source in self.sources.items()
            ]
        )


def read(maps: Tensor, places: Tensor) -> Tensor:
    """Read (A, 1, H, W) maps at relative places (A, P, 2), bilinearly: (A, P)."""
    grid = 2 * places[:, None] - 1
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)[:, 0, 0]
