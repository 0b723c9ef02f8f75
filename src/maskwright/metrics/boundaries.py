"""How well the outlines of two masks agree: boundary IoU (Cheng et al., CVPR 2021).

A mask's boundary is the part of it that lies within `d` pixels of the outside, d being 2 % of the image's
diagonal; the outside of the image counts as background. Boundary IoU is the IoU of two such bands. Unlike
IoU it does not forgive a rough outline on a large object.

Masks are eroded and compared as bits, 64 pixels a word: B64 is a (H, W / 64) array of them, rounded up, the
first pixel in the lowest bit, zeros behind the last.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from maskwright.errors import InputError
from maskwright.metrics.regions import Scores
from maskwright.types import BoolArray, check_shape

RATIO = 0.02

Words = npt.NDArray[np.uint64]
_WORD = 64


def boundary_width(height: int, width: int, ratio: float = RATIO) -> int:
    """The band's width d in pixels: `ratio` of the image's diagonal, rounded, and at least 1."""
    if not 0 < ratio <= 1:
        raise InputError(f"the boundary's width must be a share of the diagonal in (0, 1], not {ratio}.")
    return max(1, round(ratio * math.hypot(height, width)))


def boundary(mask: BoolArray, width: int) -> BoolArray:
    """The pixels of a mask within `width` pixels (chessboard distance) of its outside.

    Equal to the mask minus `width` erosions by 3 × 3 of the mask padded with one pixel of background.

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
    bits = _band(_packed(mask), width).view(np.uint8)
    return np.unpackbits(bits, axis=1, count=mask.shape[1], bitorder="little").view(np.bool_)


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
    scores = np.ones(predicted.shape[:-2])
    for index in np.ndindex(scores.shape):
        ours, theirs = (_band(_packed(masks[index]), band) for masks in (predicted, target))
        if either := int(np.bitwise_count(ours | theirs).sum()):
            scores[index] = int(np.bitwise_count(ours & theirs).sum()) / either
    return scores


def _packed(mask: BoolArray) -> Words:
    """B64 of a (H, W) mask."""
    height, width = mask.shape
    bits_B64 = np.zeros((height, -(-width // _WORD)), "<u8")
    bits_B64.view(np.uint8)[:, : -(-width // 8)] = np.packbits(mask, axis=1, bitorder="little")
    return bits_B64


def _band(bits_B64: Words, width: int) -> Words:
    """The pixels within `width` of the outside, of the part of the image that the mask occupies."""
    band_B64 = np.zeros_like(bits_B64)
    rows, columns = np.flatnonzero(bits_B64.any(axis=1)), np.flatnonzero(bits_B64.any(axis=0))
    if len(rows):
        occupied = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        part_B64 = bits_B64[occupied]
        band_B64[occupied] = part_B64 & ~_eroded(part_B64, width)
    return band_B64


def _eroded(bits_B64: Words, width: int) -> Words:
    """The pixels whose whole surroundings, `width` pixels in all directions, belong to the mask."""
    height, words = bits_B64.shape
    margin = -(-width // _WORD)
    # After room above and to the left, a pixel's surroundings begin behind it and lie ahead.
    room_B64 = np.zeros((height + width, words + margin), "<u8")
    room_B64[width:, margin:] = bits_B64
    for step in _steps(2 * width + 1):
        room_B64[:-step] &= room_B64[step:]
        room_B64[-step:] = 0
    room_B64 = room_B64[:height]
    for step in _steps(2 * width + 1):
        room_B64 &= _ahead(room_B64, step)
    return _ahead(room_B64, margin * _WORD - width)[:, :words]


def _steps(length: int) -> list[int]:
    """How far to look ahead, time after time, to see a stretch of `length` pixels: twice as far each time."""
    seen, steps = 1, []
    while seen < length:
        steps.append(min(seen, length - seen))
        seen += steps[-1]
    return steps


def _ahead(bits_B64: Words, step: int) -> Words:
    """For each pixel the one that lies `step` further right; none lies beyond the last."""
    words, bits = divmod(step, _WORD)
    result_B64 = np.zeros_like(bits_B64)
    count = bits_B64.shape[1] - words
    result_B64[:, :count] = bits_B64[:, words:] >> np.uint64(bits)
    if bits:
        result_B64[:, : count - 1] |= bits_B64[:, words + 1 :] << np.uint64(_WORD - bits)
    return result_B64
