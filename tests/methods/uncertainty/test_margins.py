"""Margins of masks against the distance of every pair of pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from reference import conformal as twin

from maskwright.errors import InputError
from maskwright.methods.uncertainty.margins import GRID, cover_need, object_size, with_margin
from maskwright.types import BoolArray

shapes = st.tuples(st.integers(1, 7), st.integers(1, 9))
pairs = shapes.flatmap(
    lambda shape: st.tuples(arrays.arrays(np.bool_, shape), arrays.arrays(np.bool_, shape))
)


@given(pairs)
@settings(max_examples=40, deadline=None)
def test_equals_twin(pair: tuple[BoolArray, BoolArray]) -> None:
    mask, truth = pair
    assume(mask.any() and truth.any())
    need = cover_need(mask, truth)
    assert need.margin == pytest.approx(twin.needed_margin(mask, truth))
    for step in (0, 40, 80, 120):
        assert need.missed_J[step] == pytest.approx(twin.missed(mask, truth, GRID[step]), abs=1e-6)
    for margin in (0.0, 0.3, need.margin * 1.001):
        assert (with_margin(mask, margin) == twin.with_margin(mask, margin)).all()


@given(pairs)
@settings(max_examples=40, deadline=None)
def test_the_needed_margin_is_the_least_that_covers(pair: tuple[BoolArray, BoolArray]) -> None:
    mask, truth = pair
    need = cover_need(mask, truth)
    assert (np.diff(need.missed_J) <= 0).all()
    if mask.any():
        assert not (truth & ~with_margin(mask, need.margin)).any()
        assert need.margin == 0 or (truth & ~with_margin(mask, need.margin * 0.999)).any()
    else:
        assert need.margin == (math.inf if truth.any() else 0)
        assert not with_margin(mask, 1.0).any()


def test_a_margin_is_a_share_of_the_size_at_every_resolution() -> None:
    small = np.zeros((60, 90), np.bool_)
    small[20:40, 30:50] = True
    large = np.kron(small, np.ones((5, 5), np.bool_))
    assert object_size(small) == 20
    assert large.sum() == 25 * small.sum()
    grown = [with_margin(mask, 0.5).sum() / mask.sum() for mask in (small, large)]
    # A square with rounded corners.
    assert grown == pytest.approx([1 + 4 * 0.5 + math.pi * 0.5**2] * 2, rel=0.03)
    assert with_margin(large, 50.0).all()
    shifted = np.roll(large, 10, axis=1)
    assert cover_need(large, shifted).margin == pytest.approx(0.1)
    before = large.copy()
    with_margin(large, 0.1)
    assert (large == before).all()


def test_refuses_other_shapes() -> None:
    with pytest.raises(InputError, match=r"truth must have shape \(3, 4\)"):
        cover_need(np.ones((3, 4), np.bool_), np.ones((4, 3), np.bool_))
    with pytest.raises(InputError, match="mask must have shape"):
        with_margin(np.ones((1, 3, 4), np.bool_), 0.1)
