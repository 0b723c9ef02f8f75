"""Photos and small models to fine-tune."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from methods.finetune.scene import SIDE
from methods.squares import make_squares

from maskwright.models.nano import Nano, NanoConfig
from maskwright.models.registry import save
from maskwright.models.sam import SAM


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_squares(tmp_path_factory.mktemp("photos"), 48, lowest=20, smallest=10)


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small nano with random weights."""
    torch.manual_seed(0)
    config = NanoConfig(SIDE, 8, 8, 16, 16, 1, 2, 16, 2, 32, 8)
    return save(Nano(config), tmp_path_factory.mktemp("nano") / "nano.safetensors")


@pytest.fixture(scope="module")
def sam() -> SAM:
    """A tiny SAM with random weights, built from transformers' own settings."""
    vision = {
        "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": SIDE, "patch_size": 16, "window_size": 2, "global_attn_indexes": [1], "mlp_dim": 32,
        "num_pos_feats": 8,
    }  # fmt: skip
    config = {
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": 16, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4},  # noqa: E501
        "mask_decoder_config": {
            "hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16,
        },
    }  # fmt: skip
    torch.manual_seed(0)
    return SAM.from_config(config)
