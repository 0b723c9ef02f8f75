"""Changes of colour, and objects pasted from one photo into another.

K masks, H, W size.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from maskwright.data.prompts import tight_box
from maskwright.data.transforms import Matrix, compose, flip_matrix, identity_matrix, shift_matrix, warp_image
from maskwright.types import BoolArray, ByteArray

LUMA = np.array([0.299, 0.587, 0.114])
TO_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
FROM_YIQ = np.linalg.inv(TO_YIQ)


def color_jitter(
    image: ByteArray,
    rng: np.random.Generator,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
    gray: float = 0.1,
) -> ByteArray:
    """Change an (H, W, 3) image's brightness, contrast, saturation and hue at random.

    All four are linear in RGB (the hue turns in the YIQ plane), so they are one pass over the image.

    Args:
        image: uint8 RGB.
        rng: source of randomness.
        brightness: the image is multiplied by U(1 - brightness, 1 + brightness).
        contrast: the same for the distance to the mean luma.
        saturation: the same for the distance to each pixel's own luma.
        hue: the hue turns by up to this share of the circle, either way.
        gray: chance that all colour is taken away.
    """
    light, spread, color = (rng.uniform(1 - a, 1 + a) for a in (brightness, contrast, saturation))
    angle = 2 * np.pi * rng.uniform(-hue, hue)
    color *= rng.random() >= gray
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    matrix = FROM_YIQ @ (turn * np.array([[1.0], [color], [color]])) @ TO_YIQ * light
    # The mean luma is only moved by the brightness, so contrast can be folded in without a second look.
    mean = light * float(LUMA @ cv2.mean(image)[:3])
    offset = np.full((3, 1), mean * (1 - spread))
    return cast(ByteArray, cv2.transform(image, np.hstack([matrix * spread, offset])))


def paste_object(
    image: ByteArray,
    masks: npt.NDArray[Any],
    donor: ByteArray,
    donor_mask: BoolArray,
    rng: np.random.Generator,
    *,
    extent: tuple[float, float] = (0.2, 0.7),
    flip: float = 0.5,
) -> tuple[ByteArray, npt.NDArray[Any], BoolArray]:
    """Paste an object of another photo at a random place, over whatever is there.

    Args:
        image: (H, W, 3) photo to paste into; it is not changed.
        masks: its (K, H, W) bool masks, or its (H, W) integer label map; not changed.
        donor: (h, w, 3) photo the object is taken from.
        donor_mask: (h, w) mask of the object, not empty.
        rng: source of randomness.
        extent: longest side of the pasted object as a share of the shortest side of `image`.
        flip: chance of mirroring the object.

    Returns:
        The new photo; the masks with the object as one more (or the label map with the object as the next
        number), hidden parts removed; and the (H, W) bool mask of what was pasted. An object that is covered
        wholly keeps its place as an empty mask.
    """
    size = image.shape[:2]
    matrix = _place(tight_box(donor_mask), donor_mask.shape, size, rng, extent, flip)
    alpha = warp_image(donor_mask.view(np.uint8) * np.uint8(255), matrix, size, fill=0)
    pasted: BoolArray = alpha > 127
    moved = warp_image(donor, matrix, size)
    weight = (alpha / np.float32(255))[..., None]
    mixed = (image + (moved.astype(np.float32) - image) * weight + 0.5).astype(np.uint8)
    if masks.ndim == 2:
        return mixed, np.where(pasted, masks.max() + 1, masks).astype(masks.dtype), pasted
    return mixed, np.concatenate([masks & ~pasted, pasted[None]]), pasted


def _place(
    box: npt.NDArray[np.float32],
    donor_size: tuple[int, ...],
    size: tuple[int, ...],
    rng: np.random.Generator,
    extent: tuple[float, float],
    flip: float,
) -> Matrix:
    """Matrix that moves the middle of `box` to a random pixel of an image of `size`, scaled at random."""
    factor = rng.uniform(*extent) * min(size[:2]) / float(max(box[2] - box[0], box[3] - box[1]))
    middle = (box[:2] + box[2:]) / 2 - 0.5
    goal_x, goal_y = rng.uniform(0, size[1] - 1), rng.uniform(0, size[0] - 1)
    mirror = identity_matrix()
    if rng.random() < flip:
        mirror = flip_matrix((donor_size[0], donor_size[1]))
        middle[0] = donor_size[1] - 1 - middle[0]
    scale = np.array([[factor, 0.0, 0.0], [0.0, factor, 0.0]])
    return compose(mirror, shift_matrix(-middle[0], -middle[1]), scale, shift_matrix(goal_x, goal_y))
