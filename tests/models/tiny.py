"""Small models with random weights that respond to their input, for tests that need no golden files."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

from maskwright.models.mobile_sam import MobileSAM
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.tiny_vit import Unused

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


def tiny_vit_config(side: int = 64) -> dict[str, Any]:
    """TinyViT with windows that leave a rest on maps of side / 8 and side / 16."""
    return {
        "image_size": side,
        "widths": [8, 16, 24, 32],
        "depths": [1, 2, 2, 1],
        "heads": [2, 3, 4],
        "windows": [3, 3, 3],
        "mlp_ratio": 2.0,
        "expand_ratio": 3.0,
        "output_channels": 32,
        "num_pos_feats": 16,
        "classes": 5,
    }


def draw_batch_norms(model: nn.Module) -> None:
    """Factors, shifts and statistics as after training, none of them neutral; the unused classifier, too."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                assert module.num_batches_tracked is not None
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.2)
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2)
                module.num_batches_tracked.fill_(7)
            elif isinstance(module, Unused):
                for buffer in module.buffers():
                    buffer.normal_()


def tiny(family: type[AnySAM], seed: int = 0) -> AnySAM:
    """A model whose every weight is drawn, so that masks depend on image and prompt."""
    config = tiny_config()
    if not issubclass(family, SAMHQ):
        config["mask_decoder_config"].pop("vit_dim")
    if issubclass(family, MobileSAM):
        config["vision_config"] = tiny_vit_config()
        if family.has_hq:
            config["mask_decoder_config"]["vit_dim"] = 24
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)  # the frequencies of the positional encoding are drawn when it is made
        model = family.from_config(config)
        for name, parameter in model.named_parameters():
            if "layer_norm" in name and name.endswith("weight"):
                continue
            parameter.normal_(std=1.0 if "positional" in name or "embed" in name else 0.15)
        draw_batch_norms(model)
    return model.eval()
