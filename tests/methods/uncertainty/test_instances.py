"""Where clicks go: inside, at the centre, and the same whatever is done before or elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from methods.uncertainty.scenes import squares

from maskwright.methods.uncertainty.instances import boxes, clicks, eroded, nearest_to_centroid
from maskwright.types import BoolArray

MASKS = arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))).filter(lambda mask: bool(mask.any()))


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_clicks_are_on_the_object_and_off_its_rim_where_that_can_be(mask: BoolArray) -> None:
    drawn = clicks(mask[None], [3], "x", seed=1)[0].astype(int)
    inner = eroded(mask)
    assert all(inner[y, x] for x, y in drawn)
    different = len({(x, y) for x, y in drawn[1:].tolist()})
    assert different == 7 or inner.sum() < 7


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_the_centre_is_the_pixel_nearest_to_the_centroid(mask: BoolArray) -> None:
    x, y = nearest_to_centroid(mask)
    rows, columns = np.nonzero(mask)
    middle = rows.mean(), columns.mean()
    distances = [
        (row - middle[0]) ** 2 + (column - middle[1]) ** 2 for row, column in zip(rows, columns, strict=True)
    ]
    assert mask[int(y), int(x)]
    assert (y - middle[0]) ** 2 + (x - middle[1]) ** 2 == pytest.approx(min(distances))


def test_the_rim_of_two_pixels_goes_but_not_at_the_edge_of_the_photo() -> None:
    mask = np.zeros((10, 20), bool)
    mask[:, :8] = True  # touches three edges
    assert np.array_equal(np.flatnonzero(eroded(mask).all(axis=0)), np.arange(6))
    thin = np.zeros((10, 20), bool)
    thin[4, 4:9] = True
    assert np.array_equal(eroded(thin), thin)


def test_clicks_do_not_depend_on_the_other_instances_or_their_order() -> None:
    masks, ids = squares(5), [4, 7, 1, 2, 9]
    drawn = clicks(masks, ids, "a/b.jpg", seed=5)
    order = [3, 0, 4]
    again = clicks(masks[order], [ids[k] for k in order], "a/b.jpg", seed=5)
    assert np.array_equal(again, drawn[order])
    for other in (clicks(masks, ids, "a/b.jpg", seed=6), clicks(masks, ids, "a/c.jpg", seed=5)):
        assert np.array_equal(other[:, 0], drawn[:, 0])
        assert not np.array_equal(other, drawn)


def test_boxes_are_tight() -> None:
    assert boxes(squares(2)).tolist() == [[2, 2, 8, 8], [10, 2, 16, 8]]
    assert boxes(squares(0)).shape == (0, 4)
