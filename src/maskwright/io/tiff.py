"""TIFF pages that Pillow does not know (float64, several float channels, …), through tifffile.

tifffile fills what a damaged file lacks with zeros, so a page is checked first: every part of its pixels
must lie in the file, and no number in its header may ask for more memory than the pixels need.
"""

from __future__ import annotations

import os
from typing import BinaryIO

import numpy as np
import tifffile

_MAX_BYTES_A_PIXEL = 32
_SMALL_TILE = 1024 * 1024
_UNCOMPRESSED = 1


def open_page(file: BinaryIO, number: int) -> tifffile.TiffPage:
    """Read the header of a page and check it.

    Raises:
        ValueError: saying what is wrong with the file.
        IndexError: when there is no such page.
    """
    file.seek(0)
    page = tifffile.TiffFile(file).pages[number]
    assert isinstance(page, tifffile.TiffPage)
    check_page(page, file.seek(0, os.SEEK_END))
    return page


def check_page(page: tifffile.TiffPage, file_size: int, max_bytes_a_pixel: int = _MAX_BYTES_A_PIXEL) -> None:
    """Refuse a page that cannot be whole, or whose header is made to exhaust memory.

    Raises:
        ValueError: saying what is wrong.
    """
    width, height = page.imagewidth, page.imagelength
    sides = (width, height, page.tilewidth, page.tilelength, page.tiledepth)
    if not all(isinstance(side, int) for side in sides):
        raise ValueError("its size is not a number")
    if page.dtype is None:
        raise ValueError("its data type is unknown")
    if page.is_tiled and page.tilewidth * page.tilelength > 4 * max(width * height, _SMALL_TILE):
        raise ValueError("its tiles are far larger than the image")
    if page.imagedepth != 1 or page.tiledepth > 1:
        raise ValueError("it is a volume, not an image")
    if page.nbytes > max_bytes_a_pixel * width * height:
        raise ValueError(f"it has {page.samplesperpixel} channels")
    _check_parts(page, file_size)


def _check_parts(page: tifffile.TiffPage, file_size: int) -> None:
    expected = int(np.prod([int(count) for count in page.chunked], dtype=object))
    offsets, counts = page.dataoffsets, page.databytecounts
    ends = (offset + count for offset, count in zip(offsets, counts, strict=False))
    complete = (
        len(offsets) == len(counts) == expected and all(counts) and all(end <= file_size for end in ends)
    )
    if page.compression == _UNCOMPRESSED and complete:
        complete = sum(counts) >= _stored_bytes(page)
    if not complete:
        raise ValueError("part of its pixels is missing")


def _stored_bytes(page: tifffile.TiffPage) -> int:
    """Bytes of the uncompressed pixels; those of less than 8 bits are packed, and rows end on whole bytes."""
    if page.bitspersample >= 8:
        return int(page.nbytes)
    return -(-page.imagewidth * page.samplesperpixel * page.bitspersample // 8) * page.imagelength
