"""Words on pictures: measured, wrapped, and set on a chip so that they read on any background."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from maskwright.report.palette import Colour, ink

if TYPE_CHECKING:
    from maskwright.types import ByteArray

Area = tuple[int, int, int, int]


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface at `size` pixels, so that pictures look alike on every machine."""
    return ImageFont.load_default(size)


def text_size(words: str, size: int) -> tuple[int, int]:
    """Width and line height of one line in pixels."""
    left, _, right, _ = font(size).getbbox(words)
    return round(right - left), round(size * 1.25)


def wrap(words: str, size: int, width: int) -> list[str]:
    """Break at spaces so that each line fits `width`; a word that is too long is cut with an ellipsis."""
    lines: list[str] = []
    for word in words.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and text_size(joined, size)[0] <= width:
            lines[-1] = joined
        else:
            lines.append(_cut(word, size, width))
    return lines


def _cut(word: str, size: int, width: int) -> str:
    if text_size(word, size)[0] <= width:
        return word
    while len(word) > 1 and text_size(word + "…", size)[0] > width:
        word = word[:-1]
    return word + "…"


def write(picture: ByteArray, words: str, at: tuple[int, int], size: int, colour: Colour) -> None:
    """Write one line into `picture` (H, W, 3), in place, its top left corner at (x, y)."""
    canvas = PILImage.fromarray(picture)
    ImageDraw.Draw(canvas).text(at, words, fill=colour, font=font(size))
    picture[...] = np.asarray(canvas)


class Chips:
    """Labels on one picture that keep off each other as far as there is room."""

    def __init__(self, picture: ByteArray, size: int) -> None:
        self._picture = picture
        self._size = size
        self._taken: list[Area] = []

    def put(self, words: str, box: Area, colour: Colour) -> None:
        """Write `words` on a chip of `colour` at the best free corner of `box` (x0, y0, x1, y1)."""
        margin = max(2, self._size // 4)
        width, height = text_size(words, self._size)
        width, height = width + 2 * margin, height + margin
        spots = [self._inside(x, y, width, height) for x, y in _corners(box, width, height)]
        area = next(
            (spot for spot in spots if not any(_overlap(spot, other) for other in self._taken)), spots[0]
        )
        self._taken.append(area)
        self._stamp(words, area, margin, colour)

    def _stamp(self, words: str, area: Area, margin: int, colour: Colour) -> None:
        x0, y0, x1, y1 = area
        part = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        part[...] = colour
        write(part, words, (margin, margin // 2), self._size, ink(colour))
        target = self._picture[y0:y1, x0:x1]
        target[...] = part[: target.shape[0], : target.shape[1]]

    def _inside(self, x: int, y: int, width: int, height: int) -> Area:
        full_height, full_width = self._picture.shape[:2]
        x = max(0, min(x, full_width - width))
        y = max(0, min(y, full_height - height))
        return x, y, x + width, y + height


def _corners(box: Area, width: int, height: int) -> list[tuple[int, int]]:
    """Places for a chip: above the box, below it, inside its top, and further to the right of each."""
    x0, y0, x1, y1 = box
    return [(x, y) for x in (x0, x1 - width, x1) for y in (y0 - height, y1, y0)]


def _overlap(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
