"""How well the outlines of two masks agree: boundary IoU (Cheng et al., CVPR 2021).

A mask's boundary is the part of it that lies within `d` pixels of the outside, d being 2 % of the image's
diagonal; the outside of the image counts as background. Boundary IoU is the IoU of two such bands. Unlike
IoU it does not forgive a rough outline on a large object.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from maskwright.errors import InputError
from maskwright.metrics.regions import Scores, iou
from maskwright.types import BoolArray, check_shape

RATIO = 0.02


def boundary_width(height: int, width: int, ratio: float = RATIO) -> int:
    """The band's width d in pixels: `ratio` of the image's diagonal, rounded, and at least 1."""
    if not 0 < ratio <= 1:
        raise InputError(f"the boundary's width must be a share of the diagonal in (0, 1], not {ratio}.")
    return max(1, round(ratio * math.hypot(height, width)))


def boundary(mask: BoolArray, width: int) -> BoolArray:
    """The pixels of a mask within `width` pixels (chessboard distance) of its outside.

    Equal to the mask minus `width` erosions by 3 × 3 of the mask padded with one pixel of background, but
    done by one square erosion of the part of the image that the mask occupies.

    Args:
        mask: (H, W) bool.
        width: pixels, at least 1.

    Returns:
        (H, W) bool.

    Raises:
        InputError: unless the mask is (H, W).
    """
    check_shape("mask", mask, ("H", "W"))
    assert width >= 1
    assert mask.dtype == np.bool_, mask.dtype
    band = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return band
    occupied = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    part = mask[occupied]
    square = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * width + 1, 2 * width + 1))
    inside = cv2.erode(part.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    band[occupied] = part & (inside == 0)
    return band


def boundary_iou(predicted: BoolArray, target: BoolArray, ratio: float = RATIO) -> Scores:
    """Boundary IoU of each pair of masks.

    Args:
        predicted: (…, H, W) bool.
        target: (…, H, W) bool.
        ratio: width of the bands as a share of the image's diagonal: 0.02 as published, 0.01 in the strict
            variant used for LVIS and UVO.

    Returns:
        (…,) in [0, 1]; 1 where both masks are empty.

    Raises:
        InputError: for masks of different shapes, or a ratio outside (0, 1].
    """
    check_shape("target", target, predicted.shape)
    height, width = predicted.shape[-2:]
    band = boundary_width(height, width, ratio)
    return iou(_boundaries(predicted, band), _boundaries(target, band))


def _boundaries(masks: BoolArray, width: int) -> BoolArray:
    if masks.ndim == 2:
        return boundary(masks, width)
    result = np.zeros_like(masks)
    for index in np.ndindex(masks.shape[:-2]):
        result[index] = boundary(masks[index], width)
    return result
