"""Boundary IoU.

The boundary IoU of predicted and true masks (Cheng et al., CVPR 2021), beside the usual way: the whole
image, with a border of background, is eroded d times by 3 × 3 with OpenCV, d being 2 % of the diagonal, and
the two bands are compared as arrays of bytes. Masks are those of DAVIS 2016 at 480p, and enlarged to 1080p;
a mask that covers the whole image has no empty surroundings that could be left out. The scores must be
equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from inputs import objects, predicted
from sides import OURS, Comparison

from maskwright.metrics.boundaries import boundary_iou
from maskwright.types import BoolArray, ByteArray


def comparisons(quick: bool) -> Iterator[Comparison]:
    """Single masks and many, of two sizes."""
    sizes = {"60 × 100": (60, 100)} if quick else {"480p": (480, 854), "1080p": (1080, 1920)}
    for name, size in sizes.items():
        for count in (1, 32):
            targets, source = objects(size, count)
            yield compare(f"{count} mask(s), {name}, {source}", predicted(targets), targets)
        whole = np.ones((1, *size), np.bool_)
        whole[:, size[0] // 2, size[1] // 2] = False
        yield compare(f"1 mask that covers the image, {name}", whole, ~whole[:, ::-1] | whole)


def compare(name: str, guesses: BoolArray, targets: BoolArray) -> Comparison:
    """Ours and the usual way on (K, H, W) masks."""
    return Comparison(
        name=name,
        sides={
            OURS: lambda: boundary_iou(guesses, targets),
            "OpenCV": lambda: [usual(*pair) for pair in zip(guesses, targets, strict=True)],
        },
        check=equal,
        goals={"OpenCV": 1.0},
        moved=guesses.nbytes + targets.nbytes,
    )


def usual(guess: BoolArray, target: BoolArray) -> float:
    """Boundary IoU over whole images."""
    one, other = band(guess.view(np.uint8)), band(target.view(np.uint8))
    both, either = (one * other > 0).sum(), (one + other > 0).sum()
    return float(both / either) if either else 1.0


def band(mask: ByteArray) -> ByteArray:
    """The mask less its erosion, (H, W)."""
    times = max(1, round(0.02 * math.hypot(*mask.shape)))
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=times)
    inner: ByteArray = eroded[1:-1, 1:-1]
    return mask - inner


def equal(outputs: dict[str, Any]) -> str:
    """The same numbers of pixels, so the same scores."""
    np.testing.assert_array_equal(outputs[OURS], outputs["OpenCV"])
    return "identical"
