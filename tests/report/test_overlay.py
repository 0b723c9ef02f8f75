"""Overlays: what is drawn is where it belongs, and nothing is drawn where nothing was given."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import InputError
from maskwright.io.rle import RLE
from maskwright.report import overlay
from maskwright.report.palette import BLACK, OKABE_ITO, SKY_BLUE, WHITE, colour, ink
from maskwright.report.strokes import FILL
from maskwright.types import ByteArray, Image


@pytest.fixture
def photo() -> ByteArray:
    return np.full((120, 160, 3), 100, np.uint8)


def test_no_masks_and_no_prompts_leave_the_photo_as_it_is(photo: ByteArray) -> None:
    drawn = overlay.draw(photo, np.zeros((0, 120, 160), np.bool_))
    assert np.array_equal(drawn, photo)
    assert drawn is not photo


def test_an_empty_mask_draws_nothing(photo: ByteArray) -> None:
    drawn = overlay.draw(photo, np.zeros((2, 120, 160), np.bool_), scores=[0.1, 0.2])
    assert np.array_equal(drawn, photo)


def test_the_inside_is_blended_and_the_outside_untouched(photo: ByteArray) -> None:
    mask = np.zeros((120, 160), np.bool_)
    mask[30:90, 40:120] = True
    drawn = overlay.draw(Image(photo), mask)
    blend = np.rint((1 - FILL) * 100 + FILL * np.array(SKY_BLUE))
    assert np.abs(drawn[40:80, 50:110].astype(int) - blend).max() <= 1
    assert np.array_equal(drawn[:25], photo[:25])
    assert not np.array_equal(drawn[30, 60], drawn[60, 60])  # the outline stands out from the fill


def test_the_arguments_are_left_alone(photo: ByteArray) -> None:
    before = photo.copy()
    overlay.draw(photo, np.ones((1, 120, 160), np.bool_), boxes=[1, 2, 50, 60], points=[[9, 9]])
    assert np.array_equal(photo, before)


def test_a_small_mask_is_seen_on_top_of_a_large_one_whatever_their_order(photo: ByteArray) -> None:
    large, small = np.ones((120, 160), np.bool_), np.zeros((120, 160), np.bool_)
    small[50:70, 70:90] = True
    for masks in ([large, small], [small, large]):
        drawn = overlay.draw(photo, masks)
        assert not np.array_equal(drawn[60, 80], drawn[20, 20])


def test_a_single_pixel_is_ringed_and_survives_shrinking() -> None:
    photo, mask = np.zeros((400, 600, 3), np.uint8), np.zeros((400, 600), np.bool_)
    mask[200, 300] = True
    for max_side in (None, 100):
        drawn = overlay.draw(photo, mask, max_side=max_side)
        assert (drawn.max(axis=2) > 60).sum() > 4


def test_points_differ_by_shape_and_missing_ones_are_not_drawn(photo: ByteArray) -> None:
    none = np.zeros((0, 120, 160), np.bool_)
    plus = overlay.draw(photo, none, points=[[80, 60]], labels=[1])
    minus = overlay.draw(photo, none, points=[[80, 60]], labels=[0])
    assert np.array_equal(overlay.draw(photo, none, points=[[80, 60]], labels=[-1]), photo)
    white_plus, white_minus = ((picture > 200).all(axis=2) for picture in (plus, minus))
    assert white_plus.sum() > white_minus.sum() > 0
    ys, xs = np.nonzero((plus != photo).any(axis=2))
    assert abs(ys.mean() - 60) < 0.6
    assert abs(xs.mean() - 80) < 0.6


def test_boxes_follow_the_scale_and_nan_rows_are_left_out(photo: ByteArray) -> None:
    none = np.zeros((0, 120, 160), np.bool_)
    assert np.array_equal(overlay.draw(photo, none, boxes=[[np.nan] * 4]), photo)
    drawn = overlay.draw(photo, none, boxes=[40, 30, 120, 90], min_side=320)
    assert drawn.shape == (240, 320, 3)
    changed = (drawn != 100).any(axis=2)
    ys, xs = np.nonzero(changed)
    assert (xs.min(), ys.min()) == pytest.approx((80, 60), abs=3)
    assert (xs.max(), ys.max()) == pytest.approx((240, 180), abs=3)
    assert not changed[70:170, 90:230].any()


def test_scores_are_written_and_nan_is_not(photo: ByteArray) -> None:
    mask = np.zeros((120, 160), np.bool_)
    mask[60:100, 40:120] = True
    without = overlay.draw(photo, mask)
    assert np.array_equal(overlay.draw(photo, mask, scores=[np.nan]), without)
    assert not np.array_equal(overlay.draw(photo, mask, scores=[0.5]), without)
    assert not np.array_equal(overlay.draw(photo, mask, names=["cup"]), without)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    min_side=st.sampled_from([0, 33, 120]),
    max_side=st.sampled_from([None, 1, 40]),
    seed=st.integers(0, 9),
)
def test_any_size_and_any_masks_can_be_drawn(
    height: int, width: int, min_side: int, max_side: int | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    masks = rng.random((3, height, width)) > 0.5
    points = rng.uniform(-9, 80, (3, 2, 2))
    drawn = overlay.draw(
        photo,
        masks,
        points=points,
        labels=rng.integers(-1, 2, (3, 2)),
        boxes=rng.uniform(-9, 80, (3, 4)),
        scores=[0.1, 0.2, 0.3],
        min_side=min_side,
        max_side=max_side,
    )
    assert drawn.dtype == np.uint8
    longest = max(height, width)
    expected = max_side if max_side is not None and longest > max_side else max(longest, min_side)
    assert max(drawn.shape[:2]) == expected


def test_a_thin_long_image_keeps_at_least_one_row() -> None:
    assert overlay.draw(
        np.zeros((1, 5000, 3), np.uint8), np.ones((1, 5000), np.bool_), max_side=100
    ).shape == (1, 100, 3)


@pytest.mark.parametrize("max_side", [None, 50])
def test_packed_masks_are_drawn_as_they_are(photo: ByteArray, max_side: int | None) -> None:
    masks = np.random.default_rng(0).random((3, *photo.shape[:2])) > 0.7
    packed = overlay.Packed([RLE.encode(mask) for mask in masks])
    scores = [0.5, 0.25, 0.75]
    drawn = overlay.draw(photo, packed, scores=scores, max_side=max_side)
    np.testing.assert_array_equal(drawn, overlay.draw(photo, masks, scores=scores, max_side=max_side))
    with pytest.raises(InputError, match="as large as the image"):
        overlay.draw(photo[:-1], packed)


def test_five_hundred_nuclei_are_quick() -> None:
    masks = np.zeros((500, 512, 512), np.bool_)
    for index, mask in enumerate(masks):
        y, x = divmod(index, 25)
        mask[y * 20 : y * 20 + 15, x * 20 : x * 20 + 15] = True
    start = time.perf_counter()
    overlay.draw(np.zeros((512, 512, 3), np.uint8), masks, scores=np.ones(500))
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": np.ones((1, 9, 9), bool)}, r"masks must have shape \(K, 120, 160\)"),
        ({"points": [[1, 2, 3]]}, "points must have shape"),
        ({"points": [[1, 2]], "labels": [1, 1]}, "labels must have shape"),
        ({"boxes": [1, 2, 3]}, "boxes must have shape"),
        ({"scores": [0.5]}, "1 scores were given for 0 masks"),
        ({"names": ["a"]}, "1 names were given for 0 masks"),
    ],
)
def test_wrong_shapes_are_refused(photo: ByteArray, arguments: dict[str, object], message: str) -> None:
    full = {"masks": np.zeros((0, 120, 160), np.bool_), **arguments}
    with pytest.raises(InputError, match=message):
        overlay.draw(photo, **full)  # type: ignore[arg-type]


def test_heat_grows_lighter_with_doubt_and_marks_the_unknown() -> None:
    levels = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(4, axis=0)
    lightness = overlay.heat(levels).astype(int).sum(axis=2)[0]
    assert (np.diff(lightness) >= -3).all()
    assert lightness[0] < 12
    levels[0, 0] = np.nan
    assert overlay.heat(levels)[0, 0].tolist() == [128, 128, 128]


def test_heat_over_a_photo_shows_the_photo_where_it_is_certain(photo: ByteArray) -> None:
    certain = np.zeros((120, 160), np.float32)
    assert np.array_equal(overlay.heat(certain, photo), np.full_like(photo, 55))
    assert np.array_equal(overlay.heat(certain + 1, photo), overlay.heat(certain + 1))


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_heat_refuses_values_outside_the_unit_interval(value: float) -> None:
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        overlay.heat(np.full((2, 2), value, np.float32))


def test_side_by_side_holds_every_picture_unchanged_at_its_own_height() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (64, width, 3), dtype=np.uint8) for width in (30, 50, 20)]
    sheet = overlay.side_by_side(pictures, ["one", "two", "three words here"], columns=2, height=64)
    gap = 4
    assert np.array_equal(sheet[gap : gap + 64, gap : gap + 30], pictures[0])
    assert np.array_equal(sheet[gap : gap + 64, 2 * gap + 30 : 2 * gap + 80], pictures[1])
    assert sheet.shape[1] == 3 * gap + 80


def test_side_by_side_needs_pictures_and_one_caption_each(photo: ByteArray) -> None:
    with pytest.raises(InputError, match="at least one picture"):
        overlay.side_by_side([])
    with pytest.raises(InputError, match="1 captions were given for 2"):
        overlay.side_by_side([photo, photo], ["one"])


def test_colours_are_distinct_and_their_ink_is_legible() -> None:
    shades = [colour(index) for index in range(21)]
    assert len(set(shades)) == 21
    assert tuple(shades[:7]) == OKABE_ITO
    assert colour(21) == colour(0)
    assert ink((0, 0, 0)) == WHITE
    assert ink((255, 255, 255)) == BLACK
