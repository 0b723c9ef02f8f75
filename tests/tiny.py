"""A model with random weights that is small enough to be instant, and such uncertainty heads."""

from __future__ import annotations

from pathlib import Path

import torch

from maskwright.models.nano import Nano, NanoConfig
from maskwright.models.registry import load, save
from maskwright.models.uncertainty import ENDING, VALUES, HeadsConfig, UncertaintyHeads

WIDTH = 32
"""Channels of the tiny model's tokens."""


def save_tiny_model(folder: Path) -> Path:
    """Write it into `folder` and return the file."""
    torch.manual_seed(0)
    sizes = {"image_size": 64, "stem": 8, "fine": 8, "middle": 16, "coarse": 32, "width": WIDTH, "detail": 8}
    return save(
        Nano(NanoConfig(**sizes, depth=1, heads=2, decoder_heads=2, mlp=32)), folder / "tiny.safetensors"
    )


def random_heads(
    inputs: int, digest: str, hidden: tuple[int, ...] = (16, 8), seed: int = 0
) -> UncertaintyHeads:
    """Heads of the kind "selected" for two models, of which the larger one has this digest."""
    models = (("small", "0"), ("mine", digest))
    heads = UncertaintyHeads(HeadsConfig("selected", VALUES, inputs, hidden, models))
    generator = torch.Generator().manual_seed(seed)
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return heads


def save_tiny_heads(model: Path, file: Path | None = None, seed: int = 0) -> Path:
    """Write random heads for a tiny model, beside it if no other file is given, and return their file."""
    heads = random_heads(2 * WIDTH, load(model, device="cpu", heads=None).digest, seed=seed)
    return heads.save(file or model.with_name(model.stem + ENDING))
