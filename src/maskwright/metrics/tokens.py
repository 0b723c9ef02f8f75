"""How well promptless segments follow known boundaries, by DirectSAM's and EPOC's own measures.

Three generations of them, each exactly as published, oddities included:

- `token_recall` (ChenDelong1999/DirectSAM, 5 October 2024): known boundary pixels near a predicted one, and
  the number of regions that the prediction cuts the image into.
- `effective_recall` (the same, its last version): only lines that enclose something count.
- `token_scores` (the paper's figures; ChenDelong1999/subobjects-VLM): precision without a tolerance, recall,
  F1, and monosemanticity, the share of segments that no known boundary runs through.

Known boundaries are drawn with `data.outlines` at the resolution of measurement, 2 pixels wide for the first
two and 3 for the last.

H, W size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from skimage.morphology import skeletonize

from maskwright.types import BoolArray, ByteArray, FloatArray, check_shape

Labels = npt.NDArray[np.integer]

EFFECTIVE_TOLERANCE = 10
RECALL_TOLERANCE, THIN, CORE, EPSILON = 5, 2, 25, 1e-6


@dataclass(frozen=True)
class TokenRecall:
    """What share of a known boundary was found, and with how many tokens."""

    recall: float
    tokens: int


@dataclass(frozen=True)
class TokenScores:
    """Precision, recall and F1 of a partition's borders; monosemanticity of its tokens; their number."""

    precision: float
    recall: float
    f1: float
    monosemanticity: float
    tokens: int


def default_tolerance(resolution: int) -> int:
    """Of `token_recall`, in pixels: a hundredth of the resolution, made odd by adding one; 11 at 1024."""
    hundredth = resolution // 100
    return hundredth + (hundredth % 2 == 0)


def token_recall(truth: BoolArray, predicted: BoolArray, tolerance: int | None = None) -> TokenRecall:
    """The version of 5 October 2024.

    Both maps lose their outermost pixels. Recall is the share of the known boundary in the prediction dilated
    by an ellipse of twice the tolerance; tokens are the 8-connected parts of what is no boundary, and one
    more for the boundary itself.

    Args:
        truth: (H, W) bool, the known boundary.
        predicted: (H, W) bool.
        tolerance: in pixels; None for `default_tolerance` of the longer side.

    Returns:
        Recall in [0, 1], 1 where there is no boundary to find, and the number of tokens.

    Raises:
        InputError: for maps of different shapes.
    """
    check_shape("predicted", predicted, truth.shape)
    tolerance = default_tolerance(max(truth.shape)) if tolerance is None else tolerance
    truth, predicted = _without_rim(truth, tolerance), _without_rim(predicted, tolerance)
    # Of an even kernel the anchor is right of and below the middle, as OpenCV's default is.
    near = _dilated(predicted, 2 * tolerance)
    count, _ = cv2.connectedComponents((~predicted).view(np.uint8), connectivity=8)
    return TokenRecall(_share(truth, near), int(count))


def effective_recall(
    truth: BoolArray, predicted: BoolArray, tolerance: int = EFFECTIVE_TOLERANCE
) -> TokenRecall | None:
    """Recall of the lines that enclose something: open ends do not count.

    The prediction is framed and thinned to its skeleton, which cuts the image into 4-connected tokens. Each
    is dilated by a cross of three pixels, and its outline is what the next erosion takes away; recall is the
    share of the known boundary near any token's outline.

    Args:
        truth: (H, W) bool, the known boundary; its outermost `tolerance` pixels do not count.
        predicted: (H, W) bool; its outermost `tolerance` pixels are taken for boundary.
        tolerance: diameter in pixels of the ellipse that outlines are dilated with.

    Returns:
        None where there is no boundary to find: such images are left out.

    Raises:
        InputError: for maps of different shapes.
    """
    check_shape("predicted", predicted, truth.shape)
    truth = _without_rim(truth, tolerance)
    if not truth.any():
        return None
    framed = ~_without_rim(~predicted, tolerance)
    skeleton: BoolArray = skeletonize(framed)
    count, parts, stats, _ = cv2.connectedComponentsWithStats((~skeleton).view(np.uint8), connectivity=4)
    contour = _outlines(parts, stats[1:, :4])
    return TokenRecall(_share(truth, _dilated(contour, tolerance)), int(count) - 1)


def token_scores(truth: BoolArray, labels: Labels) -> TokenScores:
    """The paper's intrinsic measures of a partition (at 1024 × 1024 as published).

    Args:
        truth: (H, W) bool, the known boundary, about 3 pixels wide.
        labels: (H, W), a number a token; 0 is none.

    Raises:
        InputError: for maps of different shapes.
    """
    check_shape("labels", labels, truth.shape)
    values = labels.astype(np.float32)
    assert labels.size == 0 or labels.max() < 1 << 24, "float32 tells no larger labels apart"
    inside = slice(RECALL_TOLERANCE, -RECALL_TOLERANCE)
    known = truth[inside, inside]
    thin, thick = (
        _mixed(values, reach)[inside, inside] & (values[inside, inside] != 0)
        for reach in (THIN, RECALL_TOLERANCE)
    )
    precision = int((known & thin).sum()) / (int(thin.sum()) + EPSILON)
    recall = int((known & thick).sum()) / (int(known.sum()) + EPSILON)
    tokens = np.unique(labels[labels != 0])
    # A pixel is left of a token that is eroded when all pixels around it are of that token.
    crossed = np.unique(labels[truth & ~_mixed(values, CORE) & (labels != 0)])
    return TokenScores(
        precision,
        recall,
        2 * precision * recall / (precision + recall + EPSILON),
        1 - len(crossed) / max(1, len(tokens)),
        len(tokens),
    )


def token_sizes(areas: npt.NDArray[np.integer], pixels: int, most: int = 1024) -> FloatArray:
    """(most,) float32: tokens' areas as shares of the image, the largest first, then zeros."""
    shares = np.sort(areas)[::-1][:most] / pixels
    result = np.zeros(most, np.float32)
    result[: len(shares)] = shares
    return result


def _without_rim(lines: BoolArray, width: int) -> BoolArray:
    result = np.zeros_like(lines)
    inside = slice(width, -width) if width else slice(None)
    result[inside, inside] = lines[inside, inside]
    return result


def _dilated(lines: BoolArray, diameter: int) -> BoolArray:
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    return np.asarray(cv2.dilate(lines.view(np.uint8), ellipse) > 0)


def _share(truth: BoolArray, near: BoolArray) -> float:
    total = int(truth.sum())
    return int((truth & near).sum()) / total if total else 1.0


def _outlines(parts: npt.NDArray[np.int32], boxes: npt.NDArray[np.int32]) -> BoolArray:
    """Of each part, 1…, its dilation by a cross less the erosion of that; together (H, W) bool."""
    cross = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    result = np.zeros(parts.shape, np.bool_)
    for number, (x, y, width, height) in enumerate(boxes.tolist(), start=1):
        # Two pixels around the part: one that it grows by, and one that is certainly outside.
        place = slice(max(0, y - 2), y + height + 2), slice(max(0, x - 2), x + width + 2)
        grown: ByteArray = cv2.dilate((parts[place] == number).view(np.uint8), cross)
        result[place] |= cv2.erode(grown, cross) != grown
    return result


def _mixed(labels: FloatArray, reach: int) -> BoolArray:
    """Where a window of 2 · reach + 1 pixels, as far as it lies in the image, holds several labels."""
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return np.asarray(cv2.dilate(labels, window) != cv2.erode(labels, window))
