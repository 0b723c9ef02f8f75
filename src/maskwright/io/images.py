"""Reading photos as 8-bit RGB, upright; writing PNG.

What becomes of a file, by what it holds:

- 8 bits: as it is. Grey becomes three equal channels, palettes become their colours, CMYK is converted by
  Pillow's plain formula; colour profiles are ignored.
- Transparency: laid on white.
- Colour of 16 bits a channel: full range, 0 to 65535 becomes 0 to 255, for such files are photographs.
- Grey of more than 8 bits, or float: stretched so that the darkest and the brightest 0.1 % of the pixels
  become 0 and 255. Such files are measurements (microscopes, X-rays, depth) that seldom fill the range; a few
  hot pixels must not turn the rest black. NaN counts as the darkest value.
- Float colour: 0 to 1 becomes 0 to 255; values outside are refused.
- Several pages or frames: refused, unless `page` says which one. TIFF previews do not count.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImages
from PIL.Image import Image as PILImage

from maskwright.errors import ImageError
from maskwright.io.decode import MAX_PIXELS, AnyArray, ImageHeader, naming, open_image
from maskwright.io.files import atomic_writer, shown
from maskwright.types import ByteArray, Image

_TAIL = 0.001
_SAMPLE = 4_000_000
_ROWS = 512
_TRANSPARENT_MODES = {"LA", "PA", "RGBA", "La", "RGBa"}
_DEEP_GREY_MODES = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_PLAIN_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}


def read_header(
    path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, page: int | None = None
) -> ImageHeader:
    """Read format, upright size and pixel layout without decoding.

    Raises:
        ImageError: naming the file and the reason.
    """
    with open_image(path, max_pixels, page) as opened:
        return opened.header


def read_image(
    path: str | os.PathLike[str],
    max_pixels: int = MAX_PIXELS,
    page: int | None = None,
    data: bytes | None = None,
) -> Image:
    """Read a photo as 8-bit RGB, turned upright; the rules are at the top of this module.

    Args:
        path: PNG, JPEG, TIFF, WebP or BMP.
        max_pixels: the largest width × height; checked before anything is decoded.
        page: which page of a TIFF or frame of an animation, from 0; None refuses files with several.
        data: the file's bytes, where it lies inside another file; `path` is then only its name.

    Raises:
        ImageError: naming the file and the reason: missing, no image, mislabelled, too large, damaged.
    """
    with open_image(path, max_pixels, page, data) as opened:
        source = opened.load()
        if not isinstance(source, PILImage):
            pixels = _from_array(opened.path, source)
        elif source.mode in _DEEP_GREY_MODES:
            return Image(_as_rgb(stretch(opened.stored())), os.fspath(path))
        else:
            with naming(opened.path):
                pixels = np.asarray(_to_rgb(opened.path, source))
        return Image(opened.upright(pixels), os.fspath(path))


def stretch(values: npt.NDArray[Any]) -> ByteArray:
    """Scale grey values (H, W) of any type so that their 0.1 % and 99.9 % quantiles become 0 and 255.

    Where the two are equal (few bright spots on an even ground) the extremes are taken; an even image
    becomes black. Infinite values go to the end they lie at, NaN to 0.
    """
    low, high = _range(values)
    result = np.empty(values.shape, np.uint8)
    # In blocks of rows: the float copy of a large scan would be four times its size.
    for start in range(0, len(values), _ROWS):
        block = np.nan_to_num(
            values[start : start + _ROWS].astype(np.float64), nan=low, posinf=high, neginf=low
        )
        scaled = (block - low) / (high - low) if high > low else np.zeros_like(block)
        result[start : start + _ROWS] = np.rint(scaled.clip(0, 1) * 255)
    return result


def _range(values: npt.NDArray[Any]) -> tuple[float, float]:
    sample = values.reshape(-1)[:: max(1, values.size // _SAMPLE)]
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return 0.0, 0.0
    low, high = np.quantile(finite.astype(np.float64), [_TAIL, 1 - _TAIL])
    return (float(low), float(high)) if high > low else (float(finite.min()), float(finite.max()))


def write_png(path: str | os.PathLike[str], pixels: ByteArray) -> None:
    """Write uint8 pixels, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, as a PNG, atomically.

    Raises:
        FileError: naming the path and the reason.
    """
    assert pixels.dtype == np.uint8, pixels.dtype
    assert pixels.ndim == 2 or pixels.shape[2] in {3, 4}, pixels.shape
    with atomic_writer(Path(path)) as file:
        PILImages.fromarray(pixels).save(file, format="PNG")


def _to_rgb(path: Path, image: PILImage) -> PILImage:
    if image.mode in _TRANSPARENT_MODES or image.info.get("transparency") is not None:
        return _on_white(image)
    if image.mode not in _PLAIN_MODES:
        message = f"its pixel layout {image.mode} is not supported; save it as RGB or grey"
        raise ImageError(f"cannot read {shown(path)}: {message}.")
    # Converting to what it is already would copy it.
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: PILImage) -> PILImage:
    # Pillow unpacks premultiplied colours only to the matching plain mode.
    plain = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
    ground = PILImages.new("RGB", plain.size, "white")
    ground.paste(plain, mask=plain.getchannel("A"))
    return ground


def _from_array(path: Path, array: AnyArray) -> ByteArray:
    """Pixels of a TIFF layout that Pillow does not read."""
    if array.ndim == 3 and array.shape[0] in {1, 3} and array.shape[2] not in {1, 3}:
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype.kind not in "uif":
        raise ImageError(f"cannot read {shown(path)}: its values are {array.dtype}, not plain numbers.")
    if array.ndim == 2:
        return _as_rgb(stretch(array))
    if array.ndim == 3 and array.shape[2] == 3 and array.dtype.kind == "f":
        return _unit_to_bytes(path, array)
    message = f"its values have shape {array.shape} ({array.dtype})"
    raise ImageError(
        f"cannot read {shown(path)}: {message}; save one grey channel or three colours of 8 or 16 bits."
    )


def _unit_to_bytes(path: Path, array: AnyArray) -> ByteArray:
    values = array.astype(np.float32)
    if not ((values >= 0) & (values <= 1)).all():
        message = "its float colours go beyond 0 to 1"
        raise ImageError(f"cannot read {shown(path)}: {message}; scale them, or save 8 or 16 bits a channel.")
    return np.rint(values * 255).astype(np.uint8)


def _as_rgb(grey: ByteArray) -> ByteArray:
    return np.repeat(grey[..., None], 3, axis=2)
