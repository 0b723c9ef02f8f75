"""Read a model's sizes off the shapes of its tensors, in the original key layout.

Every function gives the dict from which transformers, or for MobileSAM `models.mobile_sam`, builds the same
architecture. What a tensor cannot tell is taken from the published models, and named in the second value, the
assumptions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor

from maskwright.errors import InputError

Tensors = Mapping[str, Tensor]
Config = dict[str, Any]

# All published SAM and SAM 2 decoders; the projections' shapes do not depend on it.
DECODER_HEADS = 8
# The originals build the two-way transformer with torch's default; transformers' SAM has 1e-6.
DECODER_EPS = 1e-5

# SAM 2 by width of the first stage: heads of that stage, window sizes, global blocks by stage depths
# (facebookresearch/sam2, configs/sam2.1). None of them leaves a trace in the tensors.
SAM2_HEADS = {96: 1, 112: 2, 144: 2}
SAM2_WINDOWS = {144: (8, 4, 16, 8)}
SAM2_GLOBAL: dict[tuple[int, ...], tuple[int, ...]] = {
    (1, 2, 7, 2): (5, 7, 9),
    (1, 2, 11, 2): (7, 10, 13),
    (2, 3, 16, 3): (12, 16, 20),
    (2, 6, 36, 4): (23, 33, 43),
}
MOBILE_PUBLISHED_SIDE, MOBILE_STRIDE = 1024, 16
SAM2_PUBLISHED_SIDE, SAM2_OTHER_SIDE = 1024, 256


def sam_config(tensors: Tensors, num_heads: int | None) -> tuple[Config, tuple[str, ...]]:
    """Sizes of a Meta SAM or merged SAM-HQ checkpoint; only the decoder's head count is assumed."""
    vision = _sam_vision(tensors)
    return _with_sam_decoder(tensors, vision, vision["patch_size"], num_heads)


def mobile_sam_config(
    tensors: Tensors, num_heads: int | None, image_size: int | None
) -> tuple[Config, tuple[str, ...]]:
    """Sizes of a MobileSAM or Light HQ-SAM checkpoint, and what had to be assumed."""
    vision = _tiny_vit(tensors, MOBILE_PUBLISHED_SIDE if image_size is None else image_size)
    config, assumed = _with_sam_decoder(tensors, vision, MOBILE_STRIDE, num_heads)
    return config, assumed if image_size is not None else (*assumed, f"image size {MOBILE_PUBLISHED_SIDE}")


def early_width(vision: Config) -> int:
    """Channels of the early map that the HQ token's layers take, by the encoder's configuration."""
    # TinyViT's second stage hands it on at the width of the third.
    width: int = vision["widths"][2] if "widths" in vision else vision["hidden_size"]
    return width


def _with_sam_decoder(
    tensors: Tensors, vision: Config, patch_size: int, num_heads: int | None
) -> tuple[Config, tuple[str, ...]]:
    hidden = tensors["prompt_encoder.no_mask_embed.weight"].shape[1]
    decoder, assumed = _decoder(tensors, "mask_decoder.", "mlp.lin1.weight", num_heads)
    decoder["layer_norm_eps"] = DECODER_EPS
    if "mask_decoder.compress_vit_feat.0.weight" in tensors:
        decoder["vit_dim"] = tensors["mask_decoder.compress_vit_feat.0.weight"].shape[0]
    prompt = _prompt(tensors, "prompt_encoder.", hidden, vision["image_size"], patch_size)
    return {"vision_config": vision, "prompt_encoder_config": prompt, "mask_decoder_config": decoder}, assumed


def sam2_config(
    tensors: Tensors, num_heads: int | None, image_size: int | None
) -> tuple[Config, tuple[str, ...]]:
    """Sizes of a Meta SAM 2 / 2.1 checkpoint, and what had to be assumed."""
    backbone, assumed = _hiera(tensors)
    if image_size is None:
        image_size = SAM2_PUBLISHED_SIDE if backbone["hidden_size"] in SAM2_HEADS else SAM2_OTHER_SIDE
        assumed += (f"image size {image_size}",)
    backbone["image_size"] = [image_size, image_size]
    neck = "image_encoder.neck.convs."
    weights = [tensors[f"{neck}{i}.conv.weight"] for i in range(_count(tensors, neck))]
    kernel = weights[0].shape[-1]
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [weight.shape[1] for weight in weights],
        "backbone_feature_sizes": [[image_size // stride] * 2 for stride in (4, 8, 16)],
        "fpn_hidden_size": weights[0].shape[0],
        "fpn_kernel_size": kernel,
        "fpn_padding": kernel // 2,
    }
    decoder, heads = _decoder(tensors, "sam_mask_decoder.", "mlp.layers.0.weight", num_heads)
    # The released predictor has the fallback on for the published models; the tensors do not tell.
    decoder["dynamic_multimask_via_stability"] = backbone["hidden_size"] in SAM2_HEADS
    prompt = _prompt(tensors, "sam_prompt_encoder.", weights[0].shape[0], image_size, 16)
    config = {"vision_config": vision, "prompt_encoder_config": prompt, "mask_decoder_config": decoder}
    return config, (*heads, *assumed)


def _count(tensors: Tensors, prefix: str) -> int:
    """How many numbered modules lie below a prefix."""
    numbers = {int(match[1]) for key in tensors if (match := re.match(re.escape(prefix) + r"(\d+)\.", key))}
    return len(numbers)


def _sam_vision(tensors: Tensors) -> Config:
    patch = tensors["image_encoder.patch_embed.proj.weight"]
    grid, hidden = tensors["image_encoder.pos_embed"].shape[1], patch.shape[0]
    depth = _count(tensors, "image_encoder.blocks.")
    first = "image_encoder.blocks.0."
    # A relative position table has 2 × side − 1 rows, where side is the window's, or the grid's if global.
    spans = [(tensors[f"image_encoder.blocks.{i}.attn.rel_pos_h"].shape[0] + 1) // 2 for i in range(depth)]
    return {
        "hidden_size": hidden,
        "output_channels": tensors["image_encoder.neck.0.weight"].shape[0],
        "num_hidden_layers": depth,
        "num_attention_heads": hidden // tensors[f"{first}attn.rel_pos_h"].shape[1],
        "num_channels": patch.shape[1],
        "image_size": grid * patch.shape[-1],
        "patch_size": patch.shape[-1],
        "qkv_bias": f"{first}attn.qkv.bias" in tensors,
        "window_size": min(spans),
        "global_attn_indexes": [i for i, span in enumerate(spans) if span == grid],
        "num_pos_feats": tensors["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"].shape[1],
        "mlp_dim": tensors[f"{first}mlp.lin1.weight"].shape[0],
    }


def _tiny_vit(tensors: Tensors, image_size: int) -> Config:
    if image_size < MOBILE_STRIDE or image_size % MOBILE_STRIDE:
        raise InputError(f"image_size={image_size}: a MobileSAM takes a multiple of {MOBILE_STRIDE}.")
    layers = "image_encoder.layers."
    stages = range(_count(tensors, layers))
    # A convolution of the first stage, and the layer norms before attention of the others.
    narrow = tensors[f"{layers}0.blocks.0.conv1.c.weight"]
    widths = [tensors[f"{layers}{stage}.blocks.0.attn.norm.weight"].shape[0] for stage in stages[1:]]
    biases = [tensors[f"{layers}{stage}.blocks.0.attn.attention_biases"] for stage in stages[1:]]
    hidden = tensors[f"{layers}1.blocks.0.mlp.fc1.weight"].shape[0]
    return {
        "image_size": image_size,
        "widths": [narrow.shape[1], *widths],
        "depths": [_count(tensors, f"{layers}{stage}.blocks.") for stage in stages],
        "heads": [table.shape[0] for table in biases],
        "windows": [math.isqrt(table.shape[1]) for table in biases],
        "mlp_ratio": hidden / widths[0],
        "expand_ratio": narrow.shape[0] / narrow.shape[1],
        "output_channels": tensors["image_encoder.neck.0.weight"].shape[0],
        "num_pos_feats": tensors["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"].shape[1],
        "classes": tensors["image_encoder.head.weight"].shape[0],
    }


def _prompt(tensors: Tensors, prefix: str, hidden: int, image_size: int, patch_size: int) -> Config:
    return {
        "hidden_size": hidden,
        "image_size": image_size,
        "patch_size": patch_size,
        "mask_input_channels": tensors[f"{prefix}mask_downscaling.3.weight"].shape[0],
        "num_point_embeddings": _count(tensors, f"{prefix}point_embeddings."),
    }


def _decoder(
    tensors: Tensors, prefix: str, mlp: str, num_heads: int | None
) -> tuple[Config, tuple[str, ...]]:
    hidden = tensors[f"{prefix}iou_token.weight"].shape[1]
    inner = tensors[f"{prefix}transformer.layers.0.cross_attn_token_to_image.q_proj.weight"].shape[0]
    heads = DECODER_HEADS if num_heads is None else num_heads
    if heads < 1 or inner % heads:
        raise InputError(f"num_heads={heads} does not divide the decoder's attention width {inner}.")
    config = {
        "hidden_size": hidden,
        "mlp_dim": tensors[f"{prefix}transformer.layers.0.{mlp}"].shape[0],
        "num_hidden_layers": _count(tensors, f"{prefix}transformer.layers."),
        "num_attention_heads": heads,
        "attention_downsample_rate": hidden // inner,
        "num_multimask_outputs": tensors[f"{prefix}mask_tokens.weight"].shape[0] - 1,
        "iou_head_depth": _count(tensors, f"{prefix}iou_prediction_head.layers."),
        "iou_head_hidden_dim": tensors[f"{prefix}iou_prediction_head.layers.0.weight"].shape[0],
    }
    return config, () if num_heads is not None else (f"{heads} decoder heads",)


def _hiera(tensors: Tensors) -> tuple[Config, tuple[str, ...]]:
    trunk = "image_encoder.trunk."
    patch = tensors[f"{trunk}patch_embed.proj.weight"]
    depth = _count(tensors, f"{trunk}blocks.")
    widths = [tensors[f"{trunk}blocks.{i}.norm2.weight"].shape[0] for i in range(depth)]
    # A stage ends where the width changes: that block has a projection on its skip connection.
    starts = [0, *(i for i in range(1, depth) if f"{trunk}blocks.{i}.proj.weight" in tensors), depth]
    depths = [after - before for before, after in pairwise(starts)]
    width, stages = widths[0], len(depths)
    window = tensors[f"{trunk}pos_embed_window"].shape[-1]
    windows = [window, *SAM2_WINDOWS.get(width, (8, 4, 14, 7))[1:stages]]
    heads = SAM2_HEADS.get(width, 1)
    global_blocks = _global_blocks(depths)
    config = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_channels": patch.shape[1],
        "patch_kernel_size": list(patch.shape[-2:]),
        "patch_padding": [side // 2 for side in patch.shape[-2:]],
        "window_positional_embedding_background_size": list(tensors[f"{trunk}pos_embed"].shape[-2:]),
        "num_query_pool_stages": stages - 1,
        "blocks_per_stage": depths,
        "embed_dim_per_stage": [widths[start] for start in starts[:-1]],
        "num_attention_heads_per_stage": [heads * 2**stage for stage in range(stages)],
        "window_size_per_stage": windows,
        "global_attention_blocks": global_blocks,
        "mlp_ratio": tensors[f"{trunk}blocks.0.mlp.layers.0.weight"].shape[0] / width,
    }
    assumed = (
        f"encoder heads {config['num_attention_heads_per_stage']}",
        f"windows {windows}",
        f"global blocks {global_blocks}",
    )
    return config, assumed


def _global_blocks(depths: list[int]) -> list[int]:
    """Blocks with global attention: published depths by table, others by the rule that Tiny and Small follow.

    That rule counts back from the end of the third stage in steps of a third of its depth, three
    blocks at most, and leaves out the stage's first block, which pools its queries.
    """
    if tuple(depths) in SAM2_GLOBAL:
        return list(SAM2_GLOBAL[tuple(depths)])
    third = min(2, len(depths) - 1)
    start, end = sum(depths[:third]), sum(depths[: third + 1])
    step = max(1, depths[third] // 3)
    return [block for block in (end - 1 - 2 * step, end - 1 - step, end - 1) if block > start]


def segformer_config(tensors: Tensors) -> tuple[Config, tuple[str, ...]]:
    """Sizes of a SegFormer by its tensors, under transformers' names, and what had to be assumed.

    Raises:
        KeyError, IndexError: a tensor is missing or misshapen.
    """
    stages = [f"segformer.stages.{i}." for i in range(4)]
    projections = [tensors[f"{stage}patch_embeddings.proj.weight"] for stage in stages]
    reductions = [
        tensors.get(f"{stage}blocks.0.attention.sequence_reduction.sequence_reduction.weight")
        for stage in stages
    ]
    config = {
        "model_type": "segformer",
        "hidden_sizes": [projection.shape[0] for projection in projections],
        "patch_sizes": [projection.shape[2] for projection in projections],
        "depths": [_count(tensors, f"{stage}blocks.") for stage in stages],
        "sr_ratios": [1 if reduction is None else reduction.shape[2] for reduction in reductions],
        "mlp_ratios": [
            tensors[f"{stage}blocks.0.mlp.fc1.weight"].shape[0] // projection.shape[0]
            for stage, projection in zip(stages, projections, strict=True)
        ],
        "decoder_hidden_size": tensors["decode_head.linear_fuse.weight"].shape[0],
    }
    return config, ("attention heads 1, 2, 5, 8", "strides 4, 2, 2, 2")
