"""The five augmentations: as strong as published, and the same every time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maskwright.errors import InputError
from maskwright.methods.uncertainty import augment as module
from maskwright.methods.uncertainty.augment import AUGMENTATIONS, augment
from maskwright.types import Image


def smooth() -> Image:
    rows, columns = np.mgrid[0:60, 0:90]
    pixels = np.stack([128 + 60 * np.sin(rows / 7), 128 + 60 * np.cos(columns / 9), rows + columns], axis=2)
    return Image(pixels.astype(np.uint8), "smooth")


def error(name: str) -> float:
    image = smooth()
    changed = augment(image, name, 0, "x").pixels.astype(float)
    return float(np.sqrt(np.mean((changed - image.pixels) ** 2)))


def test_there_are_five_the_photo_itself_first() -> None:
    assert list(AUGMENTATIONS) == ["identity", "jpeg10", "jpeg30", "noise", "blur"]
    image = smooth()
    assert augment(image, "identity", 0, "x") is image


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_they_follow_from_seed_and_name_and_leave_the_photo_alone(name: str) -> None:
    image = smooth()
    before = image.pixels.copy()
    first = augment(image, name, 3, "a").pixels
    assert np.array_equal(augment(image, name, 3, "a").pixels, first)
    assert first.shape == before.shape
    assert first.dtype == np.uint8
    assert np.array_equal(image.pixels, before)
    drawn = name == "noise"
    assert np.array_equal(augment(image, name, 4, "a").pixels, first) is not drawn
    assert np.array_equal(augment(image, name, 3, "b").pixels, first) is not drawn


def test_noise_has_the_published_variance() -> None:
    gray = Image(np.full((300, 300, 3), 128, np.uint8), "gray")
    noisy = augment(gray, "noise", 0, "x").pixels.astype(float) - 128
    # Clipped at 1.8 deviations on either side.
    inside = noisy[(noisy > -128) & (noisy < 127)]
    limit = 127.5 / math.sqrt(5000)
    density = math.exp(-(limit**2) / 2) / math.sqrt(2 * math.pi)
    truncated = 5000 * (1 - 2 * limit * density / math.erf(limit / math.sqrt(2)))
    assert inside.var() == pytest.approx(truncated, rel=0.02)
    assert abs(np.corrcoef(noisy[..., 0].ravel(), noisy[..., 1].ravel())[0, 1]) < 0.02


def test_noise_of_a_large_photo_is_made_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = augment(smooth(), "noise", 0, "x").pixels
    monkeypatch.setattr(module, "_BAND", 1000)
    assert np.array_equal(augment(smooth(), "noise", 0, "x").pixels, whole)


def test_jpeg_of_quality_10_is_worse_than_of_30_and_keeps_the_colours() -> None:
    assert 10 > error("jpeg10") > error("jpeg30") > 0.5


def test_blur_is_opencvs_kernel_for_five_pixels() -> None:
    pixels = np.zeros((9, 9, 3), np.uint8)
    pixels[4, 4] = 255
    weights = np.array([1, 4, 6, 4, 1]) / 16
    blurred = augment(Image(pixels, "dot"), "blur", 0, "x").pixels[2:7, 2:7, 0]
    assert np.allclose(blurred, 255 * np.outer(weights, weights), atol=1)


def test_a_photo_that_no_jpeg_can_hold_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JPEG_LIMIT", 80)
    with pytest.raises(InputError, match="--skip-augs"):
        augment(smooth(), "jpeg10", 0, "x")
