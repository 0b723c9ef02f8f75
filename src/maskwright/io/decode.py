"""From a file to its stored pixel values, upright, with every limit checked before anything is decoded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import ImageFile
from PIL.Image import Image as PILImage

from maskwright.errors import FileError, ImageError, MaskwrightError
from maskwright.io.files import reason, require_file, shown
from maskwright.io.formats import OPENERS, detect_format
from maskwright.io.png import check_sums, late_exif
from maskwright.io.tiff import open_page

AnyArray = npt.NDArray[np.generic]
Source = PILImage | tifffile.TiffPage

# 10,000 × 10,000; as RGB that is 300 MB.
MAX_PIXELS = 100_000_000
_MAX_PREVIEWS = 16
_ORIENTATION, _SUBFILE_TYPE, _SAMPLE_FORMAT = 274, 254, 339
PREVIEW_OR_MASK = 1 | 4


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about itself before any pixel is decoded.

    Args:
        format: "PNG", "JPEG", "TIFF", "WebP" or "BMP".
        size: height and width in pixels, after the EXIF rotation.
        mode: Pillow's name of the pixel layout ("RGB", "L", "I;16", …), or the data type of other TIFFs.
        orientation: the EXIF value 1 to 8.
        multi_page: whether further pages or frames follow the first (previews do not count).
    """

    format: str
    size: tuple[int, int]
    mode: str
    orientation: int
    multi_page: bool


class OpenImage:
    """An image file opened for decoding; made by `open_image`."""

    def __init__(self, path: Path, header: ImageHeader, source: Source, file: BinaryIO) -> None:
        self.path = path
        self.header = header
        self._source = source
        self._file = file

    def load(self) -> PILImage | AnyArray:
        """Decode. Pillow's image, or for a layout that Pillow does not know an array (H, W) or (H, W, C).

        Pillow turns TIFF upright by itself; use `upright` on what becomes of all others.

        Raises:
            ImageError: naming the file, when it is damaged.
        """
        with naming(self.path):
            if self.header.format == "PNG":
                position = self._file.tell()
                check_sums(self._file)
                self._file.seek(position)
            if isinstance(self._source, PILImage):
                self._source.load()
                return self._source
            return np.asarray(self._source.asarray())

    def upright(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn a decoded array (H, W[, C]) as its EXIF orientation asks."""
        if self.header.format == "TIFF" and isinstance(self._source, PILImage):
            return array
        return turn(array, self.header.orientation)

    def stored(self) -> AnyArray:
        """Decode to the stored numbers, upright: palette indices, not colours; (H, W) or (H, W, C)."""
        image = self.load()
        if not isinstance(image, PILImage):
            return self.upright(image)
        array = np.asarray(image)
        if image.mode == "I" and _is_unsigned(image):
            array = array.view(np.uint32)
        return self.upright(array)


@contextmanager
def open_image(
    path: str | os.PathLike[str],
    max_pixels: int = MAX_PIXELS,
    page: int | None = None,
    data: bytes | None = None,
) -> Iterator[OpenImage]:
    """Open an image file and check what its header says; nothing is decoded yet.

    Args:
        path: PNG, JPEG, TIFF, WebP or BMP.
        max_pixels: the largest width × height that is accepted.
        page: which page of a TIFF, or frame of an animation, from 0; None wants a file that has only one.
        data: the file's bytes, where it lies inside another file; `path` is then only what messages call it.

    Raises:
        ImageError: naming the file and the reason.
    """
    path = Path(path)
    with opened(path) if data is None else BytesIO(data) as file:
        kind = detect_format(path, file.read(32))
        with naming(path):
            source = _parse(kind, file, page)
            width, height = _size(source)
            multi_page = _has_pages(source)
        _check_limits(path, width, height, max_pixels)
        if multi_page and page is None:
            message = "it has several pages or frames, and one image is wanted"
            raise ImageError(
                f"cannot read {shown(path)}: {message}; save one as its own file, or give page=0."
            )
        with naming(path):
            header = _header(kind, file, source, multi_page)
        yield OpenImage(path, header, source, file)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into an `ImageError` with the file's name."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        message = "Pillow's LOAD_TRUNCATED_IMAGES was switched on, which fills damaged images with grey"
        raise ImageError(f"cannot read {shown(path)}: {message}; switch it off.")
    try:
        yield
    except (MaskwrightError, MemoryError):
        raise
    except Exception as error:
        why = reason(error) if isinstance(error, OSError) else str(error) or type(error).__name__
        raise ImageError(
            f"cannot read {shown(path)}: it is damaged or truncated ({why.rstrip('.')})."
        ) from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading.

    Raises:
        ImageError: naming the file and the reason.
    """
    try:
        require_file(path)
        file = path.open("rb")
    except FileError as error:
        raise ImageError(str(error)) from error
    except OSError as error:
        raise ImageError(f"cannot read {shown(path)}: {reason(error)}.") from error
    with file:
        yield file


def _parse(kind: str, file: BinaryIO, page: int | None) -> Source:
    """Read the header of the wanted page."""
    file.seek(0)
    try:
        image = OPENERS[kind](file)
    except SyntaxError:
        # So Pillow says that it does not know the layout: float64, several float channels and the like.
        if kind != "TIFF":
            raise
        return open_page(file, page or 0)
    if page:
        image.seek(page)
    return image


def _size(source: Source) -> tuple[int, int]:
    """Width and height, of a TIFF read by Pillow after the rotation, of all others before."""
    return source.size if isinstance(source, PILImage) else (source.imagewidth, source.imagelength)


def _has_pages(source: Source) -> bool:
    """Whether there is a second page or frame; a TIFF's previews and transparency masks do not count."""
    if not isinstance(source, PILImage):
        pages = source.parent.pages
        others = [other for other in pages[1:_MAX_PREVIEWS] if isinstance(other, tifffile.TiffPage)]
        return any(not int(other.subfiletype) & PREVIEW_OR_MASK for other in others)
    if source.format != "TIFF":
        return int(getattr(source, "n_frames", 1)) > 1
    current = source.tell()
    try:
        return any(_is_full_page(source, number) for number in range(1, _MAX_PREVIEWS))
    except EOFError:
        return False
    finally:
        source.seek(current)


def _is_full_page(source: PILImage, number: int) -> bool:
    source.seek(number)
    return not _tag(source, _SUBFILE_TYPE, 0) & PREVIEW_OR_MASK


def _check_limits(path: Path, width: int, height: int, max_pixels: int) -> None:
    if height < 1 or width < 1:
        raise ImageError(f"cannot read {shown(path)}: its header says {width}×{height} pixels.")
    if height * width > max_pixels:
        message = f"it has {width}×{height} pixels, more than the limit of {max_pixels:,}"
        raise ImageError(f"cannot read {shown(path)}: {message}; cut it into tiles or scale it down.")


def _header(kind: str, file: BinaryIO, source: Source, multi_page: bool) -> ImageHeader:
    width, height = _size(source)
    orientation = _orientation(kind, file, source)
    turned = orientation >= 5 and not (kind == "TIFF" and isinstance(source, PILImage))
    size = (width, height) if turned else (height, width)
    if isinstance(source, PILImage):
        return ImageHeader(kind, size, source.mode, orientation, multi_page)
    channels = f" × {source.samplesperpixel}" if source.samplesperpixel > 1 else ""
    return ImageHeader(kind, size, f"{source.dtype}{channels}", orientation, multi_page)


def _orientation(kind: str, file: BinaryIO, source: Source) -> int:
    """The EXIF orientation; a value that does not exist counts as upright, as in all viewers."""
    if not isinstance(source, PILImage):
        tag = source.tags.get(_ORIENTATION)
        value = 1 if tag is None else tag.value
    else:
        # The base class's method, for that of PNG decodes the whole image.
        exif = PILImage.getexif(source)
        position = file.tell()
        if kind == "PNG" and not exif and (data := late_exif(file)):
            exif.load(data)
        file.seek(position)
        value = exif.get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_unsigned(image: PILImage) -> bool:
    """Whether a 32-bit TIFF holds unsigned numbers, which Pillow gives out as signed."""
    return image.format == "TIFF" and _tag(image, _SAMPLE_FORMAT, 1) == 1


def _tag(image: PILImage, number: int, default: int) -> int:
    value = getattr(image, "tag_v2", {}).get(number, default)
    return int(value[0] if isinstance(value, tuple) else value)


def turn(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo an EXIF orientation: 5 to 8 have rows and columns exchanged, then each axis may be mirrored."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        array = array[::-1]
    if orientation in {2, 3, 6, 7}:
        array = array[:, ::-1]
    return np.ascontiguousarray(array)
