"""The chunks of a PNG file: checksums, which Pillow skips while decoding, and EXIF data behind the pixels."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_SIGNATURE_LENGTH = 8
_BLOCK = 1 << 20
_MAX_EXIF = 1 << 20


def check_sums(file: BinaryIO) -> None:
    """Compare every chunk's checksum; flipped bits would otherwise become wrong pixels.

    Raises:
        ValueError: naming the chunk whose sum is wrong, or saying that the file is cut off.
    """
    for kind, position, length in _chunks(file):
        file.seek(position)
        total = zlib.crc32(kind)
        for start in range(0, length, _BLOCK):
            total = zlib.crc32(file.read(min(_BLOCK, length - start)), total)
        if int.from_bytes(file.read(4), "big") != total:
            raise ValueError(f"the checksum of its {kind!a} chunk is wrong")


def late_exif(file: BinaryIO) -> bytes | None:
    """The EXIF data that stands after the pixels, where Pillow finds it only by decoding them all.

    Raises:
        ValueError: when the file is cut off.
    """
    for kind, position, length in _chunks(file):
        if kind == b"eXIf" and length <= _MAX_EXIF:
            file.seek(position)
            return file.read(length)
    return None


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start of the data and length of each chunk, up to the end marker."""
    end = file.seek(0, os.SEEK_END)
    position = _SIGNATURE_LENGTH
    while True:
        file.seek(position)
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or position + 12 + length > end:
            raise ValueError("the file ends before the image does")
        yield kind, position + 8, length
        if kind == b"IEND":
            return
        position += 12 + length
