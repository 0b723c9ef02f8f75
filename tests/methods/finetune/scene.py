"""Settings and items for the photos of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maskwright.data.registry import open_dataset
from maskwright.methods.finetune.config import FinetuneSettings
from maskwright.methods.finetune.items import FinetuneData, Frame

SIDE = 64


def settings(photos: Path, **changes: Any) -> FinetuneSettings:
    values: dict[str, Any] = {
        "steps": 2,
        "batch_size": 3,
        "data": (f"labels:{photos}",),
        "masks_per_image": 3,
        "loss_points": 128,
        "val_images": 2,
        "device": "cpu",
    }
    return FinetuneSettings.model_validate({**values, **changes})


def data(photos: Path, **changes: Any) -> FinetuneData:
    method = settings(photos, **changes)
    frame = Frame(SIDE, 16, "pad", (123.0, 116.0, 103.0), (58.0, 57.0, 57.0))
    return FinetuneData(open_dataset(method.data[0]), method, frame)
