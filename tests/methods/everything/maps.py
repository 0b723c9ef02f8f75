"""Small maps that hypothesis draws, and boundary maps made by a formula."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.types import FloatArray

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)


@st.composite
def levels_and_markers(draw: Any) -> Any:
    """Levels with many equals, and markers that may touch, repeat or be missing."""
    shape = draw(SHAPES)
    levels = draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 254, 255])))
    markers = draw(hnp.arrays(np.int32, shape, elements=st.sampled_from([0, 0, 0, 0, 1, 2, 7])))
    return levels, markers


def probabilities(steps: int = 5) -> Any:
    """Boundary maps of few different values."""
    values = [np.float32(k / steps) for k in range(steps + 1)]
    return hnp.arrays(np.float32, SHAPES, elements=st.sampled_from(values))


def ridges(height: int, width: int, seed: int = 0, cells: int = 60) -> FloatArray:
    """A smooth map with ridges between random cells, some higher than others, as a network gives it."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (cells, 2)) * (height, width)
    heights = rng.uniform(0, 1, cells).astype(np.float32)
    rows, columns = np.mgrid[:height, :width]
    distances = [(rows - y) ** 2 + (columns - x) ** 2 for y, x in points]
    painted = heights[np.argmin(distances, axis=0)]
    across, down = (cv2.Sobel(painted, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    smooth = cv2.GaussianBlur(np.hypot(across, down) + rng.random((height, width)) * 0.02, (0, 0), 1.5) / 2
    result: FloatArray = np.clip(smooth, 0, 1).astype(np.float32)
    return result
