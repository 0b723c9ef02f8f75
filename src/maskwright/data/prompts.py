"""Prompts drawn from a true mask: boxes, clicks, corrective clicks and degraded masks.

Points are (x, y) pixel indices, so that (0, 0) is the middle of the first pixel. Boxes are
(x0, y0, x1, y1) in pixel edges: x1 and y1 are exclusive, a single pixel has a box of width 1, and
x1 - x0 is the object's width, as in `types.Masks.boxes`. (HQ-SAM's training takes the minimum and
maximum pixel index, half a pixel in from these edges on each side.)
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.errors import InputError
from maskwright.types import BoolArray, FloatArray

JITTER_PIXELS = 20.0
EDGE_PIXELS = 10.0


def tight_box(mask: BoolArray) -> FloatArray:
    """The (4,) box that just holds an (H, W) mask.

    Raises:
        InputError: for an empty mask.
    """
    _refuse_empty(mask)
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def jitter_box(
    box: FloatArray,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    deviation: float = 0.1,
    limit: float = JITTER_PIXELS,
) -> FloatArray:
    """Add noise as in SAM's training (Kirillov et al. 2023, A.): each coordinate on its own, normal.

    Args:
        box: (4,) box.
        size: height and width of the image, which the box does not leave.
        rng: source of randomness.
        deviation: standard deviation as a share of the box's side.
        limit: largest shift in pixels.
    """
    noise = rng.normal(0.0, deviation, 4) * _sides(box)
    return _valid_box(box + noise.clip(-limit, limit), size)


def scale_box(box: FloatArray, size: tuple[int, int], rng: np.random.Generator, amount: float) -> FloatArray:
    """Move and resize a (4,) box at random, as in DN-DETR (Li et al. 2022) and HQ-SAM's robustness study.

    The middle moves by up to `amount` times half the width and height, then both sides change by up to
    the share `amount`; all uniform. HQ-SAM reports 0, 0.2 and 0.4.
    """
    sides = _sides(box)[:2]
    middle = (box[:2] + box[2:]) / 2 + rng.uniform(-0.5, 0.5, 2) * sides * amount
    half = sides * (1 + rng.uniform(-1, 1, 2) * amount) / 2
    return _valid_box(np.concatenate([middle - half, middle + half]), size)


def random_points(mask: BoolArray, rng: np.random.Generator, count: int = 1) -> FloatArray:
    """(count, 2) points, uniform over the mask; different ones, unless the mask has fewer pixels than that.

    Raises:
        InputError: for an empty mask.
    """
    _refuse_empty(mask)
    pixels = np.flatnonzero(mask)
    chosen = rng.choice(pixels, count, replace=len(pixels) < count)
    return np.stack([chosen % mask.shape[1], chosen // mask.shape[1]], axis=1).astype(np.float32)


def center_point(mask: BoolArray) -> FloatArray:
    """The (2,) pixel of an (H, W) mask that is farthest from its outline; the image's edge counts as outline.

    Ties go to the uppermost, then leftmost pixel.

    Raises:
        InputError: for an empty mask.
    """
    (left, top), distance = _distance_inside(mask)
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return np.array([x + left, y + top], np.float32)


def edge_point(mask: BoolArray, reach: float = EDGE_PIXELS) -> FloatArray:
    """A (2,) pixel of an (H, W) mask near its outline: a careless click, harder to understand.

    Of all pixels no farther than `reach` pixels from the outline, row by row, it is the middle one (SUM,
    NeurIPS 2024, section 4.1: the median boundary point, within 10 px). The image's edge counts as outline.

    Raises:
        InputError: for an empty mask.
    """
    (left, top), distance = _distance_inside(mask)
    rows, columns = np.nonzero((distance > 0) & (distance <= reach))
    middle = len(rows) // 2
    return np.array([columns[middle] + left, rows[middle] + top], np.float32)


def corrective_point(
    truth: BoolArray,
    prediction: BoolArray,
    rng: np.random.Generator | None = None,
    point_of: Callable[[BoolArray], FloatArray] = center_point,
) -> tuple[FloatArray, int] | None:
    """Where an annotator would click next: a (2,) point and its label, or None where the masks agree.

    The label is 1 on a missed pixel and 0 on a spilled one.

    Args:
        truth: (H, W) true mask.
        prediction: (H, W) mask to correct.
        rng: with it, the point is uniform over all wrong pixels (SAM's training); without, it is the
            innermost pixel of the largest connected error, missed or spilled.
        point_of: without `rng`, which pixel of that error, if not the innermost; such as `edge_point`.
    """
    wrong = truth ^ prediction
    if not wrong.any():
        return None
    if rng is not None:
        point = random_points(wrong, rng)[0]
    else:
        missed, spilled = _largest_part(truth & ~prediction), _largest_part(prediction & ~truth)
        point = point_of(missed if missed.sum() >= spilled.sum() else spilled)
    return point, int(truth[int(point[1]), int(point[0])])


def degrade_mask(mask: BoolArray | FloatArray, rng: np.random.Generator) -> BoolArray:
    """Flip pixels of an (H, W) mask where it has fine detail, as for HQ-SAM's mask prompts (Ke et al. 2023).

    Normal noise is added wherever shrinking the mask eightfold and enlarging it again changes it by a
    hundredth or more; what is then above one half is the new mask. HQ-SAM does this at 256 × 256.
    """
    values = mask.astype(np.float32)
    height, width = values.shape
    small = cv2.resize(values, (max(1, width // 8), max(1, height // 8)), interpolation=cv2.INTER_LINEAR)
    coarse = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    detail = np.abs(values - coarse) >= 0.01
    degraded: BoolArray = values + rng.standard_normal(values.shape, np.float32) * detail > 0.5
    return degraded


def _refuse_empty(mask: BoolArray) -> None:
    if not mask.any():
        raise InputError(f"a mask of shape {mask.shape} is empty, so no prompt can be drawn from it.")


def _distance_inside(mask: BoolArray) -> tuple[tuple[int, int], FloatArray]:
    """Left and top of a mask's tight box, and each pixel's distance (h, w) from the outside in that box."""
    left, top, right, bottom = tight_box(mask).astype(int).tolist()
    padded = np.pad(mask[top:bottom, left:right].view(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return (left, top), np.asarray(distance[1:-1, 1:-1], np.float32)


def _sides(box: FloatArray) -> npt.NDArray[np.float64]:
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    return np.array([width, height, width, height])


def _valid_box(box: npt.NDArray[np.floating], size: tuple[int, int]) -> FloatArray:
    """Order the corners and keep the box inside the image, at least one pixel wide and high."""
    height, width = size
    limit = np.array([width, height])
    low = np.minimum(box[:2], box[2:]).clip(0, limit - 1)
    high = np.maximum(np.maximum(box[:2], box[2:]).clip(0, limit), low + 1)
    return np.concatenate([low, high]).astype(np.float32)


def _largest_part(mask: BoolArray) -> BoolArray:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if count == 1:
        return mask
    largest: BoolArray = parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return largest
