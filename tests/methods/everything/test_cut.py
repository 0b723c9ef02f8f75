"""Boundary maps made of masks, and the choice between the tree's levels and the published threshold."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.io.rle import RLE
from maskwright.methods.everything.cut import boundary_of_masks, cut
from maskwright.methods.everything.segments import segments
from maskwright.methods.everything.settings import CutSettings


def square(top: int, left: int, side: int) -> RLE:
    mask = np.zeros((20, 30), np.bool_)
    mask[top : top + side, left : left + side] = True
    return RLE.encode(mask)


def test_a_mask_is_outlined_as_strongly_as_it_is_believed() -> None:
    masks, scores = [square(2, 3, 8), square(4, 5, 12), square(0, 0, 20)], [0.9, 0.4, 1.7]
    found = boundary_of_masks(masks, scores, (20, 30))
    expected = np.zeros((20, 30))
    for mask, score in zip(masks, scores, strict=True):
        inside = mask.decode()
        for y in range(20):
            for x in range(30):
                near = [(y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)]
                line = any(inside[y, x] != inside[v, u] for v, u in near if 0 <= v < 20 and 0 <= u < 30)
                expected[y, x] = max(expected[y, x], line * min(score, 1))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not boundary_of_masks([], [], (3, 4)).any()


def test_levels_and_the_published_threshold() -> None:
    boundary = np.zeros((20, 30), np.float32)
    boundary[:, 10], boundary[:, 20] = 0.6, 0.2
    assert cut(boundary, CutSettings(), {}).segments.count == 2
    assert cut(boundary, CutSettings(level=0.1), {}).segments.count == 3
    assert cut(boundary, CutSettings(level=0.1, segments=2), {}).segments.count == 2
    published = cut(boundary, CutSettings(threshold=0.1), {"model": 1.0})
    assert np.array_equal(published.segments.labels, segments(boundary, threshold=0.1).labels)
    assert list(published.seconds) == ["model", "tree", "segments"]


def test_settings_out_of_range() -> None:
    for wrong in ({"level": 1.1}, {"segments": 0}, {"min_area": -1}, {"rim": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CutSettings(**wrong)
