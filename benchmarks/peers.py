"""Peers that want torchvision and timm, made to run without them.

Meta's and HQ-SAM's packages use four small functions of torchvision, which needs a build of torch of its own:
resizing by Pillow as torchvision does for Pillow images, and suppression of boxes per category. HQ-SAM's
imports four names of timm for TinyViT, which no comparison here runs. Where the two are missing, these
stand in for them.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImages
from torch import Tensor, nn


def stand_in() -> None:
    """Put what the peers import where they look for it, unless the real thing is there."""
    if "torchvision" not in sys.modules and find_spec("torchvision") is None:
        provide("torchvision.ops.boxes", batched_nms=batched_nms, box_area=box_area)
        provide("torchvision.transforms.functional", resize=resize, to_pil_image=PILImages.fromarray)
    if "timm" not in sys.modules and find_spec("timm") is None:
        provide("timm.models.layers", DropPath=nn.Identity, to_2tuple=None, trunc_normal_=None)
        provide("timm.models.registry", register_model=lambda function: function)


def provide(name: str, **content: Any) -> None:  # noqa: ANN401
    """A module of that name with this content, and empty ones above it."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), ModuleType(".".join(parts[:end])))
    vars(sys.modules[name]).update(content)


def resize(image: PILImages.Image, size: tuple[int, int], **_: Any) -> PILImages.Image:  # noqa: ANN401
    """Resize a Pillow image to (height, width), bilinear with antialiasing."""
    return image.resize((size[1], size[0]), PILImages.Resampling.BILINEAR)


def box_area(boxes_N4: Tensor) -> Tensor:
    """(N,) areas of XYXY boxes."""
    return (boxes_N4[:, 2] - boxes_N4[:, 0]) * (boxes_N4[:, 3] - boxes_N4[:, 1])


def batched_nms(boxes_N4: Tensor, scores_N: Tensor, categories_N: Tensor, threshold: float) -> Tensor:
    """Indices of boxes that stay, best first: those that overlap no better one of their category too much."""
    shift = categories_N.to(boxes_N4) * (boxes_N4.max() + 1 if len(boxes_N4) else 1)
    boxes = (boxes_N4 + shift[:, None]).double().numpy()
    order = np.argsort(-scores_N.numpy(), kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        inside = np.prod(np.clip(high - low, 0, None), axis=1)
        order = rest[inside <= threshold * (areas[best] + areas[rest] - inside)]
    return torch.tensor(kept, dtype=torch.int64)
