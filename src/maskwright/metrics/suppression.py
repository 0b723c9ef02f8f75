"""Non-maximum suppression of boundary probabilities: what is left is the crest of each blurred line.

Canny's idea with orientations from second derivatives, as in structured edges (Dollár and Zitnick, PAMI 2015)
and in the published BSDS figures of boundary networks ever since.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from maskwright.errors import InputError
from maskwright.types import FloatArray, check_shape

_SLACK = 1.01
_RIM = 5
_TINY = 1e-5

Doubles = npt.NDArray[np.float64]


def suppress(probability: FloatArray) -> FloatArray:
    """Keep a boundary map only where it is highest across the line.

    With E the map after a triangle filter of radius 1, O the one of radius 4 on E and θ = atan(Oyy ·
    sign(-Oxy) / (Oxx + 1e-5)) mod π, where sign(0) is 1 for level lines to be crossed upright, a pixel is
    set to 0 where 1.01 E is below E, bilinear, one pixel away along θ on either side. Five pixels at the
    image's rim are damped linearly, to 0 at the border.

    Args:
        probability: (H, W) in [0, 1].

    Returns:
        (H, W) float32 in [0, 1]; the benchmark's maps are its values in steps of 1 / 255.

    Raises:
        InputError: unless it is (H, W), finite and in [0, 1].
    """
    check_shape("probability", probability, ("H", "W"))
    if not ((probability >= 0) & (probability <= 1)).all():
        raise InputError("a boundary map must hold probabilities, finite and from 0 to 1.")
    values = _triangle(probability.astype(np.float64), 1)
    angle = _across(_triangle(values, 4))
    y, x = np.indices(values.shape, np.float64)
    kept = np.ones(values.shape, np.bool_)
    for side in (-1, 1):
        places = (y + side * np.sin(angle), x + side * np.cos(angle))
        kept &= ~(_SLACK * values < ndimage.map_coordinates(values, places, order=1, mode="nearest"))
    # Where two rims meet, both damp.
    damping = _rim(values.shape[0])[:, None] * _rim(values.shape[1])
    return (values * kept * damping).astype(np.float32)


def _triangle(values: Doubles, radius: int) -> Doubles:
    """Filter with 1, 2, …, radius + 1, …, 2, 1 both ways; the image is mirrored at its border."""
    weights = np.convolve(np.ones(radius + 1), np.ones(radius + 1)) / (radius + 1) ** 2
    border = cv2.BORDER_REFLECT
    return np.asarray(cv2.sepFilter2D(values, cv2.CV_64F, weights, weights, borderType=border), np.float64)


def _across(smooth: Doubles) -> Doubles:
    """The angle at which the line through each pixel is crossed, in [0, π), x to the right and y down."""
    by_y, by_x = _gradient(smooth)
    by_xy, by_xx = _gradient(by_x)
    by_yy = _gradient(by_y)[0]
    angle: Doubles = np.mod(np.arctan(by_yy * np.where(by_xy > 0, -1.0, 1.0) / (by_xx + _TINY)), math.pi)
    return angle


def _gradient(values: Doubles) -> tuple[Doubles, Doubles]:
    """Central differences along y and x, one-sided at the border; 0 along an axis of one pixel."""
    y, x = (
        np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values) for axis in (0, 1)
    )
    return y, x


def _rim(length: int) -> Doubles:
    """Factors along one axis: 0, 1/5 … 4/5, 1 … 1, 4/5 … 0; shorter where the axis has no ten pixels."""
    width = min(_RIM, length // 2)
    place = np.arange(length)
    nearest = np.minimum(place, length - 1 - place)
    return np.minimum(nearest / max(1, width), 1.0) if width else np.ones(length)
