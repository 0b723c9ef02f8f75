"""Label maps whose colours are the labels: all three channels of a pixel decide what it is.

Without a palette a colour stands for itself, packed as in COCO's panoptic and iSAID's instance maps:
red + 256 · green + 65,536 · blue. With one, each colour has its number, and a colour that is not in it is
refused, kept as a label of its own, or counted to the nearest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from maskwright.errors import MaskError
from maskwright.io.decode import open_image
from maskwright.io.files import shown
from maskwright.io.images import read_image
from maskwright.io.masks import LabelMap, read_label_map
from maskwright.types import ByteArray

Colour = tuple[int, int, int]
Unknown = Literal["refuse", "keep", "nearest"]
UNKNOWN: tuple[Unknown, ...] = ("refuse", "keep", "nearest")

KEPT = 1 << 24
"""Labels from here on are colours that their palette lacks, packed."""
_COLOUR_MODES = ("RGB", "RGBA", "RGBX")


@dataclass(frozen=True)
class Palette:
    """The colours of classes.

    Args:
        colours: of each class's number; of numbers that share a colour, the lowest is read.
        numbers: whether the same set also comes as maps of one channel that hold the numbers themselves, or
            as palette files whose indices are the numbers.
    """

    colours: Mapping[int, Colour]
    numbers: bool = False

    def labels(self, codes: LabelMap, unknown: Unknown, path: Path) -> LabelMap:
        """Turn packed colours (H, W) into class numbers (H, W).

        Raises:
            MaskError: for colours that are not in the palette, where those are refused.
        """
        labels = np.full(codes.shape, -1, np.int32)
        for number in sorted(self.colours, reverse=True):
            labels[codes == pack(self.colours[number])] = number
        others: list[int] = np.unique(codes[labels < 0]).tolist()
        if others and unknown == "refuse":
            listed = ", ".join(colour_name(code) for code in others[:5]) + (", …" if len(others) > 5 else "")
            message = f"has {len(others)} colours that stand for no class: {listed}"
            raise MaskError(
                f"{shown(path)} {message}; unknown=nearest counts them to the nearest colour, "
                "unknown=keep makes each a label of its own."
            )
        if others and unknown == "keep":
            labels = np.where(labels < 0, codes + KEPT, labels)
        elif others:
            codes_of = np.asarray(others)
            places = np.searchsorted(codes_of, codes).clip(max=len(others) - 1)
            labels = np.where(labels < 0, self._nearest(codes_of)[places], labels)
        return labels

    def _nearest(self, codes: LabelMap) -> LabelMap:
        """The class of each code by distance in red, green and blue; of equally near ones the lowest."""
        numbers = np.asarray(sorted(self.colours), np.int32)
        known = np.asarray([self.colours[int(number)] for number in numbers], np.int32)
        given = np.stack([codes & 255, codes >> 8 & 255, codes >> 16], axis=-1).astype(np.int32)
        nearest = np.empty(len(codes), np.int32)
        for start in range(0, len(codes), 1 << 16):  # a photo given as a map has as many colours as pixels
            distances = ((given[start : start + (1 << 16), None] - known) ** 2).sum(axis=-1)
            nearest[start : start + (1 << 16)] = numbers[distances.argmin(axis=1)]
        return nearest


def read_codes(
    path: str | os.PathLike[str],
    palette: Palette | None = None,
    unknown: Unknown = "refuse",
    data: bytes | None = None,
) -> LabelMap:
    """Read a label map of numbers or of colours.

    Args:
        path: PNG, TIFF or BMP.
        palette: the colours of classes. Without one, a map of one channel (8 or 16 bits, or palette indices)
            gives its numbers, and one of colours the packed colours.
        unknown: what becomes of colours that the palette lacks.
        data: the file's bytes, where it lies inside another file; `path` is then only its name.

    Returns:
        (H, W) int32, turned upright; colours kept as labels are at `KEPT` and above.

    Raises:
        ImageError: when the file cannot be read.
        MaskError: when it is a JPEG, has transparent parts, more than 8 bits a colour, or unknown colours.
    """
    path = Path(path)
    with open_image(path, data=data) as opened:
        mode, lossy = opened.header.mode, opened.header.format == "JPEG"
    coloured = mode in _COLOUR_MODES
    if lossy or not (coloured or palette) or (palette and palette.numbers and not coloured):
        return read_label_map(path, data=data)  # which refuses what is no map
    codes = _packed(path, _colours(path, mode, data))
    return palette.labels(codes, unknown, path) if palette else codes


def pack(colour: Colour) -> int:
    """Give a colour's packed number."""
    red, green, blue = colour
    return red | green << 8 | blue << 16


def colour_name(code: int) -> str:
    """A packed colour as people write it: #ff8000."""
    return f"#{code & 255:02x}{code >> 8 & 255:02x}{code >> 16 & 255:02x}"


def _colours(path: Path, mode: str, data: bytes | None) -> ByteArray:
    """The colours of a map as shown; a grey one's are grey, a palette file's those of its palette."""
    if mode in ("P", "1", "L"):
        return read_image(path, data=data).pixels
    with open_image(path, data=data) as opened:
        values = opened.stored()
    if values.ndim != 3 or values.dtype != np.uint8 or values.shape[2] not in (3, 4):
        message = f"holds {values.dtype} values of shape {values.shape}, not colours of 8 bits a channel"
        raise MaskError(f"{shown(path)} {message}.")
    if mode == "RGBA" and (values[..., 3] != 255).any():
        raise MaskError(f"{shown(path)} has transparent parts, so it is no label map.")
    return np.ascontiguousarray(values[..., :3])


def _packed(path: Path, pixels: ByteArray) -> LabelMap:
    assert pixels.shape[2] == 3, (path, pixels.shape)
    codes = pixels[..., 2].astype(np.int32)
    for channel in (1, 0):
        codes <<= 8
        codes |= pixels[..., channel]
    return codes
