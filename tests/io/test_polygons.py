"""Outlines along pixel borders: exact both ways, holes kept, valid by the OGC's rules; COCO polygons."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from maskwright.errors import MaskError
from maskwright.io.polygons import (
    Polygon,
    from_geojson,
    outline,
    rasterise,
    rasterise_coco,
    to_geojson,
)
from maskwright.types import BoolArray

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


def signed_area(ring: Any) -> float:
    return float(sum(a[0] * b[1] - a[1] * b[0] for a, b in itertools.pairwise([*ring, ring[0]]))) / 2


def edge(mask: BoolArray) -> Any:
    square = np.ones((3, 3), np.uint8)
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, square).astype(np.bool_)


def check(mask: BoolArray) -> None:
    polygons = outline(mask)
    assert (rasterise(polygons, mask.shape) == mask).all()
    count, components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    assert len(polygons) == count - 1
    for polygon in polygons:
        own = rasterise([polygon], mask.shape)
        assert len(np.unique(components[own])) == 1
        assert signed_area(polygon.exterior) + sum(map(signed_area, polygon.holes)) == own.sum()
        assert signed_area(polygon.exterior) > 0
        assert all(signed_area(hole) < 0 for hole in polygon.holes)
        for ring in (polygon.exterior, *polygon.holes):
            assert len({tuple(point) for point in ring.tolist()}) == len(ring), "touches itself"
            steps = np.roll(ring, -1, axis=0) - ring
            assert ((steps == 0).sum(axis=1) == 1).all(), "every edge is horizontal or vertical"
            assert ((steps[:, 0] == 0) != np.roll(steps[:, 0] == 0, 1)).all(), "every corner turns"


@settings(deadline=None, max_examples=60)
@given(MASKS)
def test_outlines_are_exact(mask: BoolArray) -> None:
    check(mask)


def test_every_mask_of_three_by_three() -> None:
    for number in range(1 << 9):
        check(np.array([number >> bit & 1 for bit in range(9)], np.bool_).reshape(3, 3))


def test_a_ring_that_touches_itself_becomes_a_hole() -> None:
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], np.bool_)
    [polygon] = outline(mask)
    assert len(polygon.holes) == 1
    check(mask)


def test_noise_is_traced_in_reasonable_time() -> None:
    mask = np.random.default_rng(0).random((200, 300)) > 0.5
    start = time.perf_counter()
    polygons = outline(mask)
    assert (rasterise(polygons, mask.shape) == mask).all()
    assert time.perf_counter() - start < 30


@settings(deadline=None, max_examples=60)
@given(MASKS)
def test_geojson_is_exact(mask: BoolArray) -> None:
    geometry = json.loads(json.dumps(to_geojson(outline(mask))))
    assert geometry["type"] == ("Polygon" if len(outline(mask)) == 1 else "MultiPolygon")
    assert (rasterise(from_geojson(geometry), mask.shape) == mask).all()
    parts = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    assert all(ring[0] == ring[-1] for rings in parts for ring in rings)


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(3, 8), st.just(2)), elements=st.floats(-5, 15)),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_any_polygon_follows_the_even_odd_rule(ring: Any, height: int, width: int) -> None:
    drawn = rasterise([Polygon(ring)], (height, width))
    for row, column in itertools.product(range(height), range(width)):
        x, y = column + 0.5, row + 0.5
        inside = False
        for a, b in itertools.pairwise([*ring, ring[0]]):
            a, b = sorted((a, b), key=lambda point: point[1])
            if a[1] <= y < b[1]:
                meeting = a[0] + (b[0] - a[0]) / (b[1] - a[1]) * (y - a[1])
                if abs(meeting - x) < 1e-6:
                    return  # on the edge: rounding decides
                inside ^= meeting < x
        assert drawn[row, column] == inside


def test_a_bridge_walked_both_ways_changes_nothing() -> None:
    square = [[1, 1], [4, 1], [4, 4], [1, 4], [1, 1]]
    other = [[6.3, 5.1], [9, 5], [9, 9], [6.3, 5.1]]
    both = np.array([*square, *other, [1, 1]], np.float64)
    expected = rasterise([Polygon(np.array(ring[:-1], np.float64)) for ring in (square, other)], (10, 10))
    assert (rasterise([Polygon(both)], (10, 10)) == expected).all()


def test_polygons_outside_the_image_are_cut_off() -> None:
    ring = np.array([[-1e9, -1e9], [1e9, -1e9], [1e9, 2.0], [-1e9, 2.0]])
    drawn = rasterise([Polygon(ring)], (4, 5))
    assert drawn[:2].all()
    assert not drawn[2:].any()
    assert not rasterise([Polygon(ring - [0, 100])], (4, 5)).any()
    with pytest.raises(MaskError, match="not a finite number"):
        rasterise([Polygon(np.array([[0, 0], [1, np.nan], [1, 1]]))], (4, 5))


def test_a_polygon_made_to_take_for_ever_is_refused() -> None:
    zigzag = np.tile([[0.0, 0.0], [0.0, 1000.0]], (50_000, 1))
    with pytest.raises(MaskError, match="too often"):
        rasterise([Polygon(zigzag + 0.25)], (1000, 1))


@settings(deadline=None, max_examples=60)
@given(MASKS)
def test_outlines_without_holes_are_exact_as_coco_polygons(mask: BoolArray) -> None:
    polygons = outline(mask)
    if mask.any() and not any(polygon.holes for polygon in polygons):
        flat = [polygon.exterior.reshape(-1).tolist() for polygon in polygons]
        assert (rasterise_coco(flat, mask.shape).decode() == mask).all()


def test_coco_segmentations_of_all_three_kinds() -> None:
    mask = np.zeros((10, 12), np.bool_)
    mask[2:5, 3:9] = mask[6:9, 1:3] = True
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    polygons = [[3, 2, 9, 2, 9, 5, 3, 5], [1, 6, 3, 6, 3, 9, 1, 9.0]]
    runs = rasterise_coco(polygons, (10, 12)).runs().tolist()
    for segmentation in (polygons, {"size": [10, 12], "counts": packed["counts"].decode()}):
        assert (rasterise_coco(segmentation, (10, 12)).decode() == mask).all()
    assert (rasterise_coco({"size": [10, 12], "counts": runs}, (10, 12)).decode() == mask).all()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "empty"),
        (None, "empty"),
        ("abc", "empty"),
        ([[]], "at least three"),
        ([[1, 2, 3, 4]], "at least three"),
        ([[1, 2, 3, 4, 5, 6, 7]], "at least three"),
        ([1, 2, 3, 4, 5, 6], "at least three"),
        ([[1, 2, 3, 4, 5, "6"]], "are numbers"),
        ([[1, 2, 3, 4, 5, True]], "are numbers"),
        ([[1, 2, 3, 4, 5, float("nan")]], "finite"),
        ([[1, 2, 3, 4, 5, float("inf")]], "finite"),
        ([[1, 2, 3, 4, 5, 10**400]], "too large"),
        ([[1, 2, 3, 4, 5, 1e9]], "far outside"),
        ([[1, 2, 3, 4, 5, -1e300]], "far outside"),
        ([[1, 2] * 10_000], "more than its image"),
        ({"size": [5, 4], "counts": [20]}, r"the mask is \(5, 4\), but the image \(4, 5\)"),
        ({"counts": [20]}, "'size' and 'counts'"),
    ],
)
def test_malformed_segmentations_are_refused(segmentation: Any, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        rasterise_coco(segmentation, (4, 5))


@pytest.mark.parametrize("size", [(10**9, 10**9), (0, 4), (4.0, 4), ("4", 4)])
def test_sizes_are_checked_before_drawing(size: Any) -> None:
    triangle = [1, 2, 3, 4, 5, 6]
    for draw in (lambda: rasterise_coco([triangle], size), lambda: rasterise([], size)):
        with pytest.raises(MaskError):
            draw()


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        {},
        {"type": "Point", "coordinates": [0, 0]},
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[0, 0], [1, 1]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, "3"]]]},
        {"type": "MultiPolygon", "coordinates": [[[[0, 0], [1, 1], [2, 3, 4]]]]},
        {"type": "MultiPolygon", "coordinates": {}},
    ],
)
def test_malformed_geometries_are_refused(geometry: Any) -> None:
    with pytest.raises(MaskError):
        from_geojson(geometry)


def test_real_lvis_polygons(data_root: Path) -> None:
    lvis = json.loads((data_root / "samples/lvis/lvis_val_100.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in lvis["images"]}
    for annotation in lvis["annotations"][:200]:
        size = sizes[annotation["image_id"]]
        rle = rasterise_coco(annotation["segmentation"], size)
        expected = coco.merge(coco.frPyObjects(annotation["segmentation"], *size))
        assert rle.counts == expected["counts"].decode()
        rings = [Polygon(np.array(part).reshape(-1, 2)) for part in annotation["segmentation"]]
        ours = rasterise(rings, size)
        # Two rasterisers may differ along the outlines only.
        differing = ours ^ rle.decode()
        assert not (differing & ~edge(ours) & ~edge(rle.decode())).any()
