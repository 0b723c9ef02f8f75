"""Label maps as palette PNGs: the numbers are the labels, and viewers show them in colours.

The colours are those of PASCAL VOC and DAVIS, so that results lie beside the annotations unchanged.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImages

from maskwright.errors import MaskError
from maskwright.io.files import atomic_writer, shown
from maskwright.types import ByteArray

_BITS = 8


def write_palette_png(path: str | os.PathLike[str], labels: npt.NDArray[np.integer[Any]]) -> None:
    """Write (H, W) labels from 0 to 255 as an 8-bit PNG with the palette of DAVIS, atomically.

    `io.masks.read_label_map` reads them back.

    Raises:
        MaskError: for other labels.
        FileError: naming the path and the reason.
    """
    if labels.min(initial=0) < 0 or labels.max(initial=0) > 255:
        span = f"{labels.min()} to {labels.max()}"
        raise MaskError(f"cannot write {shown(path)}: a palette has labels 0 to 255, and these are {span}.")
    image = PILImages.fromarray(labels.astype(np.uint8))
    image.putpalette(voc_colours().tobytes())
    with atomic_writer(path) as file:
        image.save(file, format="PNG")


@cache
def voc_colours() -> ByteArray:
    """(256, 3) PASCAL VOC's colour of each label: its bits, dealt to red, green and blue, high ones first."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for place in range(_BITS):
        channel, shift = place % 3, 7 - place // 3
        colours[:, channel] |= ((labels >> place & 1) << shift).astype(np.uint8)
    return colours
