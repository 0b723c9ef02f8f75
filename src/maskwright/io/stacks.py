"""The pages of TIFF stacks, one after the other: of any sizes, 1 to 32 bits, float, or colour.

Where the pages are:

- `first`: as the file has them, a page of the stack is a page of the file. Previews do not count. A page with
  more than four channels is itself a stack, saved as (height, width, pages) or (pages, height, width).
- `last`: the file holds an array (height, width, pages) that was written row by row, so that each of its
  pages is one row of all pages of the stack. Nothing in such a file says so; its pages look like strips.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tifffile

from maskwright.errors import ImageError
from maskwright.io.decode import MAX_PIXELS, PREVIEW_OR_MASK, naming, opened, turn
from maskwright.io.files import shown
from maskwright.io.formats import detect_format
from maskwright.io.tiff import check_page

PagesAxis = Literal["first", "last"]
Values = npt.NDArray[Any]

_MAX_BYTES = 4_000_000_000
_ORIENTATION = 274
_COLOUR_CHANNELS = 4
_CONTIGUOUS = 1
# Grey as people see it: ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)


def read_pages(
    path: str | os.PathLike[str], axis: PagesAxis = "first"
) -> Iterator[tuple[int, Values | ImageError]]:
    """Read a stack page by page.

    Yields:
        (number from 0, grey values (H, W) as stored and upright). Colour becomes grey, transparency is left
        out. In place of a page that cannot be read, why; the others follow. A break in the file's list of
        pages is the last thing that is yielded.

    Raises:
        ImageError: the file is no TIFF or cannot be read at all, or with "last" its pages make no array.
    """
    path = Path(path)
    with opened(path) as file, _complaints() as complaints:
        kind = detect_format(path, file.read(32))
        if kind != "TIFF":
            raise ImageError(f"{shown(path)} is a {kind}; a stack of pages is a TIFF.")
        file.seek(0)
        with naming(path):
            stack = tifffile.TiffFile(file)
        number = -1
        try:
            for number, page in enumerate(_across(path, stack) if axis == "last" else _pages(path, stack)):
                yield number, page
        except ImageError as error:
            if number < 0:
                raise
            complaints.append(str(error))
    if number < 0:
        raise ImageError(f"cannot read {shown(path)}: it has no page ({'; '.join(complaints) or 'at all'}).")
    if complaints:
        message = f"its list of pages is broken after page {number} ({complaints[0].rstrip('.')})"
        yield number + 1, ImageError(f"cannot read all of {shown(path)}: {message}.")


def _pages(path: Path, file: tifffile.TiffFile) -> Iterator[Values | ImageError]:
    """The stack's pages where the file's pages are."""
    for number, page in enumerate(_whole(path, file)):
        try:
            values = _read(path, page, number)
        except ImageError as error:
            yield error
            continue
        if values.ndim == 2:
            yield values
        elif len(values) <= _COLOUR_CHANNELS:
            yield _grey(values)
        else:
            yield from values


def _across(path: Path, file: tifffile.TiffFile) -> Iterator[Values]:
    """The stack's pages where each page of the file is one row (W, pages) of all of them."""
    rows = list(_whole(path, file))
    if not rows:
        return
    if any(row.shape != rows[0].shape or row.dtype != rows[0].dtype or row.ndim != 2 for row in rows):
        raise ImageError(f"the pages of {shown(path)} differ, so they are no array (height, width, pages).")
    if len(rows) * rows[0].nbytes > _MAX_BYTES:
        raise ImageError(
            f"{shown(path)} holds {len(rows)} × {rows[0].shape} values, more than fit in memory."
        )
    stack = np.stack([_read(path, row, number) for number, row in enumerate(rows)])
    yield from np.moveaxis(stack, 2, 0)


def _whole(path: Path, file: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    """The file's pages without previews; their headers only."""
    with naming(path):
        for number in range(len(file.pages)):
            page = file.pages[number]
            if isinstance(page, tifffile.TiffPage) and not int(page.subfiletype) & PREVIEW_OR_MASK:
                yield page


def _read(path: Path, page: tifffile.TiffPage, number: int) -> Values:
    """Decode a page, upright: (H, W), or with several channels (C, H, W)."""
    where = Path(f"{path}, page {number}")
    with naming(where):
        if page.imagewidth * page.imagelength > MAX_PIXELS:
            raise ValueError(f"it has more than {MAX_PIXELS:,} pixels")
        check_page(page, page.parent.filehandle.size, max_bytes_a_pixel=_MAX_BYTES // MAX_PIXELS)
        if page.dtype is None or page.dtype.kind not in "buif":
            raise ValueError(f"its values are {page.dtype}, not plain numbers")
        values = np.asarray(page.asarray())
        tag = page.tags.get(_ORIENTATION)
        # A value that does not exist counts as upright, as in all viewers.
        orientation = tag.value if tag is not None and tag.value in range(1, 9) else 1
    if values.ndim == 2:
        return turn(values, orientation)
    pixels = values if page.planarconfig == _CONTIGUOUS else np.moveaxis(values, 0, 2)
    return np.moveaxis(turn(pixels, orientation), 2, 0)


def _grey(channels: Values) -> Values:
    """Grey values (H, W) of 2 to 4 channels (C, H, W); exact where all colours agree."""
    colours = channels[:3] if len(channels) >= 3 else channels[:1]
    if (colours == colours[:1]).all():
        return np.asarray(colours[0])
    return np.tensordot(np.array(_LUMA), colours.astype(np.float64), axes=1)


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tifffile logs meanwhile: it passes over damage in a file's list of pages with a message only."""
    found: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(" ".join(record.getMessage().split())[:200])

    logger, handler = logging.getLogger("tifffile"), Collect(logging.ERROR)
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
