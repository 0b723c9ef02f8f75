"""Pictures set side by side, each with its caption: figures for reports, papers and issues."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskwright.errors import InputError
from maskwright.report.canvas import blank, scaled
from maskwright.report.palette import WHITE, Colour
from maskwright.report.text import text_size, wrap, write
from maskwright.types import ByteArray, check_shape


def side_by_side(
    pictures: Sequence[ByteArray],
    captions: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    height: int | None = None,
    background: Colour = WHITE,
) -> ByteArray:
    """Set pictures in rows, scaled to one height, each with its caption below.

    Args:
        pictures: (H_i, W_i, 3) uint8 each, of any sizes.
        captions: one text a picture; long ones are wrapped.
        columns: pictures in a row; all in one row when left out.
        height: of every picture in pixels; the tallest one's, at most 640, when left out.
        background: colour between the pictures.

    Raises:
        InputError: without pictures, or with a different number of captions.
    """
    if not pictures:
        raise InputError("side_by_side needs at least one picture.")
    if captions is not None and len(captions) != len(pictures):
        raise InputError(f"{len(captions)} captions were given for {len(pictures)} pictures.")
    for picture in pictures:
        check_shape("picture", picture, ("H", "W", 3))
    height = height or max(64, min(640, max(picture.shape[0] for picture in pictures)))
    words = captions or [""] * len(pictures)
    tiles = [_tile(picture, text, height, background) for picture, text in zip(pictures, words, strict=True)]
    columns = columns or len(tiles)
    gap = max(4, height // 48)
    rows = [
        _join(tiles[start : start + columns], 1, gap, background) for start in range(0, len(tiles), columns)
    ]
    sheet = _join(rows, 0, gap, background)
    framed = blank(sheet.shape[0] + 2 * gap, sheet.shape[1] + 2 * gap, background)
    framed[gap:-gap, gap:-gap] = sheet
    return framed


def _tile(picture: ByteArray, caption: str, height: int, background: Colour) -> ByteArray:
    shown = scaled(picture, height / picture.shape[0])
    width = shown.shape[1]
    size = max(12, height // 26)
    lines = wrap(caption, size, width)
    line_height = text_size("", size)[1]
    strip = blank(line_height * len(lines) + (size // 2 if lines else 0), width, background)
    for number, line in enumerate(lines):
        left = (width - text_size(line, size)[0]) // 2
        write(strip, line, (max(0, left), size // 4 + number * line_height), size, _ink_on(background))
    tile: ByteArray = np.concatenate([shown, strip])
    return tile


def _ink_on(background: Colour) -> Colour:
    return (34, 34, 34) if sum(background) > 384 else (238, 238, 238)


def _join(parts: Sequence[ByteArray], axis: int, gap: int, background: Colour) -> ByteArray:
    """Concatenate along `axis` with a gap, filling shorter parts up to the longest on the other axis."""
    other = 1 - axis
    longest = max(part.shape[other] for part in parts)
    total = sum(part.shape[axis] for part in parts) + gap * (len(parts) - 1)
    sheet = blank(total, longest, background) if axis == 0 else blank(longest, total, background)
    start = 0
    for part in parts:
        stop = start + part.shape[axis]
        target = sheet[start:stop] if axis == 0 else sheet[:, start:stop]
        target[: part.shape[0], : part.shape[1]] = part
        start = stop + gap
    return sheet
