"""The strokes of an overlay: mask fills and outlines, boxes and points, drawn into a picture in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from maskwright.report.canvas import blank
from maskwright.report.palette import BLACK, GREEN, VERMILION, WHITE, Colour, colour
from maskwright.types import ByteArray

FILL = 0.42
"""Share of the mask's colour in its inside; the photo keeps the rest."""
MANY = 60
"""More masks than this get thinner outlines and no words: they would only hide the picture."""


@dataclass(frozen=True)
class Look:
    """Stroke widths and letter height in pixels."""

    line: int
    dot: int
    letters: int
    rings: bool

    @classmethod
    def of(cls, picture: ByteArray, masks: int) -> Look:
        """Choose them for `picture` with so many masks."""
        side = max(picture.shape[:2])
        line = max(1, round(side / (320 if masks <= MANY else 900)))
        return cls(
            line=line,
            dot=max(5, round(side / 75)),
            letters=max(11, round(side / 42)),
            rings=masks <= MANY,
        )


def draw_masks(picture: ByteArray, masks: Sequence[ByteArray], look: Look) -> None:
    """Fill large masks before small ones, so that none hides another, then trace every outline."""
    areas = [cv2.countNonZero(mask) for mask in masks]
    order = [index for index in np.argsort(areas, kind="stable")[::-1].tolist() if areas[index]]
    for index in order:
        mask = masks[index]
        x, y, width, height = cv2.boundingRect(mask)
        part = picture[y : y + height, x : x + width]
        blend = cv2.addWeighted(part, 1 - FILL, blank(height, width, colour(index)), FILL, 0)
        np.copyto(part, blend, where=mask[y : y + height, x : x + width, None].astype(np.bool_))
    for index in order:
        _draw_outline(picture, masks[index], colour(index), look)


def _draw_outline(picture: ByteArray, mask: ByteArray, stroke: Colour, look: Look) -> None:
    x, y, width, height = cv2.boundingRect(mask)
    part = mask[y : y + height, x : x + width]
    contours, _ = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    if look.line > 1:
        cv2.drawContours(picture, contours, -1, BLACK, look.line + 1, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, stroke, look.line, cv2.LINE_AA)
    if look.rings and max(width, height) <= look.line:
        # A speck that its own outline hides: ring it, or nobody finds it.
        cv2.circle(picture, (x + width // 2, y + height // 2), 2 * look.dot, stroke, look.line, cv2.LINE_AA)


def draw_box(picture: ByteArray, box: tuple[int, int, int, int], stroke: Colour, look: Look) -> None:
    """A frame along (x0, y0, x1, y1), with a dark edge so that it reads on any photo."""
    x0, y0, x1, y1 = box
    cv2.rectangle(picture, (x0, y0), (x1, y1), BLACK, look.line + 2, cv2.LINE_AA)
    cv2.rectangle(picture, (x0, y0), (x1, y1), stroke, look.line, cv2.LINE_AA)


def draw_point(picture: ByteArray, x: float, y: float, is_object: bool, look: Look) -> None:
    """A disc with a plus (object) or a minus (background): told apart by shape, not by colour alone."""
    at = round(x), round(y)
    cv2.circle(picture, at, look.dot + 2, BLACK, -1, cv2.LINE_AA)
    cv2.circle(picture, at, look.dot + 1, WHITE, -1, cv2.LINE_AA)
    cv2.circle(picture, at, look.dot - 1, GREEN if is_object else VERMILION, -1, cv2.LINE_AA)
    arm, width = max(1, look.dot // 2), max(1, look.dot // 4)
    cv2.line(picture, (at[0] - arm, at[1]), (at[0] + arm, at[1]), WHITE, width, cv2.LINE_AA)
    if is_object:
        cv2.line(picture, (at[0], at[1] - arm), (at[0], at[1] + arm), WHITE, width, cv2.LINE_AA)
