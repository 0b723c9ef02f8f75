"""All masks of a label map at once: the very text that each mask alone gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.errors import MaskError
from maskwright.io.label_rle import encode_labels
from maskwright.io.rle import RLE

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_they_equal_the_masks_one_by_one(data: Any) -> None:
    labels = data.draw(hnp.arrays(np.int32, data.draw(SHAPES), elements=st.integers(-1, 5)))
    expected = [RLE.encode(labels == label) for label in range(1, 5)]
    assert list(encode_labels(labels, 4)) == expected
    assert list(encode_labels(labels[::2, ::-1], 4)) == [
        RLE.encode(labels[::2, ::-1] == k) for k in range(1, 5)
    ]


@pytest.mark.parametrize("shape", [(700, 300), (1, 20_000), (20_000, 1)])
def test_long_runs_take_several_characters(shape: tuple[int, int]) -> None:
    labels = np.ones(shape, np.int32)
    labels.ravel()[[0, 3, labels.size // 2, -2]] = 2
    assert list(encode_labels(labels, 3)) == [RLE.encode(labels == label) for label in (1, 2, 3)]


def test_a_map_without_pixels_is_refused() -> None:
    with pytest.raises(MaskError, match="does not exist"):
        encode_labels(np.zeros((0, 4), np.int32), 1)
