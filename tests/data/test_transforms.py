import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.data.transforms import (
    Matrix,
    compose,
    flip_matrix,
    identity_matrix,
    invert,
    large_scale_jitter_matrix,
    random_resized_crop_matrix,
    resize_matrix,
    rotation_matrix,
    shift_matrix,
    shrink,
    warp_boxes,
    warp_image,
    warp_labels,
    warp_maps,
    warp_masks,
    warp_points,
)

sides = st.integers(1, 60)
sizes = st.tuples(sides, sides)
points = st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1, max_size=8)


@st.composite
def matrices(draw: st.DrawFn) -> Matrix:
    size, out = draw(sizes), draw(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kinds = {
        "crop": lambda: random_resized_crop_matrix(size, out, rng, scale=(0.2, 1.8), degrees=30),
        "jitter": lambda: large_scale_jitter_matrix(size, out[0], rng),
        "chain": lambda: compose(
            flip_matrix(size), rotation_matrix(size, rng.uniform(-180, 180)), resize_matrix(size, out)
        ),
    }
    return kinds[draw(st.sampled_from(sorted(kinds)))]()


@given(matrices(), points)
def test_the_inverse_brings_points_back(matrix: Matrix, given_points: list[tuple[float, float]]) -> None:
    there = warp_points(given_points, matrix)
    back = warp_points(there, invert(matrix))
    # The points between are rounded to float32, which the inverse enlarges where the matrix shrinks.
    scale = float(np.abs(invert(matrix)[:, :2]).max()) * max(1.0, float(np.abs(there).max()))
    np.testing.assert_allclose(back, given_points, atol=1e-5 * max(1.0, scale))


@given(
    matrices(), st.tuples(st.floats(0, 40), st.floats(0, 40)), st.tuples(st.floats(1, 40), st.floats(1, 40))
)
def test_a_moved_box_holds_every_moved_point(
    matrix: Matrix, corner: tuple[float, float], extent: tuple[float, float]
) -> None:
    box = np.array([*corner, corner[0] + extent[0], corner[1] + extent[1]])
    shares = np.random.default_rng(0).random((20, 2))
    inside = corner + shares * extent - 0.5  # from pixel edges to pixel indices
    moved, moved_box = warp_points(inside, matrix) + 0.5, warp_boxes(box, matrix)
    slack = 1e-4 * max(1.0, float(np.abs(moved_box).max()))
    assert (moved >= moved_box[:2] - slack).all()
    assert (moved <= moved_box[2:] + slack).all()


@given(sizes, sizes)
def test_resizing_maps_edges_onto_edges(size: tuple[int, int], out: tuple[int, int]) -> None:
    box = warp_boxes([0, 0, size[1], size[0]], resize_matrix(size, out))
    np.testing.assert_allclose(box, [0, 0, out[1], out[0]], atol=1e-4)


@given(sizes, st.floats(-180, 180))
def test_turning_and_flipping_twice_is_nothing(size: tuple[int, int], degrees: float) -> None:
    there, back = rotation_matrix(size, degrees), rotation_matrix(size, -degrees)
    np.testing.assert_allclose(compose(there, back), identity_matrix(), atol=1e-9)
    np.testing.assert_allclose(compose(flip_matrix(size), flip_matrix(size)), identity_matrix(), atol=1e-9)


def noise(size: tuple[int, int], seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@given(st.tuples(st.integers(2, 40), st.integers(2, 40)))
def test_whole_pixel_moves_are_exact(size: tuple[int, int]) -> None:
    image = noise(size)
    assert (warp_image(image, flip_matrix(size), size) == image[:, ::-1]).all()
    assert (warp_image(image, identity_matrix(), size) == image).all()
    shifted = warp_image(image, shift_matrix(1, 0), size, fill=7)
    assert (shifted[:, 1:] == image[:, :-1]).all()
    assert (shifted[:, 0] == 7).all()
    labels = (image[..., 0].astype(np.int32) << 8) + image[..., 1]
    assert (warp_labels(labels, flip_matrix(size), size) == labels[:, ::-1]).all()
    assert (warp_labels(labels, shift_matrix(0, -1), size, fill=3)[-1] == 3).all()


def blob(size: int) -> npt.NDArray[np.bool_]:
    rows, columns = np.mgrid[:size, :size]
    result: npt.NDArray[np.bool_] = np.hypot(columns - size * 0.45, rows - size * 0.55) < size * 0.3
    return result


@pytest.mark.parametrize("factor", [0.1, 0.3, 0.5, 0.9, 2.0, 3.3])
def test_masks_keep_their_area_and_place_at_any_scale(factor: float) -> None:
    mask = blob(200)
    side = round(200 * factor)
    moved = warp_masks(mask[None], resize_matrix((200, 200), (side, side)), (side, side))[0]
    assert moved.mean() == pytest.approx(mask.mean(), rel=0.02)
    back = warp_masks(moved[None], resize_matrix((side, side), (200, 200)), (200, 200))[0]
    overlap = (back & mask).sum() / (back | mask).sum()
    assert overlap > 1 - 0.01 / min(factor, 0.5)


def test_shrinking_averages_instead_of_skipping() -> None:
    stripes = np.zeros((120, 120, 3), np.uint8)
    stripes[:, ::2] = 255
    small = warp_image(stripes, resize_matrix((120, 120), (20, 20)), (20, 20))
    assert np.abs(small.astype(int) - 127.5).max() <= 1
    maps = warp_maps(
        stripes[None, ..., 0].astype(np.float32), [0], resize_matrix((120, 120), (20, 20)), (20, 20)
    )
    np.testing.assert_allclose(maps, 127.5, atol=1e-3)


@given(sizes, st.tuples(st.integers(1, 9), st.integers(1, 9)), st.integers(0, 2**32), st.booleans())
@settings(deadline=None)
def test_shrinking_takes_means_of_blocks(
    size: tuple[int, int], blocks: tuple[int, int], seed: int, is_photo: bool
) -> None:
    shape = (*size, 3) if is_photo else size
    plane = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8 if is_photo else np.float32)
    beyond = [(0, -length % block) for length, block in zip(size, blocks, strict=True)]
    whole = np.pad(plane, [*beyond, (0, 0)] if is_photo else beyond, constant_values=50).astype(np.float64)
    rows, columns = (length // block for length, block in zip(whole.shape[:2], blocks, strict=True))
    means = whole.reshape(rows, blocks[0], columns, blocks[1], -1).mean(axis=(1, 3))
    found = shrink(plane, blocks, fill=50)
    assert found.dtype == plane.dtype
    assert found.shape[:2] == (rows, columns)
    # Bytes are rounded after each halving.
    np.testing.assert_allclose(found.reshape(means.shape), means, atol=2.0 if is_photo else 1e-3)


@given(st.tuples(st.integers(40, 400), st.integers(40, 400)), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_mask_of_all_of_a_photo_ends_where_the_photo_does(size: tuple[int, int], seed: int) -> None:
    """Photos whose sides are no multiple of the blocks that they are shrunk by, too."""
    matrix = large_scale_jitter_matrix(size, 48, np.random.default_rng(seed), scale=(0.1, 1.0))
    (found,) = warp_masks(np.ones((1, *size), bool), matrix, (48, 48))
    (certain,) = warp_maps(np.ones((1, *size), np.float32), [0], matrix, (48, 48))
    edges = warp_boxes([0, 0, size[1], size[0]], matrix)
    left, top, right, bottom = (int(min(48, max(0, edge))) for edge in np.floor(edges + 0.5))
    inside = np.zeros((48, 48), bool)
    inside[top:bottom, left:right] = True
    # A pixel of which half is inside may be either.
    halves = np.abs(edges % 1 - 0.5) < 0.1
    if not halves.any():
        assert (found == inside).all()
    assert not found[bottom + 1 :].any()
    assert not found[:, right + 1 :].any()
    assert not certain[bottom + 2 :].any()
    assert (certain[top + 1 : bottom - 1, left + 1 : right - 1] > 0.999).all()


@given(matrices())
@settings(deadline=None)
def test_image_and_mask_move_together(matrix: Matrix) -> None:
    mask = blob(60)
    image = np.repeat((mask * 255).astype(np.uint8)[..., None], 3, axis=2)
    out = (40, 50)
    moved = warp_image(image, matrix, out, fill=0)[..., 0] > 127
    assert (moved == warp_masks(mask[None], matrix, out)[0]).all()


@given(sizes, sizes, st.integers(0, 2**32))
def test_random_crops_stay_inside_the_photo(size: tuple[int, int], out: tuple[int, int], seed: int) -> None:
    matrix = random_resized_crop_matrix(size, out, np.random.default_rng(seed))
    window = warp_boxes([0, 0, out[1], out[0]], invert(matrix))
    assert (window[:2] >= -1e-3).all()
    assert (window[2:] <= np.array(size[::-1]) + 1e-3).all()


def test_random_crops_have_the_area_and_stretch_that_were_asked_for() -> None:
    rng = np.random.default_rng(0)
    size, out = (300, 300), (64, 64)
    crops = [random_resized_crop_matrix(size, out, rng, scale=(0.25, 0.49)) for _ in range(300)]
    windows = np.stack([warp_boxes([0, 0, 64, 64], invert(matrix)) for matrix in crops])
    width, height = (windows[:, 2:] - windows[:, :2]).T
    share = width * height / 300**2
    assert share.min() == pytest.approx(0.25, rel=0.05)
    assert share.max() == pytest.approx(0.49, rel=0.05)
    assert (height / width).min() == pytest.approx(3 / 4, rel=0.05)
    assert (height / width).max() == pytest.approx(4 / 3, rel=0.05)
    mirrored = np.mean([matrix[0, 0] < 0 for matrix in crops])
    assert 0.4 < mirrored < 0.6


def test_windows_larger_than_the_photo_hold_it_whole() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        matrix = random_resized_crop_matrix((90, 120), (64, 64), rng, scale=(3.0, 4.0), ratio=(1, 1))
        box = warp_boxes([0, 0, 120, 90], matrix)
        assert (box >= -1e-3).all()
        assert (box <= 64 + 1e-3).all()


def test_large_scale_jitter_scales_crops_and_pads_as_published() -> None:
    rng = np.random.default_rng(0)
    size, side = (300, 600), 100
    factors = []
    for _ in range(400):
        matrix = large_scale_jitter_matrix(size, side, rng)
        box = warp_boxes([0, 0, 600, 300], matrix)
        width, height = box[2] - box[0], box[3] - box[1]
        factors.append(width / side)
        assert height == pytest.approx(width / 2, abs=1)
        for start, length in ((box[0], width), (box[1], height)):
            # Cropped: the window is full. Padded: the picture starts at the left or top edge.
            assert -1e-3 <= -start <= max(0, length - side) + 1e-3
            assert math.isclose(start, round(float(start)), abs_tol=1e-3)
    assert min(factors) == pytest.approx(0.1, abs=0.02)
    assert max(factors) == pytest.approx(2.0, abs=0.02)
    assert np.mean(factors) == pytest.approx(1.05, abs=0.06)


def test_the_same_seed_gives_the_same_matrix() -> None:
    rngs = [np.random.default_rng(3) for _ in range(2)]
    first, second = (random_resized_crop_matrix((40, 50), (32, 32), rng) for rng in rngs)
    assert (first == second).all()
    first, second = (large_scale_jitter_matrix((40, 50), 32, rng) for rng in rngs)
    assert (first == second).all()
