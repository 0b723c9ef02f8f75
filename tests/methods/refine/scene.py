"""What the tests of this folder share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskwright.methods.refine.config import RefinerSettings
from maskwright.methods.refine.refiner import MaskRefiner, decoder_of, save_refiner
from maskwright.models.registry import load
from maskwright.models.segmenter import Segmenter
from maskwright.types import Prompts


def settings(photos: Path, model: Path, **changes: Any) -> RefinerSettings:
    """Settings under which a random model's masks pass."""
    values: dict[str, Any] = {
        "steps": 2,
        "batch_size": 3,
        "model": str(model),
        "data": (f"labels:{photos}",),
        "masks_per_image": 3,
        "val_images": 2,
        "val_share": 0.25,
        "min_iou": 0.0,
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.0,
        "max_area": 1.0,
        "device": "cpu",
    }
    return RefinerSettings.model_validate({**values, **changes})


def image(height: int = 40, width: int = 60) -> Any:
    return np.random.default_rng(3).integers(0, 255, (height, width, 3), dtype=np.uint8)


def click(x: float, y: float) -> Prompts:
    return Prompts(torch.tensor([[[x, y]]]), torch.ones(1, 1, dtype=torch.long))


def altered(base: Segmenter) -> MaskRefiner:
    """A refiner whose weights are not the base's."""
    model = decoder_of(base.model)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return MaskRefiner(model, base)


def save_altered(model: Path, folder: Path) -> Path:
    """Write such a refiner of a saved model, and return the file."""
    base = load(model, device="cpu")
    return save_refiner(altered(base).model, base.model, folder / "refiner.safetensors")
