"""Outlines: both styles against their slow twins, from runs, patches and label maps; what they promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import outlines as twin
from skimage.measure import label

from maskwright.data.outlines import Patch, Shapes, Style, disc, frame, outline, thicken
from maskwright.errors import InputError, MaskError
from maskwright.io.polygons import rasterise_coco
from maskwright.io.rle import RLE
from maskwright.types import BoolArray


class Scene(NamedTuple):
    masks: list[BoolArray]
    size: tuple[int, int]
    out: tuple[int, int]


def drawn(masks: Sequence[BoolArray], size: tuple[int, int]) -> list[Shapes]:
    """The same regions in every form."""
    return [
        Shapes(size, [RLE.encode(mask) for mask in masks]),
        Shapes(size, (Patch.of(mask) for mask in masks)),
        Shapes(size, [Patch(mask) for mask in masks]),
        Shapes(size, [mask.astype(np.int32) for mask in masks]),
    ]


@st.composite
def scenes(draw: st.DrawFn, most: int = 4, side: int = 9) -> Scene:
    """Overlapping masks, noisy and smooth, empty and full, with a size to bring them to."""
    sizes = st.tuples(st.integers(1, side), st.integers(1, side))
    size = draw(sizes)
    out = draw(st.one_of(st.just(size), sizes))
    masks = []
    for _ in range(draw(st.integers(0, most))):
        coarse = draw(hnp.arrays(np.bool_, draw(st.sampled_from([size, (2, 2), (3, 1)]))))
        masks.append(cv2.resize(coarse.view(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0)
    return Scene(masks, size, out)


@given(scene=scenes(), thickness=st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_exact_outlines_equal_their_twin(scene: Scene, thickness: int) -> None:
    expected = twin.exact(twin.overlaps(scene.masks, scene.size), thickness, scene.out)
    for shapes in drawn(scene.masks, scene.size):
        found = outline(shapes, thickness=thickness, resolution=scene.out)
        np.testing.assert_array_equal(found, expected)


@given(scene=scenes(), thickness=st.integers(2, 6), style=st.sampled_from(["official", "original"]))
@settings(max_examples=60, deadline=None)
def test_official_outlines_are_the_published_rule_on_overlaps(
    scene: Scene, thickness: int, style: Style
) -> None:
    kernel = twin.square(thickness) if style == "official" and thickness <= 3 else twin.disc(thickness)
    expected = twin.published(twin.overlaps(scene.masks, scene.size), thickness, scene.out, kernel)
    for shapes in drawn(scene.masks, scene.size):
        found = outline(shapes, thickness=thickness, resolution=scene.out, style=style)
        np.testing.assert_array_equal(found, expected)


@given(scene=scenes(most=6))
@settings(max_examples=40, deadline=None)
def test_published_sums_lose_lines_and_never_have_others(scene: Scene) -> None:
    sums, patterns = twin.published_sum(scene.masks, scene.size), twin.overlaps(scene.masks, scene.size)
    theirs = twin.published(sums, 3, scene.out, twin.square(3))
    shapes = Shapes(scene.size, [RLE.encode(mask) for mask in scene.masks])
    ours = outline(shapes, thickness=3, resolution=scene.out, style="official")
    assert (ours | ~theirs).all()
    if len(np.unique(sums)) == len(np.unique(patterns)):  # no two overlaps have equal sums
        np.testing.assert_array_equal(ours, theirs)


def test_a_border_that_the_published_sums_lose_is_drawn() -> None:
    masks = np.zeros((3, 12, 12), bool)
    masks[0, :, 4:8] = masks[1, :, 4:8] = True  # 1 + 2 beside 3
    masks[2, :, 8:] = True
    theirs = twin.published(twin.published_sum(list(masks), (12, 12)), 2, (12, 12), twin.square(2))
    ours = outline(drawn(list(masks), (12, 12))[0], thickness=2, style="official")
    assert not theirs[6, 7:9].any()
    assert ours[6, 8]


@given(scene=scenes())
@settings(max_examples=30, deadline=None)
def test_an_exact_line_of_one_pixel_keeps_regions_apart(scene: Scene) -> None:
    patterns = twin.overlaps(scene.masks, scene.size)
    lines = outline(drawn(scene.masks, scene.size)[0], thickness=1)
    parts = label(~lines, connectivity=1, background=0)
    for number in np.unique(parts[parts > 0]):
        assert len(np.unique(patterns[parts == number])) == 1


@pytest.mark.parametrize("thickness", [1, 2, 3, 4, 5, 8])
def test_a_straight_line_is_as_wide_as_was_asked_for_whoever_borders_it(thickness: int) -> None:
    labels = np.repeat(np.arange(4, dtype=np.int32), 10)[None].repeat(20, 0)
    for side in (labels, labels.T):
        masks = [side == number for number in range(4)]
        for shapes in drawn(masks, side.shape):
            lines = outline(shapes, thickness=thickness)
            assert lines.sum() == 3 * thickness * 20


def test_a_line_of_even_width_is_centred_on_the_border() -> None:
    mask = np.zeros((10, 10), bool)
    mask[:, 5:] = True
    shapes = Shapes((10, 10), [RLE.encode(mask)])
    assert outline(shapes, thickness=4)[5].nonzero()[0].tolist() == [3, 4, 5, 6]
    assert outline(shapes, thickness=3)[5].nonzero()[0].tolist() == [3, 4, 5]


def test_runs_of_length_zero_are_harmless() -> None:
    """A file may hold any number of them, and there is room for no more toggles than rows."""
    empty = RLE.from_runs([0] * 61 + [12], (4, 3))
    spread = RLE.from_runs([2, *[0] * 20, 1, *[0] * 21, 9], (4, 3))
    full = RLE.from_runs([0, 4, 0, 4, 0, 4, 0, 0], (4, 3))
    for packed in (empty, spread, full):
        for out in ((4, 3), (2, 2), (9, 7)):
            expected = twin.exact(packed.decode().astype(np.int32), 1, out)
            found = outline(Shapes((4, 3), [packed]), thickness=1, resolution=out)
            np.testing.assert_array_equal(found, expected)


def test_a_column_of_which_nothing_is_taken_does_not_end_the_mask() -> None:
    mask = np.array([[0, 1], [0, 1], [1, 1]], bool)
    for shapes in drawn([mask], (3, 2)):
        assert outline(shapes, thickness=1, resolution=(1, 2)).tolist() == [[True, False]]


def test_polygons_become_runs() -> None:
    square = rasterise_coco([[2, 2, 8, 2, 8, 8, 2, 8]], (12, 10))
    lines = outline(Shapes((12, 10), [square]), thickness=1)
    np.testing.assert_array_equal(lines, twin.exact(square.decode().astype(np.int32), 1, (12, 10)))


def test_a_resolution_of_one_number_is_a_square_and_none_the_image_itself() -> None:
    shapes = Shapes((6, 8), [])
    assert outline(shapes, thickness=1).shape == (6, 8)
    assert outline(shapes, thickness=1, resolution=5).shape == (5, 5)
    assert outline(shapes, thickness=1, resolution=(3, 7)).shape == (3, 7)


def test_without_regions_there_is_only_the_published_frame() -> None:
    shapes = Shapes((20, 30), [])
    assert not outline(shapes, thickness=3).any()
    np.testing.assert_array_equal(outline(shapes, thickness=3, style="official"), frame((20, 30), 3))
    np.testing.assert_array_equal(frame((20, 30), 3), twin.painted_frame((20, 30), 3))
    assert not frame((5, 5), 0).any()
    assert frame((5, 4), 2).all()


@pytest.mark.parametrize("seed", range(3))
def test_large_images_and_long_runs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = (311, 257)
    masks = []
    for _ in range(8):
        noise = rng.random((6, 5), np.float32)
        masks.append(cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC) > rng.uniform(0.2, 0.8))
    for out in (size, (200, 150), (400, 300)):
        labels = twin.resized(twin.overlaps(masks, size), out, cv2.INTER_NEAREST_EXACT)
        expected = np.zeros(out, bool)
        expected[:, :-1] |= labels[:, :-1] != labels[:, 1:]
        expected[:-1] |= labels[:-1] != labels[1:]
        for shapes in drawn(masks, size):
            np.testing.assert_array_equal(outline(shapes, thickness=1, resolution=out), expected)


def test_a_region_of_another_size_is_refused() -> None:
    for part in (RLE.encode(np.ones((3, 3), bool)), np.ones((3, 4), np.int32)):
        with pytest.raises(MaskError, match=r"\(3, [34]\) is among masks of size \(4, 3\)"):
            outline(Shapes((4, 3), [part]), thickness=1)
    with pytest.raises(MaskError, match="reaches outside its image of 4×3"):
        outline(Shapes((4, 3), [Patch(np.ones((2, 2), bool), 3, 0)]), thickness=1)


@pytest.mark.parametrize(("style", "thickness"), [("exact", 0), ("official", 1), ("original", 1)])
def test_lines_too_thin_are_refused(style: Style, thickness: int) -> None:
    with pytest.raises(InputError, match="at least"):
        outline(Shapes((4, 3), []), thickness=thickness, style=style)


@pytest.mark.parametrize("width", range(1, 8))
def test_a_disc_is_as_wide_as_its_name_says(width: int) -> None:
    kernel = disc(width)
    assert kernel.shape == (width, width)
    assert kernel.any(axis=0).all()
    np.testing.assert_array_equal(kernel, kernel[::-1])
    np.testing.assert_array_equal(kernel, kernel.T)
    line = np.zeros((21, 21), bool)
    line[:, 10] = True
    assert (thicken(line, width).sum(axis=1) == width).all()
