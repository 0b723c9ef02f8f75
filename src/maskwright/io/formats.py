"""Which image formats are opened, told by a file's first bytes and never by its name alone.

Only Pillow's plugins for five formats are ever reached; all others (EPS runs a PostScript interpreter, PSD
and ICO have had memory errors) are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from maskwright.errors import ImageError
from maskwright.io.files import shown

# Called directly, not through `PIL.Image.open`: that tries every registered format, and its own pixel limit
# is a global that could only be changed for the whole process.
OPENERS: dict[str, Callable[[BinaryIO], ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
}

_SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "TIFF": (".tif", ".tiff"),
    "WebP": (".webp",),
    "BMP": (".bmp",),
}
_FORMAT_OF_SUFFIX = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)
_FOREIGN = (
    (b"GIF8", "a GIF"),
    (b"%!PS", "an EPS or PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "an EPS file"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 file"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 stream"),
    (b"\xff\x0a", "a JPEG XL file"),
    (b"\x76\x2f\x31\x01", "an OpenEXR file"),
    (b"DICM", "a DICOM file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"%PDF", "a PDF"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"version https://git-lfs", "a Git LFS pointer, not yet fetched ('git lfs pull')"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
)


def detect_format(path: Path, start: bytes) -> str:
    """Tell the format from a file's first bytes (32 suffice) and check that its name says the same.

    Returns:
        "PNG", "JPEG", "TIFF", "WebP" or "BMP".

    Raises:
        ImageError: for any other content, and for a name whose extension belongs to another format.
    """
    if not start:
        raise ImageError(f"cannot read {shown(path)}: the file is empty.")
    found = _known(start)
    if found is None:
        kinds = ", ".join(OPENERS)
        message = f"it is {_foreign(start)}; convert it to one of {kinds}"
        raise ImageError(f"cannot read {shown(path)}: {message}.")
    named = _FORMAT_OF_SUFFIX.get(path.suffix.lower(), found)
    if named != found:
        message = f"it is mislabelled: a {found} file named {path.suffix}; rename it to end in"
        raise ImageError(f"cannot read {shown(path)}: {message} {_SUFFIXES[found][0]}.")
    return found


def _known(start: bytes) -> str | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    return next((name for signature, name in _SIGNATURES if start.startswith(signature)), None)


def _foreign(start: bytes) -> str:
    if start[4:8] == b"ftyp":
        return "an AVIF or HEIC photo" if start[8:11] in {b"avi", b"hei", b"mif"} else "a video"
    lowered = start.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    names = (
        name for signature, name in _FOREIGN if start.startswith(signature) or lowered.startswith(signature)
    )
    return next(names, "no image of a known format")
