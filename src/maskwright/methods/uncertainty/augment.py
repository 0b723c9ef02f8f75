"""The image augmentations over which uncertainty is averaged, as strong as in UncertainSAM's released code.

The paper's list (appendix A) has six names and says five; these are the five that its figures were made with.
Strengths are in physical units, because libraries have changed what the original's settings mean.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from maskwright.errors import InputError
from maskwright.methods.uncertainty.instances import rng_of
from maskwright.types import ByteArray, Image

NOISE_VARIANCE = 5000.0
"""Of each channel, on the scale 0 to 255: a standard deviation of 70.7."""
BLUR_KERNEL = 5
JPEG_LIMIT = 65500
"""Sides of a JPEG in pixels, at most."""
_BAND = 2**20


def augment(image: Image, name: str, seed: int, key: str) -> Image:
    """One augmentation of a photo, always the same for the same seed and key.

    Args:
        image: the photo.
        name: one of `AUGMENTATIONS`.
        seed: of the noise, with
        key: the photo's name.

    Raises:
        InputError: the photo is too large for a JPEG.
    """
    if name == "identity":
        return image
    change = AUGMENTATIONS[name]
    return Image(change(image.pixels, rng_of(seed, key, name)), image.source)


def _jpeg(quality: int) -> Callable[[ByteArray, np.random.Generator], ByteArray]:
    def compress(pixels: ByteArray, rng: np.random.Generator) -> ByteArray:
        if max(pixels.shape[:2]) > JPEG_LIMIT:
            raise InputError(
                f"a photo of {pixels.shape[1]} × {pixels.shape[0]} pixels is too large for the augmentation "
                "by JPEG: leave the augmentations out (--skip-augs)."
            )
        # OpenCV counts channels backwards.
        _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        return np.asarray(decoded, np.uint8)

    return compress


def _noise(pixels: ByteArray, rng: np.random.Generator) -> ByteArray:
    """Gaussian noise, of each pixel and channel on its own."""
    noisy = np.empty(pixels.size, np.uint8)
    flat = pixels.reshape(-1)
    # In bands, for floats of a large photo would fill the memory; the numbers come in the same order.
    for start in range(0, len(flat), _BAND):
        band = flat[start : start + _BAND]
        values = band + np.float32(NOISE_VARIANCE**0.5) * rng.standard_normal(len(band), np.float32)
        noisy[start : start + _BAND] = np.rint(values).clip(0, 255)
    return noisy.reshape(pixels.shape)


def _blur(pixels: ByteArray, rng: np.random.Generator) -> ByteArray:
    """Gaussian blur with the deviation that OpenCV chooses for this kernel.

    Its rule, 0.3 ((5 − 1) / 2 − 1) + 0.8, gives 1.1 pixels; up to seven pixels it has binomial kernels in the
    place of these, here (1 4 6 4 1) / 16, and so had the released code.
    """
    return np.asarray(cv2.GaussianBlur(pixels, (BLUR_KERNEL, BLUR_KERNEL), 0), np.uint8)


def _same(pixels: ByteArray, rng: np.random.Generator) -> ByteArray:
    return pixels


AUGMENTATIONS: dict[str, Callable[[ByteArray, np.random.Generator], ByteArray]] = {
    "identity": _same,
    "jpeg10": _jpeg(10),
    "jpeg30": _jpeg(30),
    "noise": _noise,
    "blur": _blur,
}
"""In the order of the released code: the photo as it is comes first."""
