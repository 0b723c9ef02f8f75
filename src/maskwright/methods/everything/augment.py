"""Augmentation of photos with outlines: the published one, and a strong one.

Lines do not survive resampling: blended they fade, at half the size to half their value, and taken from the
nearest pixel they break. So a photo's label maps are moved, taking the nearest label, and the lines drawn
anew; README.md has the figures.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from maskwright.data.augment import color_jitter
from maskwright.data.boundary_targets import grown_void
from maskwright.data.outlines import Shapes, outline, thicken
from maskwright.data.thin_lines import thin_lines
from maskwright.data.transforms import Matrix, Size
from maskwright.methods.everything.photos import Labels, as_bytes, from_bytes
from maskwright.types import BoolArray, ByteArray

PUBLISHED_SHARE = 0.25
BLUR_SHARE, NOISE_SHARE = 0.2, 0.3
GAMMA = (0.7, 1.4)
NOISE = 8.0


def published(pixels: ByteArray, rng: np.random.Generator) -> ByteArray:
    """In a quarter of the photos all of blur (3 × 3, σ 0.1–2), colour changes by half and gray (one in five).

    DirectSAM's released code at its last commit. The order of the four changes of colour is fixed here, and
    the hue turns in the YIQ plane and not in HSV.
    """
    if rng.random() >= PUBLISHED_SHARE:
        return pixels
    sigma = rng.uniform(0.1, 2.0)
    blurred = np.asarray(cv2.GaussianBlur(pixels, (3, 3), sigma), np.uint8)
    return color_jitter(blurred, rng, brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5, gray=0.2)


def distort(pixels: ByteArray, rng: np.random.Generator) -> ByteArray:
    """Change colours and gamma, sometimes blur, sometimes add noise."""
    pixels = color_jitter(pixels, rng, hue=0.05)
    gamma = np.exp(rng.uniform(*np.log(GAMMA)))
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    pixels = table[pixels]
    if rng.random() < BLUR_SHARE:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.5)), np.uint8)
    if rng.random() < NOISE_SHARE:
        noise = rng.uniform(0, NOISE) * rng.standard_normal(pixels.shape, np.float32)
        pixels = np.rint(pixels + noise).clip(0, 255).astype(np.uint8)
    return pixels


def window_matrix(
    size: Size,
    crop: int,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float],
    degrees: float,
    turned: float,
    flips: str,
) -> Matrix:
    """A random square window of a photo, scaled, turned and mirrored.

    It lies on the photo as far as it fits there; where it is larger, the photo lies in it.

    Args:
        size: height and width of the photo.
        crop: side of the window.
        rng: source of randomness.
        scale: range of the size against the photo's.
        degrees: largest angle, either way.
        turned: chance of being turned.
        flips: "both", "horizontal" or "none".
    """
    factor = rng.uniform(*scale)
    angle = np.radians(rng.uniform(-degrees, degrees)) * (rng.random() < turned)
    mirrored = np.where(rng.random(2) < 0.5, -1.0, 1.0)
    mirrored[1] = mirrored[1] if flips == "both" else 1.0
    mirrored = mirrored if flips != "none" else np.ones(2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = factor * turn * mirrored
    reach = np.abs(np.linalg.inv(linear)).sum(axis=1) * crop / 2
    middle = [
        rng.uniform(*sorted((r, length - r))) - 0.5 for r, length in zip(reach, size[::-1], strict=True)
    ]
    offset = (crop - 1) / 2 - linear @ middle
    return np.column_stack([linear, offset])


def move_pixels(pixels: ByteArray, matrix: Matrix, crop: int) -> ByteArray:
    """The window's pixels, bilinear, with the photo mirrored around it."""
    # Below half the size bilinear sampling would skip pixels.
    fine = int(1 / float(np.linalg.norm(matrix[:, 0])))
    if fine > 1:
        pixels = np.asarray(cv2.blur(pixels, (fine, fine)), np.uint8)
    moved = cv2.warpAffine(
        pixels, matrix, (crop, crop), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(moved, np.uint8)


def move_outlines(plane: Labels, matrix: Matrix, crop: int, thickness: int) -> BoolArray:
    """The window's outlines, drawn anew, with the photo mirrored around it so that its border is none.

    Args:
        plane: (H, W) label map.
        matrix: from the photo to the window.
        crop: side of the window.
        thickness: of the lines in pixels of the window.
    """
    moved = from_bytes(_nearest(as_bytes(plane), matrix, crop, cv2.BORDER_REFLECT_101), plane)
    return outline(Shapes((crop, crop), (moved.astype(np.int32),)), thickness=thickness)


def move_lines(lines: BoolArray, matrix: Matrix, crop: int, thickness: int) -> BoolArray:
    """As `move_outlines`, of (H, W) bool lines of one pixel that may be open.

    They are moved so wide that none falls between the pixels of the window, and thinned again.
    """
    shrink = 1 / float(np.linalg.norm(matrix[:, 0]))
    wide = thicken(lines, 2 * math.ceil(max(1.0, shrink)) + 1)
    moved = _nearest(wide.view(np.uint8), matrix, crop, cv2.BORDER_REFLECT_101) > 0
    return thicken(thin_lines(moved), thickness)


def move_void(void: BoolArray | None, size: Size, matrix: Matrix, crop: int, thickness: int) -> BoolArray:
    """Where the window shows no photo, or what nobody labelled, and the lines that this could have caused."""
    known = np.ones(size, np.uint8) if void is None else (~void).view(np.uint8)
    unknown = _nearest(known, matrix, crop, cv2.BORDER_CONSTANT) == 0
    return grown_void(unknown, thickness)


def _nearest(plane: ByteArray, matrix: Matrix, crop: int, border: int) -> ByteArray:
    moved = cv2.warpAffine(plane, matrix, (crop, crop), flags=cv2.INTER_NEAREST, borderMode=border)
    return np.asarray(moved, np.uint8)
