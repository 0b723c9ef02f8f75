"""Outlines of overlapping instances, all at once and without their masks ever lying in memory together.

An outline follows the cracks of a mask: the borders between two neighbouring pixels (4 neighbours) of which
one belongs to the mask. All masks' cracks are gathered in one map of the image's size, straight from their
runs (`data.outline_kernel`) or from the part of the image a mask occupies. Only then, once for all masks, the
lines get their width: dilation of a union is the union of dilations.

Two styles of lines:

- "exact", ours. Width 1: the left or upper pixel of each crack, so that two masks that share a border share
  its line, and 4-connected regions are apart. Odd widths: that line, dilated by a disc. Even widths: equally
  far on both sides of the crack.
- "official", as DirectSAM labels its images (ChenDelong1999/DirectSAM, October 2024): of every region of the
  label map, a dilation less an erosion by a kernel of t × t pixels, a square up to t = 3 and a disc beyond;
  about t - 1 pixels wide for odd t, t for even ones. The outermost t pixels of the image are a line as well.
  "original" is the same at the commit of the project's first README (5 October 2024), with discs at every t.

The published label map of overlapping masks is the sum of k · mask_k in 8 bits. Where two neighbouring
regions have equal sums (it wraps around at 256, and 1 + 2 is 3 without that) their border is lost, and mask
number 254 leaves none at all. Here each mask's outline counts, so the lines are those of the published rule,
wherever sums differ, and those that it loses. Everything beside the masks, the label map's 0, is bordered by
their own cracks.

H, W size of the image; h, w of the outline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.errors import InputError, MaskError
from maskwright.io.masks import LabelMap
from maskwright.io.rle import RLE
from maskwright.types import BoolArray, ByteArray, FloatArray, Image, check_shape

Style = Literal["exact", "official", "original"]
Size = tuple[int, int]
Indices = npt.NDArray[np.int64]

RIGHT, DOWN = np.uint8(1), np.uint8(2)  # the pixel to the right, or below, belongs to another region


@dataclass(frozen=True, eq=False)
class Patch:
    """A (h, w) bool mask whose first pixel is row `top`, column `left` of the image."""

    mask: BoolArray
    top: int = 0
    left: int = 0

    def __post_init__(self) -> None:
        check_shape("mask", self.mask, ("h", "w"))
        assert self.mask.dtype == np.bool_, self.mask.dtype
        assert self.top >= 0 <= self.left, (self.top, self.left)

    @classmethod
    def of(cls, mask: BoolArray) -> Patch:
        """The part of a (H, W) mask that it occupies; the mask itself is not kept."""
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            return cls(np.zeros((0, 0), np.bool_))
        part = mask[rows[0] : rows[-1] + 1]
        columns = np.flatnonzero(part.any(axis=0))
        return cls(part[:, columns[0] : columns[-1] + 1].copy(), int(rows[0]), int(columns[0]))


Shape = RLE | Patch | LabelMap


@dataclass(frozen=True, eq=False)
class Shapes:
    """The regions of one image, to be taken one at a time.

    Args:
        size: height and width of the image.
        parts: run-length masks (COCO's polygons become such by `io.polygons.rasterise_coco`), patches, or
            (H, W) label maps, in which each number is a region, 0 too. All may overlap.
        void: (H, W) bool, pixels that nobody labelled, or None.
        image: the photo, where reading the regions has decoded it anyway.
    """

    size: Size
    parts: Iterable[Shape]
    void: BoolArray | None = None
    image: Image | None = None


def outline(
    shapes: Shapes, *, thickness: int, resolution: int | Size | None = None, style: Style = "exact"
) -> BoolArray:
    """The union of the outlines of all regions.

    Args:
        shapes: the regions.
        thickness: width of the lines in pixels of the result.
        resolution: None for the image's own size, a side for a square, or (h, w). Regions are resized first,
            to the nearest pixel: that which OpenCV takes, or, in exact style, that of the same middle.
        style: "exact", "official" or "original"; see the module.

    Returns:
        (h, w) bool. In exact style the image's edge is no line; see `frame`.

    Raises:
        InputError: for a thickness below 1, or below 2 where that draws nothing.
        MaskError: a region has another size than the image, or reaches outside of it.
    """
    least = 1 if style == "exact" else 2
    if thickness < least:
        raise InputError(f"lines in {style} style are at least {least} pixels thick, not {thickness}.")
    size = shapes.size if resolution is None else resolution
    size = (size, size) if isinstance(size, int) else size
    cracks = _cracks(shapes, _Grid(shapes.size, size, exact=style == "exact"))
    if style == "exact":
        return _exact_lines(cracks, thickness)
    kernel = _published_kernel(thickness, square=style == "official" and thickness <= 3)
    # A pixel is on the line when its surroundings, in the kernel's form, hold two neighbours that differ.
    # (Equal to dilation less erosion, as the kernel is connected and holds its own middle.)
    across, along = np.zeros_like(kernel), np.zeros_like(kernel)
    across[:, :-1] = kernel[:, :-1] & kernel[:, 1:]
    along[:-1] = kernel[:-1] & kernel[1:]
    lines = _dilate(cracks & RIGHT, across) | _dilate(cracks & DOWN, along)
    return np.asarray((lines > 0) | frame(size, thickness))


def frame(size: Size, width: int) -> BoolArray:
    """The outermost `width` pixels of an image of `size`, (H, W) bool.

    Published labels have a line there, so that models learn to draw around the image; in exact style nobody
    knows what goes on beyond, so these pixels are best ignored.
    """
    result = np.ones(size, np.bool_)
    result[width : max(size[0] - width, 0), width : max(size[1] - width, 0)] = False
    return result


def thicken(lines: BoolArray, thickness: int) -> BoolArray:
    """Dilate lines of one pixel by a disc to a width of `thickness` pixels; (H, W) bool to the same."""
    return np.asarray(_dilate(lines.view(np.uint8), disc(thickness)) > 0)


def disc(width: int) -> ByteArray:
    """A disc `width` pixels across, as a kernel of (width, width); of an even one the middle is a corner."""
    reach = (width - 1) / 2
    squares = (np.arange(width) - reach) ** 2
    # Of an even width the pixels beside the axes are half a pixel off them.
    inside: BoolArray = squares[:, None] + squares <= reach**2 + squares.min()
    return inside.astype(np.uint8)


@dataclass(frozen=True)
class _Grid:
    """Which pixel of the image each pixel of the result is taken from."""

    size: Size
    out: Size
    exact: bool

    def rows(self) -> Indices:
        """(h,) rows of the image."""
        return self._nearest(0)

    def columns(self) -> Indices:
        """(w,) columns of the image."""
        return self._nearest(1)

    def _nearest(self, axis: int) -> Indices:
        rule = cv2.INTER_NEAREST_EXACT if self.exact else cv2.INTER_NEAREST
        numbers = np.arange(self.size[axis], dtype=np.float32)[None]
        nearest: FloatArray = cv2.resize(numbers, (self.out[axis], 1), interpolation=rule)[0]
        return nearest.astype(np.int64)


def _cracks(shapes: Shapes, grid: _Grid) -> ByteArray:
    """All cracks of all regions: (h, w) uint8 of `RIGHT` and `DOWN`."""
    # numba takes a while to import, and not every program that knows datasets draws outlines.
    from maskwright.data.outline_kernel import draw_runs

    rows, columns = grid.rows(), grid.columns()
    landing = np.searchsorted(rows, np.arange(grid.size[0] + 1)).astype(np.int64)
    standing_wh = np.zeros(grid.out[::-1], np.uint8)  # runs go down the columns, and so does memory
    lying_hw = np.zeros(grid.out, np.uint8)
    for part in shapes.parts:
        if isinstance(part, RLE):
            _check_size(part.size, grid.size)
            draw_runs(part.runs(), grid.size[0], columns, landing, standing_wh)
        elif isinstance(part, Patch):
            _draw_patch(part, grid.size, rows, columns, lying_hw)
        else:
            _check_size(part.shape, grid.size)
            labels = part if grid.out == grid.size else part[rows[:, None], columns]
            lying_hw[:, :-1] |= labels[:, :-1] != labels[:, 1:]
            lying_hw[:-1] |= DOWN * (labels[:-1] != labels[1:])
    lying_hw |= cv2.transpose(standing_wh)
    return lying_hw


def _check_size(size: tuple[int, ...], expected: Size) -> None:
    if size != expected:
        raise MaskError(f"a mask of size {size} is among masks of size {expected} (height, width).")


def _draw_patch(patch: Patch, size: Size, rows: Indices, columns: Indices, cracks_hw: ByteArray) -> None:
    height, width = patch.mask.shape
    if patch.top + height > size[0] or patch.left + width > size[1]:
        place = f"at row {patch.top}, column {patch.left}"
        raise MaskError(
            f"a mask of {height}×{width} pixels {place} reaches outside its image of {size[0]}×{size[1]}."
        )
    y0, y1 = np.searchsorted(rows, [patch.top, patch.top + height])
    x0, x1 = np.searchsorted(columns, [patch.left, patch.left + width])
    part = patch.mask[rows[y0:y1, None] - patch.top, columns[x0:x1] - patch.left]
    padded = np.pad(part, 1)
    # Cracks on the image's edge are none.
    left, right, top, bottom = int(x0 == 0), int(x1 == len(columns)), int(y0 == 0), int(y1 == len(rows))
    across = padded[1:-1, left : -1 - right] != padded[1:-1, 1 + left : padded.shape[1] - right]
    cracks_hw[y0:y1, x0 - 1 + left : x1 - right] |= across
    along = padded[top : -1 - bottom, 1:-1] != padded[1 + top : padded.shape[0] - bottom, 1:-1]
    cracks_hw[y0 - 1 + top : y1 - bottom, x0:x1] |= DOWN * along


def _exact_lines(cracks: ByteArray, thickness: int) -> BoolArray:
    lines = (cracks > 0).view(np.uint8)
    if thickness % 2 == 0:
        lines[:, 1:] |= cracks[:, :-1] & RIGHT
        lines[1:] |= (cracks[:-1] & DOWN) >> 1
    return thicken(lines.view(np.bool_), thickness - 1 + thickness % 2)


def _published_kernel(thickness: int, *, square: bool) -> ByteArray:
    if square:
        return np.ones((thickness, thickness), np.uint8)
    half = thickness // 2
    kernel: ByteArray = cv2.circle(
        np.zeros((thickness, thickness), np.uint8), (half, half), half, (1,), thickness=-1
    )
    return kernel


def _dilate(lines: ByteArray, kernel: ByteArray) -> ByteArray:
    if kernel.size == 1:
        return lines
    half = len(kernel) // 2
    # Nothing comes in from beyond the image.
    result: ByteArray = cv2.dilate(lines, kernel, anchor=(half, half), borderType=cv2.BORDER_CONSTANT)
    return result
