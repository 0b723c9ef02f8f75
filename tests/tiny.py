"""Models with random weights that are small enough to be instant, and such uncertainty heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImages

from maskwright.models.boundary_files import save_boundary
from maskwright.models.nano import Nano, NanoConfig
from maskwright.models.registry import load, save
from maskwright.models.segformer import SegFormer
from maskwright.models.uncertainty import ENDING, VALUES, HeadsConfig, UncertaintyHeads
from maskwright.types import ByteArray

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


def photo(height: int, width: int, seed: int = 0) -> ByteArray:
    """Smooth noise (H, W, 3)."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return np.array(PILImages.fromarray(small).resize((width, height)))


TINY_SEGFORMER: dict[str, Any] = {
    "hidden_sizes": [8, 8, 16, 16],
    "num_attention_heads": [1, 2, 2, 2],
    "depths": [1, 1, 1, 1],
    "mlp_ratios": [2, 2, 2, 2],
    "decoder_hidden_size": 16,
}


def tiny_boundary(seed: int = 0) -> SegFormer:
    """A SegFormer whose every weight is drawn, so that its logits depend on the image."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = SegFormer.from_config(TINY_SEGFORMER)
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var") or ("norm" in name and name.endswith("weight")):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor.normal_(std=0.3)
    return model.eval()


def save_tiny_boundary(
    path: Path, *, resolution: int | None = None, keep_aspect: bool = False, seed: int = 0
) -> Path:
    """Write a tiny boundary model as our own file (x.safetensors, or a folder) and return the file."""
    return save_boundary(tiny_boundary(seed), path, resolution=resolution, keep_aspect=keep_aspect)


def save_tiny_transformers(folder: Path, classes: int = 1, seed: int = 0) -> Path:
    """Write a tiny boundary model, or a segmenter of so many classes, as transformers does, into a folder."""
    net = tiny_boundary(seed).net
    if classes != 1:
        net.config.num_labels = classes
        net.decode_head.classifier = torch.nn.Conv2d(TINY_SEGFORMER["decoder_hidden_size"], classes, 1)
    net.save_pretrained(folder)
    return folder
