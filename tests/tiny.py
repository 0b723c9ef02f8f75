"""A model with random weights that is small enough to be instant."""

from __future__ import annotations

from pathlib import Path

import torch

from maskwright.models.nano import Nano, NanoConfig
from maskwright.models.registry import save


def save_tiny_model(folder: Path) -> Path:
    """Write it into `folder` and return the file."""
    torch.manual_seed(0)
    sizes = {"image_size": 64, "stem": 8, "fine": 8, "middle": 16, "coarse": 32, "width": 32, "detail": 8}
    return save(
        Nano(NanoConfig(**sizes, depth=1, heads=2, decoder_heads=2, mlp=32)), folder / "tiny.safetensors"
    )
