"""A small world for SUM: wide and tall photos, human masks of some, machine-made ones of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from data.label_sets import LOW, disc, made, make_label_set
from data.miniatures import save

from maskwright.methods.interactive.config import AlternatingSettings, InteractiveSettings
from maskwright.models.nano import Nano, NanoConfig
from maskwright.models.registry import save as save_model

SIDE = 64
SIZES = ((48, 64), (64, 40), (30, 64), (64, 64))


def make_nano(folder: Path) -> Path:
    torch.manual_seed(0)
    return save_model(Nano(NanoConfig(SIDE, 8, 8, 16, 16, 1, 2, 16, 2, 32, 8)), folder / "nano.safetensors")


def make_human(root: Path, count: int = 4) -> Path:
    """Photos of two bright squares each, with label maps."""
    rng = np.random.default_rng(0)
    for index in range(count):
        height, width = SIZES[index % len(SIZES)]
        pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        labels = np.zeros((height, width), np.uint8)
        for k, left in enumerate((2, width // 2 + 1)):
            side = width // 2 - 6
            labels[4 : 4 + side, left : left + side] = k + 1
            pixels[4 : 4 + side, left : left + side] = rng.integers(170, 250, 3)
        save(root / "images" / f"{index}.png", pixels)
        save(root / "labels" / f"{index}.png", labels)
    return root


def make_machine(root: Path, *, refined: bool = True) -> Path:
    """A labelled set of four photos: discs whose refined form is smaller; the last photo has no mask."""
    photos = {
        f"{index}.png": [
            made(size, disc(x, 5.0, 3.5), disc(x, 5.0, 2.5)) for x in (3.0, 6.0)[: 2 if size[1] > 40 else 1]
        ]
        for index, size in enumerate(SIZES[:3])
    }
    assert LOW == 16
    return make_label_set(root, {**photos, "3.png": []}, sizes={"3.png": SIZES[3]}, refined=refined)


def sum_settings(world: Path, **changes: Any) -> InteractiveSettings:
    """Settings for a world made below `world` by the functions above."""
    values: dict[str, Any] = {
        "steps": 2,
        "batch_size": 2,
        "model": str(world / "nano.safetensors"),
        "labeled": (f"labels:{world / 'human'}",),
        "unlabeled": (str(world / "machine/set"),),
        "min_refine_ratio": 1.0,
        "val_share": 0.0,
        "max_masks": 3,
        "rounds": 4,
        "device": "cpu",
    }
    return InteractiveSettings.model_validate({**values, **changes})


def alternating_settings(world: Path, **changes: Any) -> AlternatingSettings:
    values: dict[str, Any] = {
        "steps": 2,
        "batch_size": 2,
        "model": str(world / "nano.safetensors"),
        "data": (f"labels:{world / 'human'}",),
        "unlabeled": (str(world / "machine/set"),),
        "min_refine_ratio": 1.0,
        "val_share": 0.0,
        "train": "hq",
        "masks_per_image": 2,
        "loss_points": 128,
        "augment": "flip",
        "device": "cpu",
    }
    return AlternatingSettings.model_validate({**values, **changes})


def make_world(root: Path) -> Path:
    make_nano(root)
    make_human(root / "human")
    make_machine(root / "machine")
    return root
