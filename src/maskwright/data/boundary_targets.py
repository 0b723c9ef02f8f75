"""What a boundary model is to learn from one photo: the photo, the boundaries, and the pixels left out.

H, W size of the photo; h, w size of the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PILImages

from maskwright.data.dataset import Contours, Dataset, SampleError
from maskwright.data.files import Pair, check_same_size
from maskwright.data.outlines import Shapes, Size, Style, frame, outline, thicken
from maskwright.data.thin_lines import thin_lines
from maskwright.errors import MaskError
from maskwright.io.images import read_image
from maskwright.types import BoolArray, FloatArray, Geometry, Image, check_shape


@dataclass(frozen=True, eq=False)
class BoundaryTarget:
    """A photo with its boundaries.

    Args:
        image: the photo, at the target's size.
        fraction: (h, w) float32, the share of annotators who drew a boundary there.
        ignore: (h, w) bool, pixels that are not to be learned from.
    """

    image: Image
    fraction: FloatArray
    ignore: BoolArray

    def __post_init__(self) -> None:
        for name, value in (("fraction", self.fraction), ("ignore", self.ignore)):
            check_shape(f"{name} of {self.image.source}", value, self.image.size)


def boundary_target(
    dataset: Dataset,
    index: int,
    *,
    resolution: int | None = None,
    keep_aspect: bool = False,
    thickness: int = 3,
    style: Style = "exact",
) -> BoundaryTarget:
    """Photo and boundaries of one item.

    Where the dataset has boundaries drawn as such (`Dataset.contours`), these are taken, the share of
    annotators that drew each; lines of one pixel get the thickness, others stay as they are. Elsewhere they
    are the outlines of its regions. The published styles paint the image's frame and ignore nothing; in exact
    style the frame is ignored, and so is what lies on the rim of areas that nobody labelled.

    Args:
        dataset: any.
        index: which item.
        resolution: None for the photo's own size, else the side of a square, or the longer side.
        keep_aspect: with a resolution, keep the photo's aspect.
        thickness: width of the lines in pixels of the target.
        style: see `data.outlines`.

    Raises:
        FileError: naming the file, when it cannot be used.
    """
    known = known_boundaries(dataset, index)
    size = target_size(known.image.size, resolution, keep_aspect=keep_aspect)
    return BoundaryTarget(
        resize_photo(known.image, size),
        known.fraction(size, thickness, style),
        known.ignore(size, thickness, style),
    )


@dataclass(frozen=True, eq=False)
class KnownBoundaries:
    """A photo and where its boundaries come from, to be drawn at any size and thickness, several times too.

    Args:
        image: the photo.
        source: the annotation's file, for messages.
        drawn: boundaries drawn as such, or None.
        shapes: regions of the photo's size, where there is nothing drawn.
    """

    image: Image
    source: Path
    drawn: Contours | None
    shapes: Shapes | None

    def fraction(self, size: Size, thickness: int, style: Style = "exact") -> FloatArray:
        """The share of annotators who drew a boundary at each pixel, `size` float32.

        Raises:
            FileError: naming the annotation, when it cannot be used.
        """
        if self.drawn is not None:
            return _share(self.drawn, size, thickness, style)
        assert self.shapes is not None
        try:
            lines = outline(self.shapes, thickness=thickness, resolution=size, style=style)
        except MaskError as error:
            message = f"its masks of {self.image.source}: {error}"
            raise SampleError("malformed_mask", self.source, message) from error
        return lines.astype(np.float32)

    def ignore(self, size: Size, thickness: int, style: Style = "exact") -> BoolArray:
        """The pixels that nothing is known of, `size` bool; in the published styles there are none."""
        if style != "exact":
            return np.zeros(size, np.bool_)
        ignored = frame(size, thickness)
        if self.shapes is not None and self.shapes.void is not None:
            ignored |= _void(self.shapes.void, size, thickness)
        return ignored


def known_boundaries(dataset: Dataset, index: int) -> KnownBoundaries:
    """Read one item's photo and boundaries, without drawing them.

    Raises:
        FileError: naming the file, when it cannot be used.
    """
    source = dataset.mask_path(index)
    drawn = dataset.contours(index)
    if drawn is not None:
        return KnownBoundaries(read_image(dataset.image_path(index)), source, drawn, None)
    shapes = dataset.shapes(index)
    image = shapes.image or read_image(dataset.image_path(index))
    check_same_size(Pair(dataset.image_path(index), source), image, shapes.size)
    return KnownBoundaries(image, source, None, replace(shapes, parts=tuple(shapes.parts)))


def target_size(size: Size, resolution: int | None, *, keep_aspect: bool) -> Size:
    """Height and width of the target for a photo of `size`."""
    if resolution is None:
        return size
    return Geometry(size, resolution, "pad" if keep_aspect else "stretch").input_size


def resize_photo(image: Image, size: Size) -> Image:
    """Resize a photo to (h, w) by Pillow's bicubic filter, as the published training does."""
    if image.size == size:
        return image
    resized = PILImages.fromarray(image.pixels).resize(size[::-1], PILImages.Resampling.BICUBIC)
    return Image(np.asarray(resized), image.source)


def resize_lines(lines: BoolArray, size: Size, style: Style = "exact") -> BoolArray:
    """Resize a (H, W) map of lines to `size`.

    In exact style a line that is shrunk stays unbroken: a pixel is on it when any that it stands for is.
    The published styles take the nearest pixel alone.
    """
    if lines.shape == size:
        return lines
    if style == "exact":
        least = (min(lines.shape[0], size[0]), min(lines.shape[1], size[1]))
        rows, columns = np.nonzero(lines)
        small = np.zeros(least, np.uint8)
        small[rows * least[0] // lines.shape[0], columns * least[1] // lines.shape[1]] = 1
    else:
        small = lines.view(np.uint8)
    rule = cv2.INTER_NEAREST_EXACT if style == "exact" else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(small, size[::-1], interpolation=rule) > 0)


def _share(drawn: Contours, size: Size, thickness: int, style: Style) -> FloatArray:
    maps: Sequence[BoolArray]
    if drawn.thin:
        maps = [thicken(_resized_thin(lines, size), thickness) for lines in drawn.maps]
    else:
        maps = [resize_lines(lines, size, style) for lines in drawn.maps]
    total = np.zeros(size, np.float32)
    for lines in maps:
        total += lines
    return total / np.float32(max(1, len(maps)))


def _resized_thin(lines: BoolArray, size: Size) -> BoolArray:
    """One-pixel lines at another size: unbroken in any style, and one pixel wide again."""
    return lines if lines.shape == size else thin_lines(resize_lines(lines, size))


def _void(void: BoolArray, size: Size, thickness: int) -> BoolArray:
    """What nobody labelled, and around it the pixels that its own outline reaches."""
    nearest = cv2.resize(void.view(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return grown_void(nearest.view(np.bool_), thickness)


def grown_void(void: BoolArray, thickness: int) -> BoolArray:
    """Pixels that nobody labelled, (H, W) bool, and around them those that lines of their rim would reach."""
    return thicken(void, 2 * (thickness // 2) + 3)
