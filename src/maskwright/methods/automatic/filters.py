"""What decides whether a mask is kept: its stability, area and box.

Axes: N masks, H W image or crop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Boxes = npt.NDArray[np.int64]

# How close to the edge of a crop a mask's box counts as cut off by it, in pixels.
EDGE = 20


class Measures(NamedTuple):
    """Numbers of N masks.

    Args:
        stability: (N,) IoU of the masks at thresholds +offset and -offset; 0 where both are empty.
        areas: (N,) object pixels at threshold 0.
        boxes: (N, 4) first and last column and row of the object as (x0, y0, x1, y1), both inclusive; zeros
            for an empty mask.
    """

    stability: npt.NDArray[np.float64]
    areas: npt.NDArray[np.int64]
    boxes: Boxes


def measure(logits_NHW: Tensor, offset: float) -> Measures:
    """Measure masks given as logits at full size.

    Stability is |z > offset| / |z > -offset|: the upper mask lies in the lower one, so this is their IoU.
    Source: Kirillov et al. 2023, section 5 and appendix B.
    """
    masks_NHW = logits_NHW > 0
    inner, outer = (count_pixels(logits_NHW > limit) for limit in (offset, -offset))
    stability = np.divide(inner, outer, out=np.zeros(len(inner)), where=outer > 0)
    return Measures(stability, count_pixels(masks_NHW), tight_boxes(masks_NHW))


def count_pixels(masks_NHW: Tensor) -> npt.NDArray[np.int64]:
    """(N,) object pixels of each of (N, H, W) bool masks."""
    if masks_NHW.device.type == "cpu":
        # Ten times as fast as torch, which widens every byte before it adds.
        return np.array([np.count_nonzero(mask) for mask in masks_NHW.numpy()], dtype=np.int64)
    counts: npt.NDArray[np.int64] = masks_NHW.flatten(1).sum(dim=1).cpu().numpy()
    return counts


def tight_boxes(masks_NHW: Tensor) -> Boxes:
    """Boxes (N, 4) of bool masks (N, H, W), as `Measures.boxes`."""
    # The maximum of bytes is far faster than `any` of bools.
    masks_NHW = masks_NHW.view(torch.uint8)
    (x0, x1), (y0, y1) = (_ends(masks_NHW.amax(dim=dim)) for dim in (1, 2))
    boxes: Boxes = torch.stack([x0, y0, x1, y1], dim=1).cpu().numpy()
    return boxes


def _ends(present_NL: Tensor) -> tuple[Tensor, Tensor]:
    """First and last position of a 1 in each row of 0 and 1; zeros where there is none."""
    first = present_NL.argmax(dim=1)
    last = present_NL.shape[1] - 1 - present_NL.flip(1).argmax(dim=1)
    return first, last * present_NL.amax(dim=1)


def cut_off(boxes_N4: Boxes, crop: tuple[int, int, int, int], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which masks a crop's edge probably cuts: an edge of their box is near it, and not near the image's.

    Args:
        boxes_N4: inclusive boxes in the image.
        crop: (x0, y0, x1, y1) of the crop in the image.
        size: height and width of the image.

    Returns:
        (N,) True for masks to leave out: a crop further in, or the whole image, shows the object whole.
    """
    near_crop = np.abs(boxes_N4 - np.array(crop)) <= EDGE
    near_image = np.abs(boxes_N4 - np.array([0, 0, size[1], size[0]])) <= EDGE
    cut: npt.NDArray[np.bool_] = (near_crop & ~near_image).any(axis=1)
    return cut
