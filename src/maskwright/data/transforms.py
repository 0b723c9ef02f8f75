"""Geometric transforms as 2×3 matrices: build them, chain them, invert them, apply them.

A matrix maps (x, y) pixel indices of the source, where (0, 0) is the middle of the first pixel, to
those of the result. Sizes are (height, width). Points are pixel indices too; boxes are in pixel
edges (see `data.prompts`). K masks, H, W size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.types import BoolArray, ByteArray, FloatArray, Maps

Matrix = npt.NDArray[np.float64]
Size = tuple[int, int]
Plane = TypeVar("Plane", bound=npt.NDArray[Any])

IMAGE_FILL = 128


def identity_matrix() -> Matrix:
    """Leaves everything where it is."""
    return np.eye(2, 3)


def shift_matrix(x: float, y: float) -> Matrix:
    """Moves by x to the right and y down; a crop whose first pixel is (a, b) is a shift by (-a, -b)."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def resize_matrix(size: Size, out: Size) -> Matrix:
    """Stretches an image of `size` to `out`, edges onto edges."""
    y, x = out[0] / size[0], out[1] / size[1]
    return np.array([[x, 0.0, x / 2 - 0.5], [0.0, y, y / 2 - 0.5]])


def flip_matrix(size: Size) -> Matrix:
    """Mirrors left and right."""
    return np.array([[-1.0, 0.0, size[1] - 1.0], [0.0, 1.0, 0.0]])


def rotation_matrix(size: Size, degrees: float) -> Matrix:
    """Turns counter-clockwise about the middle of an image of `size`."""
    middle = ((size[1] - 1) / 2, (size[0] - 1) / 2)
    return cast(Matrix, cv2.getRotationMatrix2D(middle, degrees, 1.0))


def compose(*matrices: Matrix) -> Matrix:
    """One matrix that does what the given ones do one after the other, the first first."""
    result = np.eye(3)
    for matrix in matrices:
        result = np.vstack([matrix, [0.0, 0.0, 1.0]]) @ result
    return result[:2]


def invert(matrix: Matrix) -> Matrix:
    """The matrix that undoes `matrix`."""
    return cast(Matrix, cv2.invertAffineTransform(matrix))


def random_resized_crop_matrix(
    size: Size,
    out: Size,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float] = (0.4, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
    degrees: float = 0.0,
) -> Matrix:
    """A random window of an image of `size`, stretched to `out`.

    Args:
        size: height and width of the image.
        out: height and width of the result.
        rng: source of randomness.
        scale: area of the window as a share of the image's; above 1 the window reaches over the edges.
        ratio: by how much the picture may be stretched in width against height.
        flip: chance of mirroring left and right.
        degrees: the picture is turned by up to this much, either way, about the image's middle.
    """
    area = size[0] * size[1] * rng.uniform(*scale)
    stretch = np.exp(rng.uniform(*np.log(ratio)))
    # The window has the shape of the result, but for the stretch; where it would be longer than the image
    # although its area is not larger, it is cut to the image, as everybody's random crops are.
    aspect = out[1] / out[0] / stretch
    fits = max(1.0, scale[1]) ** 0.5
    width = min(float(np.sqrt(area * aspect)), size[1] * fits)
    height = min(float(np.sqrt(area / aspect)), size[0] * fits)
    x, y = rng.uniform(*sorted((0.0, size[1] - width))), rng.uniform(*sorted((0.0, size[0] - height)))
    window = np.array([[out[1] / width, 0.0, 0.0], [0.0, out[0] / height, 0.0]])
    edges = shift_matrix(0.5 - x, 0.5 - y)
    turn = rotation_matrix(size, rng.uniform(-degrees, degrees)) if degrees else identity_matrix()
    mirror = flip_matrix(out) if rng.random() < flip else identity_matrix()
    return compose(turn, edges, window, shift_matrix(-0.5, -0.5), mirror)


def large_scale_jitter_matrix(
    size: Size,
    side: int,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float] = (0.1, 2.0),
    flip: float = 0.5,
) -> Matrix:
    """Large-scale jitter (Ghiasi et al. 2021; HQ-SAM's training): for results of (side, side).

    The longest side becomes `side` times U(scale); what is larger than the square is cropped at random,
    what is smaller is padded right and below; the picture is mirrored first with chance `flip`.
    """
    factor = side * rng.uniform(*scale) / max(size)
    resized = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
    top, left = (int(rng.integers(0, max(0, length - side) + 1)) for length in resized)
    mirror = flip_matrix(size) if rng.random() < flip else identity_matrix()
    return compose(mirror, resize_matrix(size, resized), shift_matrix(-left, -top))


def warp_points(points: npt.ArrayLike, matrix: Matrix) -> FloatArray:
    """Map (…, 2) points."""
    result = np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return result.astype(np.float32)


def warp_boxes(boxes: npt.ArrayLike, matrix: Matrix) -> FloatArray:
    """Map (…, 4) boxes to the smallest upright boxes that hold the moved ones; not cut to any image."""
    edges = np.asarray(boxes, np.float64)
    corners = edges[..., [[0, 1], [2, 1], [2, 3], [0, 3]]] - 0.5
    moved = corners @ matrix[:, :2].T + matrix[:, 2] + 0.5
    return np.concatenate([moved.min(axis=-2), moved.max(axis=-2)], axis=-1).astype(np.float32)


def warp_image(image: ByteArray, matrix: Matrix, out: Size, fill: int = IMAGE_FILL) -> ByteArray:
    """Map an (H, W, 3) image to size `out`, bilinear and without aliasing; `fill` is outside the source."""
    return _warp(image, matrix, out, fill)


def warp_maps(maps: FloatArray | Maps, chosen: Sequence[int], matrix: Matrix, out: Size) -> FloatArray:
    """Map some of (K, H, W) float32 maps to size `out`, bilinear and without aliasing; 0 outside the source.

    `Maps` are made no larger than that asks for.
    """
    blocks, rest = _blocks_first(matrix)
    result = np.zeros((len(chosen), *out), np.float32)
    for place, k in enumerate(chosen):
        plane = maps.at(k, blocks) if isinstance(maps, Maps) else shrink(maps[k], blocks)
        result[place] = _sample(plane, rest, out, 0)
    return result


def warp_masks(masks: BoolArray, matrix: Matrix, out: Size) -> BoolArray:
    """Map (K, H, W) bool masks to size `out`: a pixel is inside where at least half of it is; else False."""
    result = np.zeros((len(masks), *out), bool)
    for k, mask in enumerate(masks):
        result[k] = _warp(mask.view(np.uint8) * np.uint8(255), matrix, out, 0) > 127
    return result


def warp_labels(
    labels: npt.NDArray[np.integer], matrix: Matrix, out: Size, fill: int = 0
) -> npt.NDArray[np.int32]:
    """Map an (H, W) label map to size `out`, taking the nearest label; `fill` is outside the source.

    Many times faster than `warp_masks` of all labels, with rougher outlines.
    """
    # warpAffine knows no int32; a float32 holds label numbers up to 2**24 exactly.
    moved = cv2.warpAffine(
        labels.astype(np.float32), matrix, out[::-1], flags=cv2.INTER_NEAREST, borderValue=float(fill)
    )
    return cast("npt.NDArray[np.int32]", moved.astype(np.int32))


def shrink(plane: Plane, blocks: Size, fill: int = 0) -> Plane:
    """Means over blocks of so many rows and columns of an (H, W) or (H, W, C) array.

    The result has ⌈H / rows⌉ by ⌈W / columns⌉ pixels; `fill` is what the last blocks have beyond the array.
    (With whole blocks OpenCV is several times quicker than with shares of pixels.)
    """
    below, right = (-length % block for length, block in zip(plane.shape[:2], blocks, strict=True))
    if below or right:
        fills = (fill, fill, fill)
        plane = cast(Plane, cv2.copyMakeBorder(plane, 0, below, 0, right, cv2.BORDER_CONSTANT, value=fills))
    while blocks[0] % 2 == blocks[1] % 2 == 0:  # what OpenCV is quickest at
        plane, blocks = _shrunk(plane, (2, 2)), (blocks[0] // 2, blocks[1] // 2)
    return plane if blocks == (1, 1) else _shrunk(plane, blocks)


def _shrunk(plane: Plane, blocks: Size) -> Plane:
    size = (plane.shape[1] // blocks[1], plane.shape[0] // blocks[0])
    return cast(Plane, cv2.resize(plane, size, interpolation=cv2.INTER_AREA))


def _warp(plane: npt.NDArray[Any], matrix: Matrix, out: Size, fill: int) -> npt.NDArray[Any]:
    blocks, rest = _blocks_first(matrix)
    return _sample(shrink(plane, blocks, fill), rest, out, fill)


def _sample(plane: npt.NDArray[Any], matrix: Matrix, out: Size, fill: int) -> npt.NDArray[Any]:
    return cast(
        "npt.NDArray[Any]",
        cv2.warpAffine(plane, matrix, out[::-1], flags=cv2.INTER_LINEAR, borderValue=(fill, fill, fill)),
    )


def _blocks_first(matrix: Matrix) -> tuple[Size, Matrix]:
    """Of what blocks a picture's means are taken before it is sampled, and the matrix from there.

    Where a matrix shrinks to half or less, bilinear sampling would skip pixels.
    """
    scale_x, scale_y = np.linalg.norm(matrix[:, :2], axis=0)
    rows, columns = (max(1, int(1 / scale)) for scale in (scale_y, scale_x))
    return (rows, columns), compose(resize_matrix((1, 1), (rows, columns)), matrix)
