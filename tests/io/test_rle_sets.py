"""Areas, overlaps and unions of run-length masks: those of their pixels, and what pycocotools says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from maskwright.errors import MaskError
from maskwright.io.rle import RLE, encode_all
from maskwright.io.rle_sets import areas, ious, merge
from maskwright.metrics.regions import iou
from maskwright.types import BoolArray

SETS = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: hnp.arrays(np.bool_, shape)
)


@settings(deadline=None, max_examples=80)
@given(SETS)
def test_they_are_those_of_the_pixels(masks: BoolArray) -> None:
    packed = encode_all(masks)
    assert areas(packed).tolist() == masks.sum(axis=(1, 2)).tolist()
    pairs = np.broadcast_arrays(masks[:, None], masks[None])
    assert np.array_equal(ious(packed, packed), iou(*pairs))
    assert merge(packed) == RLE.encode(np.asarray(masks.any(axis=0)))


def test_they_are_those_of_pycocotools() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((12, 90, 70), np.bool_)
    for mask in masks:
        y, x = rng.integers(0, 60, 2)
        mask[y : y + rng.integers(1, 60), x : x + rng.integers(1, 60)] = True
    packed = encode_all(masks ^ (rng.random(masks.shape) > 0.99))
    records: list[Any] = [{"size": list(mask.size), "counts": mask.counts.encode()} for mask in packed]
    assert np.array_equal(ious(packed[:5], packed), coco.iou(records[:5], records, [0] * 12))
    assert areas(packed).tolist() == coco.area(records).tolist()
    assert merge(packed).counts == coco.merge(records)["counts"].decode()


def test_runs_of_no_pixels_change_nothing() -> None:
    odd = [
        RLE.from_runs(runs, (2, 3)) for runs in ([0, 6, 0], [0, 0, 1, 2, 0, 1, 2], [2, 0, 4], [1, 5, 0, 0])
    ]
    plain = [RLE.encode(mask.decode()) for mask in odd]
    assert areas(odd).tolist() == [6, 3, 0, 5]
    assert np.array_equal(ious(odd, odd), ious(plain, plain))
    assert merge(odd[1:]) == merge(plain[1:])


def test_none_and_masks_of_different_sizes() -> None:
    one, other = RLE.from_runs([4], (2, 2)), RLE.from_runs([6], (2, 3))
    assert areas([]).shape == (0,)
    assert ious([], [one]).shape == (0, 1)
    assert ious([one], [one]) == 1
    with pytest.raises(MaskError, match="one size"):
        ious([one], [other])
    with pytest.raises(MaskError, match="one size"):
        merge([one, other])
