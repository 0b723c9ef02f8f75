"""Training items: where lines go when a photo is moved, what augmentation leaves alone, what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from data.miniatures import make_bsds
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.everything.discs import make_discs
from pydantic import ValidationError

from maskwright.data.boundary_targets import boundary_target
from maskwright.data.dataset import Dataset, SampleError
from maskwright.data.mixture import Mixture
from maskwright.data.outlines import Patch, Shapes, frame, outline
from maskwright.data.registry import open_dataset
from maskwright.io.rle import RLE
from maskwright.methods.base import ItemKey
from maskwright.methods.everything.augment import (
    move_lines,
    move_outlines,
    move_pixels,
    move_void,
    window_matrix,
)
from maskwright.methods.everything.config import BoundarySettings
from maskwright.methods.everything.items import BoundaryData
from maskwright.methods.everything.photos import cover, narrow, resize_labels
from maskwright.types import BoolArray

CROP = 96


def data(dataset: Dataset, **changes: Any) -> BoundaryData:
    values = {"steps": 1, "crop": 64, "color": False, **changes}
    return BoundaryData(dataset, BoundarySettings.model_validate(values), 32, 64)


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(f"labels:{make_discs(tmp_path_factory.mktemp('discs'))}")


def polygon(size: tuple[int, int], rng: np.random.Generator) -> BoolArray:
    """A star-shaped polygon without corners too sharp for a line of one pixel."""
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    reach = rng.uniform(0.3, 0.42, 8) * min(size)
    points = np.stack([size[1] / 2 + reach * np.cos(angles), size[0] / 2 + reach * np.sin(angles)], axis=1)
    drawn = cv2.fillPoly(np.zeros(size, np.uint8), [points.round().astype(np.int32)], (1,))
    return np.asarray(drawn > 0)


def distances(lines: BoolArray) -> Any:
    return cv2.distanceTransform((~lines).view(np.uint8), cv2.DIST_L2, 5)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(60, 150), st.integers(60, 150)),
    st.sampled_from(["labels", "lines"]),
    st.integers(1, 4),
)
def test_moved_lines_lie_where_the_moved_pixels_change_and_stay_thin(
    seed: int, size: tuple[int, int], kind: str, thickness: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = polygon(size, rng)
    pixels = np.where(mask[..., None], 220, 30).astype(np.uint8).repeat(3, axis=2)
    matrix = window_matrix(size, CROP, rng, scale=(0.7, 1.5), degrees=180, turned=1, flips="both")
    seen = move_pixels(pixels, matrix, CROP)[..., 0] > 125
    expected = outline(Shapes((CROP, CROP), (Patch(seen),)), thickness=1)
    if kind == "lines":
        lines = move_lines(outline(Shapes(size, (Patch(mask),)), thickness=1), matrix, CROP, thickness)
    else:
        lines = move_outlines(mask.astype(np.uint16) * np.uint16(700), matrix, CROP, thickness)
    known = ~move_void(None, size, matrix, CROP, thickness)
    # A line beyond the window may reach into it.
    known &= ~frame((CROP, CROP), 6)
    rim = 3 if kind == "lines" else 2
    assert (distances(lines)[expected & known] <= rim).all()
    near = distances(expected)[lines & known] <= rim + thickness / 2
    # At a sharp corner a spur of a widened line may outlive its thinning.
    assert near.all() if kind == "labels" else (~near).sum() <= max(8, 0.03 * near.size)
    # Nowhere is it much thicker than it should be.
    core = cv2.erode(lines.view(np.uint8), np.ones((thickness + 3, thickness + 3), np.uint8)) > 0
    assert not (core & known).any()


def test_lines_keep_their_length_at_half_the_size_and_at_any_angle() -> None:
    """Blended they fade, and from the nearest pixel they break: see README.md."""
    size, rng = (160, 160), np.random.default_rng(1)
    labels = cv2.circle(np.zeros(size, np.uint8), (80, 80), 40, (1,), -1)
    lines = outline(Shapes(size, (labels.astype(np.int32),)), thickness=1)
    for _ in range(10):
        matrix = window_matrix(size, 60, rng, scale=(0.5, 0.5), degrees=180, turned=1, flips="both")
        for moved in (move_outlines(labels, matrix, 60, 1), move_lines(lines, matrix, 60, 1)):
            inside = cv2.connectedComponents((~moved).view(np.uint8), connectivity=4)[0]
            assert inside == 3, "the disc is open, or there is something beside it"
            assert 2 * np.pi * 20 * 0.85 < moved.sum() < 2 * np.pi * 20 * 1.35


def test_the_window_lies_on_the_photo_as_far_as_it_fits() -> None:
    rng = np.random.default_rng(0)
    seen = np.zeros((200, 300), bool)
    for _ in range(200):
        matrix = window_matrix((200, 300), 100, rng, scale=(1, 1), degrees=0, turned=0, flips="both")
        assert not move_void(None, (200, 300), matrix, 100, 1)[2:-2, 2:-2].any()
        corners = (np.array([[0, 0], [99, 99]]) - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        (x0, y0), (x1, y1) = np.sort(corners, axis=0).round().astype(int)
        seen[y0 : y1 + 1, x0 : x1 + 1] = True
    assert seen[20:-20, 20:-20].all()
    small = window_matrix((40, 50), 100, rng, scale=(1, 1), degrees=0, turned=0, flips="none")
    assert (~move_void(None, (40, 50), small, 100, 1)).sum() == 38 * 48


@pytest.mark.parametrize("changes", [{"color": True}, {"augment": "published", "resolution": 64}])
def test_an_item_is_its_keys_own(discs: Dataset, changes: dict[str, Any]) -> None:
    one, other = data(discs, **changes), data(discs, cache=0, **changes)
    keys = [ItemKey(index, epoch, 3) for epoch in range(6) for index in (5, 2, 5)]
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    for key in keys:
        first = one[key]
        for a, b in zip(first, other[key], strict=True):
            assert np.array_equal(np.asarray(a), np.asarray(b))
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]
    pictures = {one[ItemKey(5, epoch, 3)].pixels.tobytes() for epoch in range(30)}
    assert len(pictures) > (20 if "color" in changes else 2)


def test_published_items_are_the_photo_with_other_colours_in_a_quarter(discs: Dataset) -> None:
    settings = {"resolution": 64, "thickness": 5, "style": "official"}
    items = data(discs, augment="published", **settings)
    plain = data(discs, augment="none", **settings)
    target = boundary_target(discs, 1, resolution=64, thickness=5, style="official")
    changed = 0
    for epoch in range(400):
        item = items[ItemKey(1, epoch, 0)]
        assert np.array_equal(item.fraction, target.fraction)
        assert not item.ignore.any()
        changed += not np.array_equal(item.pixels, target.image.pixels)
    assert 70 < changed < 130
    unchanged = plain[ItemKey(1, 0, 0)]
    assert np.array_equal(unchanged.pixels, target.image.pixels)
    assert np.array_equal(unchanged.fraction, target.fraction)


def test_all_annotators_or_one_of_them(tmp_path: Path) -> None:
    # Behind a mixture and a subset, as training data are.
    bsds = open_dataset(f"bsds500:{make_bsds(tmp_path, annotators=3)}?split=trainval")
    dataset = Mixture([(bsds, 1.0), (bsds[:1], 1.0)])[:]
    still = {"scale": (1, 1), "degrees": 0, "flips": "none", "crop": 32, "thickness": 1}
    maps = dataset.segmentations(2)
    assert maps is not None
    expected = []
    for labels in maps:
        expected.append(np.zeros((32, 32), bool))
        expected[-1][4:28] = outline(Shapes((24, 32), (labels,)), thickness=1)
    known = slice(6, 26), slice(2, 30)
    every = data(dataset, **still)[ItemKey(2, 0, 0)]
    assert not every.ignore[known].any()
    assert np.allclose(every.fraction[known], np.mean(expected, axis=0)[known])
    one = data(dataset, annotators="one", **still)
    drawn = set()
    for epoch in range(30):
        fraction = one[ItemKey(2, epoch, 0)].fraction
        drawn |= {k for k in range(3) if np.array_equal(fraction[known] > 0, expected[k][known])}
        assert set(np.unique(fraction)) <= {0, 1}
    assert drawn == {0, 1, 2}


def test_nothing_is_learned_beyond_the_photo_and_where_nobody_labelled() -> None:
    void = np.zeros((100, 120), bool)
    void[40:60, 50:70] = True
    matrix = window_matrix(
        (100, 120), 100, np.random.default_rng(0), scale=(1, 1), degrees=0, turned=0, flips="none"
    )
    shift = round(float(matrix[0, 2]))
    ignore = move_void(void, (100, 120), matrix, 100, 3)
    assert ignore[38:62, 51 + shift : 69 + shift].all()
    assert ignore[41:59, 49 + shift : 71 + shift].all()
    assert not ignore[3:36].any()
    with_frame = move_void(None, (100, 120), np.array([[1.0, 0, 20], [0, 1, 0]]), 100, 3)
    assert with_frame[:, :22].all()
    assert not with_frame[:, 23:].any()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 3))
def test_one_label_map_has_the_outlines_of_all_regions(seed: int, count: int, thickness: int) -> None:
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 30)), int(rng.integers(1, 30)))
    parts: list[Any] = []
    for _ in range(count):
        mask = cv2.blur(rng.random(size).astype(np.float32), (5, 5)) > rng.uniform(0.3, 0.7)
        kind = rng.integers(3)
        parts.append([RLE.encode(mask), Patch.of(mask), rng.integers(0, 3, size).astype(np.int32)][kind])
    labels = cover(Shapes(size, tuple(parts)))
    expected = outline(Shapes(size, tuple(parts)), thickness=thickness)
    assert np.array_equal(outline(Shapes(size, (labels,)), thickness=thickness), expected)


def test_label_maps_keep_their_numbers_in_fewer_bytes_and_at_another_size() -> None:
    for values, kind in (
        ([0, 255], np.uint8),
        ([0, 256], np.uint16),
        ([-1, 7], np.int32),
        ([9, 70000], np.int32),
    ):
        labels = np.array([values, values[::-1]], np.int32)
        assert narrow(labels).dtype == kind
        assert np.array_equal(narrow(labels), labels)
        large = resize_labels(narrow(labels), (6, 4))
        assert np.array_equal(large, labels.repeat(3, axis=0).repeat(2, axis=1))


def test_photos_are_decoded_once_while_there_is_room(discs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    shapes = type(discs).shapes

    def counted(self: Any, index: int) -> Shapes:
        reads.append(index)
        return shapes(self, index)

    monkeypatch.setattr(type(discs), "shapes", counted)
    for cache, expected in ((1.0, 3), (0.0, 9), (100_000 / 2**30, 5)):
        reads.clear()
        items = data(discs, cache=cache)
        for epoch in range(3):
            for index in range(3):
                items[ItemKey(index, epoch, 0)]
        assert len(reads) == expected, cache


def test_photos_of_any_form_make_a_batch(discs: Dataset) -> None:
    items = data(discs, augment="none", thickness=1)
    pixels, fraction, ignore = items.collate([items[ItemKey(index, 0, 0)] for index in range(3)])
    assert pixels.shape == (3, 96, 96, 3)
    assert fraction.shape == ignore.shape == (3, 96, 96)
    assert ignore[0, 72:].all()
    assert not ignore[0, 1:71, 1:95].any()
    assert ignore[1, :, 72:].all()
    assert (fraction[0, 72:] == 0).all()
    assert (pixels[0, 72:96] == pixels[0, 48:72].flip(0)).all()
    small = data(discs, augment="none", resolution=16)
    assert small.collate([small[ItemKey(0, 0, 0)]]).pixels_BHW3.shape == (1, 64, 64, 3)


def test_masks_of_another_size_are_named(tmp_path: Path) -> None:
    root = make_discs(tmp_path, 1)
    cv2.imwrite(str(root / "labels/00.png"), np.zeros((50, 50), np.uint8))
    with pytest.raises(SampleError, match=r"00\.png"):
        data(open_dataset(f"labels:{root}")).check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": (2, 1)}, "smallest, largest"),
        ({"annotators": "one", "augment": "none"}, "strong"),
        ({"style": "official"}, "augment"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BoundarySettings.model_validate({"steps": 1, **changes})
