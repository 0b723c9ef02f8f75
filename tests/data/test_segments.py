"""Splitting maps of numbers into masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.data import segments
from maskwright.data.segments import split_labels


@given(seed=st.integers(0, 1000), most=st.sampled_from([1, 3, 40, 1 << 21]), empty=st.booleans())
def test_each_number_has_its_mask(seed: int, most: int, empty: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1 if most == 3 else 0, most, (0 if empty else 7, 9), dtype=np.int32)
    left_out = {0, int(rng.integers(most))}
    masks, ids = split_labels(labels, left_out)
    assert ids == tuple(sorted(set(labels.ravel().tolist()) - left_out))
    assert masks.shape == (len(ids), *labels.shape)
    assert all(np.array_equal(mask, labels == label) for mask, label in zip(masks, ids, strict=True))


@pytest.mark.parametrize("few", [0, 100])
def test_both_ways_to_split_agree(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "FEW", few)
    labels = np.random.default_rng(0).integers(0, 30, (20, 30), dtype=np.int32)
    masks, ids = split_labels(labels, (0,))
    assert ids == tuple(range(1, 30))
    assert all(np.array_equal(mask, labels == label) for mask, label in zip(masks, ids, strict=True))
