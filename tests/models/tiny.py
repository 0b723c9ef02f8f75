"""Small models with random weights that respond to their input, for tests that need no golden files."""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ

AnySAM = TypeVar("AnySAM", bound=SAM)


def tiny_config(side: int = 64, vision_width: int = 32, width: int = 32) -> dict[str, Any]:
    """Four blocks, two of them global, of a SAM or SAM-HQ with an input of `side` pixels."""
    return {
        "vision_config": {
            "hidden_size": vision_width,
            "output_channels": width,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "image_size": side,
            "window_size": 3,
            "global_attn_indexes": [1, 3],
            "num_pos_feats": width // 2,
        },
        "prompt_encoder_config": {"hidden_size": width, "image_size": side},
        "mask_decoder_config": {
            "hidden_size": width,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
            "vit_dim": vision_width,
        },
    }


def tiny(family: type[AnySAM], seed: int = 0) -> AnySAM:
    """A model whose every weight is drawn, so that masks depend on image and prompt."""
    config = tiny_config()
    if not issubclass(family, SAMHQ):
        config["mask_decoder_config"].pop("vit_dim")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)  # the frequencies of the positional encoding are drawn when it is made
        model = family.from_config(config)
        for name, parameter in model.named_parameters():
            if "layer_norm" in name and name.endswith("weight"):
                continue
            parameter.normal_(std=1.0 if "positional" in name or "embed" in name else 0.15)
    return model.eval()
