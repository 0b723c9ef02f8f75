"""Lines of any width, thinned to one pixel."""

from __future__ import annotations

import numpy as np
from skimage.morphology import skeletonize

from maskwright.types import BoolArray

# Thinning draws lines back from where the picture ends; the last row, repeated, keeps them whole.
_MARGIN = 16


def thin_lines(lines: BoolArray) -> BoolArray:
    """The middle of each line, one pixel wide; (H, W) bool to the same (Zhang and Suen 1984)."""
    padded = np.pad(lines, _MARGIN, mode="edge")
    middle: BoolArray = np.ascontiguousarray(skeletonize(padded)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN])
    return middle
