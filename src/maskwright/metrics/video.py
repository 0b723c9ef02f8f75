"""DAVIS's measures of a tracked object: region J, contour F, and their mean, recall and decay over frames.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016,
section 4; for several objects Pont-Tuset et al., "The 2017 DAVIS Challenge", 2017, section 4. The figures
are those of the public davis2017-evaluation, but for its defect that frames beyond the 255th wrap around
in the decay.

J is `regions.iou`. F compares outlines with a tolerance, and is no boundary IoU (`boundaries`): there the
bands are inside the masks and their overlap counts, here each outline's share near the other one counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.errors import InputError
from maskwright.metrics.regions import Scores
from maskwright.types import BoolArray, ByteArray, check_shape

TOLERANCE = 0.008
RECALL_ABOVE = 0.5
_QUARTERS = 4


@dataclass(frozen=True)
class OverFrames:
    """What becomes of an object's scores over the frames.

    Args:
        mean: of all frames.
        recall: share of the frames with a score above 0.5.
        decay: mean of the first quarter of the frames minus that of the last: 0 is steady, 1 is lost.
    """

    mean: float
    recall: float
    decay: float


def contour(mask: BoolArray) -> BoolArray:
    """The outline of a mask, one pixel wide: where a pixel differs from its right, lower or diagonal one.

    So the outline lies half a pixel up and left of where the mask ends. Beyond the image's right and lower
    edge there is nothing to differ from: a mask that touches them has no outline there.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool.
    """
    assert mask.dtype == np.bool_, mask.dtype
    edges = np.zeros_like(mask)
    edges[:, :-1] = mask[:, :-1] ^ mask[:, 1:]
    edges[:-1] |= mask[:-1] ^ mask[1:]
    edges[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edges


def contour_f(predicted: BoolArray, target: BoolArray, tolerance: float = TOLERANCE) -> Scores:
    """Contour accuracy F of each pair of masks: the F measure of their outlines' pixels.

    Precision is the share of the predicted outline within r pixels of the true one, recall the share of the
    true outline within r of the predicted one, with r = ⌈tolerance · diagonal of the image⌉, Euclidean.

    Args:
        predicted: (…, H, W) bool.
        target: (…, H, W) bool.
        tolerance: as a share of the image's diagonal.

    Returns:
        (…,) in [0, 1]; 1 where neither has an outline, 0 where only one has.

    Raises:
        InputError: for masks of different shapes, or a tolerance outside (0, 1).
    """
    check_shape("target", target, predicted.shape)
    if not 0 < tolerance < 1:
        raise InputError(f"the tolerance must be a share of the diagonal in (0, 1), not {tolerance}.")
    radius = math.ceil(tolerance * math.hypot(*predicted.shape[-2:]))
    scores = np.empty(predicted.shape[:-2], np.float64)
    for index in np.ndindex(scores.shape):
        scores[index] = _contour_f(predicted[index], target[index], radius)
    return scores


def over_frames(scores: npt.ArrayLike) -> OverFrames:
    """Sum up the scores (T,) of one object in its frames, in order.

    A quarter of T frames has its ends at 1 + q · (T - 1) / 4, rounded half up, and holds both.

    Raises:
        InputError: without frames, or for a score that is not finite.
    """
    values = np.asarray(scores, np.float64)
    check_shape("scores", values, ("T",))
    if not len(values) or not np.isfinite(values).all():
        raise InputError(f"scores over frames must be finite numbers, at least one, not {values}.")
    ends = np.floor(np.linspace(0, len(values) - 1, _QUARTERS + 1) + 0.5 + 1e-10).astype(np.int64)
    first, last = values[: ends[1] + 1], values[ends[-2] :]
    return OverFrames(
        float(values.mean()), float((values > RECALL_ABOVE).mean()), float(first.mean() - last.mean())
    )


def _contour_f(predicted: BoolArray, target: BoolArray, radius: int) -> float:
    """F of one pair; only the part of the image that the two occupy is looked at."""
    part = _occupied(predicted | target)
    ours, theirs = contour(predicted[part]), contour(target[part])
    count, true_count = int(ours.sum()), int(theirs.sum())
    if not count or not true_count:
        return float(count == true_count)
    precision = int((ours & _near(theirs, radius)).sum()) / count
    recall = int((theirs & _near(ours, radius)).sum()) / true_count
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _occupied(mask: BoolArray) -> tuple[slice, slice]:
    """The box of a mask with a pixel around it, where the outline may be, inside the image."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, columns[0] - 1), columns[-1] + 2)


def _near(edges: BoolArray, radius: int) -> BoolArray:
    """Pixels within `radius` of an outline."""
    grown = cv2.dilate(edges.view(np.uint8), _disk(radius))
    return np.asarray(grown).view(np.bool_)


@cache
def _disk(radius: int) -> ByteArray:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk: ByteArray = (x * x + y * y <= radius * radius).astype(np.uint8)
    return disk
