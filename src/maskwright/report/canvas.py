"""Empty and resized pictures, the ground every drawing here starts from."""

from __future__ import annotations

import cv2
import numpy as np

from maskwright.report.palette import Colour
from maskwright.types import ByteArray


def blank(height: int, width: int, background: Colour) -> ByteArray:
    """A picture (H, W, 3) of one colour."""
    sheet: ByteArray = np.empty((height, width, 3), np.uint8)
    sheet[...] = background
    return sheet


def scaled(picture: ByteArray, scale: float) -> ByteArray:
    """A picture `scale` times as large, at least one pixel a side; a copy even when the scale is 1.

    Enlarged pixels stay squares: a small photo has no more detail to show.
    """
    if scale == 1:
        return picture.copy()
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    result: ByteArray = np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)
    return result
