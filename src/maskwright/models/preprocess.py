"""From whatever a user calls an image to a model's input, exactly as the original predictors do it.

Axes: H W image, S input side.
"""

from __future__ import annotations

import os

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PILImages
from PIL import ImageOps
from PIL.Image import Image as PILImage
from PIL.Image import Resampling
from torch import Tensor

from maskwright.errors import InputError
from maskwright.models.base import MaskModel
from maskwright.types import ByteArray, Geometry, Image

ImageLike = Image | ByteArray | PILImage | str | os.PathLike[str]

_PIL_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr")


def to_image(image: ImageLike) -> Image:
    """Read or convert an image to upright RGB.

    Args:
        image: a path; a `types.Image`; a PIL image; or a uint8 array (H, W, 3) in RGB order or (H, W) grey.

    Raises:
        InputError: the value is no image of these kinds.
        ImageError: the file cannot be read.
    """
    if isinstance(image, Image):
        return image
    if isinstance(image, PILImage):
        return _from_pil(image)
    if isinstance(image, str | os.PathLike):
        from maskwright.io.images import read_image

        return read_image(image)
    if isinstance(image, np.ndarray):
        pixels = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image
        checked = Image(pixels)
        if 0 in checked.size:
            raise InputError(f"image <array> is empty: shape {image.shape}.")
        return checked
    raise InputError(
        f"an image is a path, a PIL image, a uint8 array or a types.Image, not {type(image).__name__}."
    )


def _from_pil(image: PILImage) -> Image:
    source = str(getattr(image, "filename", "") or "<PIL image>")
    if image.mode not in _PIL_MODES or image.info.get("transparency") is not None:
        raise InputError(
            f"image {source}: PIL mode {image.mode} has no single way to RGB here. "
            "Pass the file's path, or convert it yourself with .convert('RGB')."
        )
    return Image(np.array(ImageOps.exif_transpose(image).convert("RGB")), source)


def preprocess(image: Image, model: MaskModel) -> tuple[Tensor, Geometry]:
    """Resize, normalise and pad an image for a model.

    `pad` (SAM, SAM-HQ): the 8-bit image is resized by PIL's bilinear filter so that its longest side fits,
    normalised, and padded right and bottom with zeros, which is the mean colour.
    `stretch` (SAM 2): the float image is resized to the square by antialiased bilinear interpolation, then
    normalised.

    Returns:
        The (3, S, S) float32 input and how it maps to the image.
    """
    geometry = Geometry(image.size, model.image_size, model.resize)
    height, width = geometry.input_size
    if model.resize == "pad":
        resized = PILImages.fromarray(image.pixels).resize((width, height), Resampling.BILINEAR)
        pixels = _channels_first(np.array(resized))
    else:
        pixels = (
            F.interpolate(
                _channels_first(image.pixels)[None] / 255, (height, width), mode="bilinear", antialias=True
            )[0]
            * 255
        )
    mean, std = (torch.tensor(value)[:, None, None] for value in (model.pixel_mean, model.pixel_std))
    side = model.image_size
    return F.pad((pixels - mean) / std, (0, side - width, 0, side - height)), geometry


def _channels_first(pixels_HW3: ByteArray) -> Tensor:
    return torch.tensor(pixels_HW3).permute(2, 0, 1).float()
