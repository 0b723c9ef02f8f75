"""Photos with what outlines are drawn from after a photo was moved: a map an annotator.

H W size of the photo, K annotators.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.data.boundary_targets import resize_lines, resize_photo, target_size
from maskwright.data.dataset import Dataset
from maskwright.data.files import Pair, check_same_size
from maskwright.data.outlines import Patch, Shapes, Size
from maskwright.data.thin_lines import thin_lines
from maskwright.io.images import read_image
from maskwright.io.rle import RLE
from maskwright.types import BoolArray, ByteArray

Labels = npt.NDArray[np.integer]
Numbers = npt.NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo that outlines can be drawn on.

    Args:
        pixels: (H, W, 3) uint8.
        labels: K label maps (H, W), one to four bytes a pixel; a boundary is where labels differ.
        lines: K maps (H, W) bool of lines of one pixel, where there are no labels.
        void: (H, W) bool, what nobody labelled, or None.
    """

    pixels: ByteArray
    labels: tuple[Labels, ...]
    lines: tuple[BoolArray, ...]
    void: BoolArray | None

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        void = 0 if self.void is None else self.void.nbytes
        maps = sum(plane.nbytes for plane in self.labels) + sum(plane.nbytes for plane in self.lines)
        return self.pixels.nbytes + maps + void


def read_photo(dataset: Dataset, index: int, resolution: int | None, *, keep_aspect: bool) -> Photo:
    """Read a photo and the regions of all its annotators, or else the lines they drew.

    Args:
        dataset: any.
        index: which item.
        resolution: None for the photo's own size, else the side of a square, or the longer side.
        keep_aspect: with a resolution, keep the photo's aspect.

    Raises:
        FileError: naming the file, when it cannot be used.
    """
    maps = dataset.segmentations(index)
    drawn = None if maps else dataset.contours(index)
    shapes = None if maps or drawn else dataset.shapes(index)
    image = shapes.image if shapes else None
    image = image or read_image(dataset.image_path(index))
    files = Pair(dataset.image_path(index), dataset.mask_path(index))
    size = target_size(image.size, resolution, keep_aspect=keep_aspect)
    pixels = resize_photo(image, size).pixels
    if drawn:
        lines = tuple(thin_lines(resize_lines(plane, size)) for plane in drawn.maps)
        return Photo(pixels, (), lines, None)
    if shapes:
        check_same_size(files, image, shapes.size)
        void = None if shapes.void is None else resize_labels(shapes.void.astype(np.int32), size) > 0
        return Photo(pixels, (resize_labels(cover(shapes), size),), (), void)
    assert maps
    for plane in maps:
        check_same_size(files, image, plane.shape)
    return Photo(pixels, tuple(resize_labels(narrow(plane), size) for plane in maps), (), None)


def cover(shapes: Shapes) -> npt.NDArray[np.int32]:
    """One label map whose borders are the outlines of all regions, which may overlap.

    Each region has a random number of 32 bits, and a pixel those of the regions it lies in, combined by
    exclusive or (Zobrist's hashing). Two neighbouring pixels in different regions get equal numbers by a
    chance of 2⁻³². Run-length masks are never decoded: each run's end changes the number of all that follows,
    so one pass over the image is enough for all of them.

    Args:
        shapes: the regions of one image.

    Returns:
        (H, W) int32.
    """
    rng = np.random.default_rng(0)
    height, width = shapes.size
    labels = np.zeros((height, width), np.uint32)
    changes = np.zeros(height * width + 1, np.uint32)  # column by column, as runs go
    for part in shapes.parts:
        number = rng.integers(1, 2**32, dtype=np.uint32)
        if isinstance(part, RLE):
            np.bitwise_xor.at(changes, np.cumsum(part.runs()[:-1]), number)
        elif isinstance(part, Patch):
            h, w = part.mask.shape
            inside = labels[part.top : part.top + h, part.left : part.left + w]
            np.bitwise_xor(inside, number, out=inside, where=part.mask)
        else:
            labels ^= _scatter(part.astype(np.uint32) + number)
    runs_wh = np.bitwise_xor.accumulate(changes[:-1]).reshape(width, height)
    return (labels ^ runs_wh.T).view(np.int32)


def narrow(labels: npt.NDArray[np.int32]) -> Labels:
    """The same label map in as few bytes a pixel as its numbers fit into."""
    kinds = (np.uint8, np.uint16)
    fitting = (kind for kind in kinds if labels.min() >= 0 and labels.max() <= np.iinfo(kind).max)
    return labels.astype(next(fitting, np.int32))


def as_bytes(labels: Labels) -> ByteArray:
    """A label map as a picture with a channel a byte: OpenCV resizes and moves no int32."""
    return np.ascontiguousarray(labels).view(np.uint8).reshape(*labels.shape, -1)


def from_bytes(planes: ByteArray, like: Labels) -> Labels:
    """A label map from what `as_bytes` gave, in the type of another."""
    return np.ascontiguousarray(planes).view(like.dtype).reshape(planes.shape[:2])


def resize_labels(labels: Labels, size: Size) -> Labels:
    """Resize a label map to (h, w), taking the nearest label."""
    if labels.shape == size:
        return labels
    resized = cv2.resize(as_bytes(labels), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return from_bytes(np.asarray(resized, np.uint8), labels)


def _scatter(numbers: Numbers) -> Numbers:
    """A one-to-one mapping of 32-bit numbers that leaves no pattern in them (murmur3's last steps)."""
    numbers = (numbers ^ (numbers >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    numbers = (numbers ^ (numbers >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return np.asarray(numbers ^ (numbers >> np.uint32(16)))
