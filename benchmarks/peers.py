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
    if is_missing("torchvision"):
        provide("torchvision.ops.boxes", batched_nms=batched_nms, box_area=box_area)
        provide("torchvision.transforms.functional", resize=resize, to_pil_image=PILImages.fromarray)
    if is_missing("timm"):
        provide("timm.models.layers", DropPath=nn.Identity, to_2tuple=None, trunc_normal_=None)
        provide("timm.models.registry", register_model=lambda function: function)


def is_missing(package: str) -> bool:
    """Whether neither it nor what stands in for it is there."""
    return package not in sys.modules and find_spec(package) is None


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


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Indices of boxes that stay, best first: those that overlap no better one of their category too much.

    Args:
        boxes: (N, 4).
        scores: (N,).
        idxs: (N,) categories.
        iou_threshold: overlap that is too much.
    """
    shift = idxs.to(boxes) * (boxes.max() + 1 if len(boxes) else 1)
    corners = (boxes + shift[:, None]).double().numpy()
    order = np.argsort(-scores.numpy(), kind="stable")
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(corners[best, :2], corners[rest, :2])
        high = np.minimum(corners[best, 2:], corners[rest, 2:])
        inside = np.prod(np.clip(high - low, 0, None), axis=1)
        order = rest[inside <= iou_threshold * (areas[best] + areas[rest] - inside)]
    return torch.tensor(kept, dtype=torch.int64)
