"""What a boundary model is to learn from one photo: the photo, the boundaries, and the pixels left out.

H, W size of the photo; h, w size of the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image as PILImages

from maskwright.data.dataset import Contours, Dataset, SampleError
from maskwright.data.outlines import Shapes, Size, Style, frame, outline, thicken
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
    drawn = dataset.contours(index)
    shapes = None if drawn else dataset.shapes(index)
    image = shapes.image if shapes else None
    image = image or read_image(dataset.image_path(index))
    size = target_size(image.size, resolution, keep_aspect=keep_aspect)
    ignore = frame(size, thickness if style == "exact" else 0)
    if drawn:
        fraction = _share(drawn, size, thickness, style)
    else:
        assert shapes
        if shapes.size != image.size:
            sizes = f"{shapes.size[1]}×{shapes.size[0]} pixels, and it has {image.size[1]}×{image.size[0]}"
            message = f"its masks of {image.source} are for {sizes}"
            raise SampleError("size_mismatch", dataset.mask_path(index), message)
        try:
            lines = outline(shapes, thickness=thickness, resolution=size, style=style)
        except MaskError as error:
            message = f"masks of {image.source}: {error}"
            raise SampleError("malformed_mask", dataset.mask_path(index), message) from error
        fraction = lines.astype(np.float32)
        if style == "exact" and shapes.void is not None:
            ignore |= _void(shapes, size, thickness)
    return BoundaryTarget(resize_photo(image, size), fraction, ignore)


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
    maps: Sequence[BoolArray] = [resize_lines(lines, size, style) for lines in drawn.maps]
    if drawn.thin and thickness > 1:
        maps = [thicken(lines, thickness) for lines in maps]
    total = np.zeros(size, np.float32)
    for lines in maps:
        total += lines
    return total / np.float32(max(1, len(maps)))


def _void(shapes: Shapes, size: Size, thickness: int) -> BoolArray:
    """What nobody labelled, and around it the pixels that its own outline reaches."""
    assert shapes.void is not None
    nearest = cv2.resize(shapes.void.view(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return thicken(nearest.view(np.bool_), 2 * (thickness // 2) + 3)
