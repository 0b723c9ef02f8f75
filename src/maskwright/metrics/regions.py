"""How well the areas of two masks agree.

Axes: any leading axes (masks, prompts, images), then H W. Everything is counted exactly, in float64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from maskwright.types import BoolArray, check_shape

Scores = npt.NDArray[np.float64]
"""One value per mask: the leading axes of the masks."""


def iou(predicted: BoolArray, target: BoolArray, ignore: BoolArray | None = None) -> Scores:
    """Intersection over union (Jaccard index; DAVIS's J) of each pair of masks.

    Args:
        predicted: (…, H, W) bool.
        target: (…, H, W) bool.
        ignore: (…, H, W) bool, pixels left out of the count, or None.

    Returns:
        (…,) in [0, 1]; 1 where both masks are empty, since the prediction is then exactly right.

    Raises:
        InputError: for masks of different shapes.
    """
    both, one, other = _counts(predicted, target, ignore)
    return _ratio(both, one + other - both)


def dice(predicted: BoolArray, target: BoolArray, ignore: BoolArray | None = None) -> Scores:
    """Dice coefficient (F1 of the pixels), 2 |P ∩ T| / (|P| + |T|), of each pair of masks.

    Args, result and errors as for `iou`; Dice = 2 IoU / (1 + IoU).
    """
    both, one, other = _counts(predicted, target, ignore)
    return _ratio(2 * both, one + other)


def precision(predicted: BoolArray, target: BoolArray, ignore: BoolArray | None = None) -> Scores:
    """Share of the predicted pixels that are right; 1 where nothing was predicted. Otherwise as `iou`."""
    both, one, _ = _counts(predicted, target, ignore)
    return _ratio(both, one)


def recall(predicted: BoolArray, target: BoolArray, ignore: BoolArray | None = None) -> Scores:
    """Share of the object's pixels that were found; 1 where there is no object. Otherwise as `iou`."""
    both, _, other = _counts(predicted, target, ignore)
    return _ratio(both, other)


def _counts(
    predicted: BoolArray, target: BoolArray, ignore: BoolArray | None
) -> tuple[Scores, Scores, Scores]:
    """Number of pixels in both masks, in the prediction, in the target."""
    check_shape("target", target, predicted.shape)
    assert predicted.dtype == target.dtype == np.bool_, (predicted.dtype, target.dtype)
    if ignore is not None:
        check_shape("ignore", ignore, predicted.shape)
        predicted, target = predicted & ~ignore, target & ~ignore
    return _areas(predicted & target), _areas(predicted), _areas(target)


def _areas(masks: BoolArray) -> Scores:
    # Counting a mask's pixels is eight times as fast as adding them up.
    areas = np.empty(masks.shape[:-2])
    for index in np.ndindex(areas.shape):
        areas[index] = np.count_nonzero(masks[index])
    return areas


def _ratio(part: Scores, whole: Scores) -> Scores:
    return np.where(whole > 0, part / np.maximum(whole, 1), 1.0)
