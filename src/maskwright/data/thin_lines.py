"""Lines of any width, thinned to one pixel."""

from __future__ import annotations

import numpy as np

from maskwright.types import BoolArray

# Thinning draws lines back from where the picture ends; the last row, repeated, keeps them whole.
_MARGIN = 16


def thin_lines(lines: BoolArray) -> BoolArray:
    """The middle of each line, one pixel wide, up to where the picture ends; (H, W) bool to the same."""
    # numba takes a while to import, and not every program that knows datasets thins lines.
    from maskwright.data.thinning import thin

    middle = thin(np.pad(lines, _MARGIN, mode="edge"))
    return np.ascontiguousarray(middle[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN])
