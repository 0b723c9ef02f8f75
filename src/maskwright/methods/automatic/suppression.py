"""Of masks that lie on one another, the best one stays: greedy non-maximum suppression of boxes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def suppress(boxes: npt.ArrayLike, scores: npt.ArrayLike, threshold: float) -> list[int]:
    """Which boxes stay: each, from the best score down, unless one that stays overlaps it too much.

    Of equal scores the earlier box counts as better, so the result never depends on chance. One pass over
    the boxes for each that stays; memory grows with their number, not with its square.

    Args:
        boxes: (N, 4) inclusive boxes (x0, y0, x1, y1); N may be 0.
        scores: (N,), higher is better.
        threshold: a box goes when its IoU with a better one is above this.

    Returns:
        Indices of those that stay, best first.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    rest = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    kept = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        rest = rest[box_iou(corners[best], corners[rest]) <= threshold]
    return kept


def box_iou(box: Array, others: Array) -> Array:
    """IoU (N,) of a box (4,) with others (N, 4).

    As in the released generator, a box's sides are the differences of its inclusive corners, so that a mask
    one pixel wide has no area. Where neither of two boxes has any, that would say nothing (0 / 0, and such
    masks were never suppressed); there, whole pixels are counted.
    """
    inner, union = _overlap(box, others, pixel=0)
    whole_inner, whole_union = _overlap(box, others, pixel=1)
    flat = union == 0
    iou: Array = np.where(flat, whole_inner, inner) / np.where(flat, whole_union, union)
    return iou


def _overlap(box: Array, others: Array, pixel: int) -> tuple[Array, Array]:
    """Areas of intersection and union, with `pixel` added to every side."""
    start = np.maximum(box[:2], others[:, :2])
    end = np.minimum(box[2:], others[:, 2:])
    inner = np.prod(np.clip(end - start + pixel, 0, None), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2] + pixel, axis=1)
    return inner, np.prod(box[2:] - box[:2] + pixel) + areas - inner
