"""What a model has to beat: masks that need no weights, from the same prompts.

A box gives its filled area, the ellipse inscribed in it, or OpenCV's GrabCut started from it. A click has no
extent, so each baseline first puts a box of a fixed share of the image around it. The share was chosen for
box and ellipse on all photos of BSDS500 train and val (the best of seven, 0.2 to 0.6). GrabCut's settings for
a click are the best of eleven tried on 40 to 60 of those photos: a coarse search.

H W size. Boxes are (x0, y0, x1, y1) in pixels, x1 and y1 exclusive; a box takes in every pixel it touches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from maskwright.errors import InputError, suggestion
from maskwright.methods.prediction import PredictedMask
from maskwright.types import BoolArray, Image, Prompts

Box = tuple[int, int, int, int]

ITERATIONS = 5
CLICK_SHARE = 0.3
"""Height and width of the box around a click, as a share of the image's."""
CLICK_RADIUS = 0.03
"""GrabCut takes a disc of this radius (share of the diagonal) around a click for certain."""


@dataclass(frozen=True)
class Baseline:
    """A method without weights as a `Predictor`: nothing is prepared, corrections are not understood."""

    name: str
    segment: Callable[[Image, Prompts], PredictedMask]

    is_model = False
    takes_corrections = False

    @property
    def settings(self) -> dict[str, Any]:
        """None."""
        return {}

    def prepare(self, image: Image) -> Image:
        """The image itself."""
        return image

    def predict(self, prepared: Image, prompt: Prompts) -> PredictedMask:
        """Find the object of one prompt: a box, or one click."""
        return self.segment(prepared, prompt)


def baseline(name: str) -> Baseline:
    """The baseline of this name: box, ellipse, grabcut or grabcut-or-box.

    Raises:
        InputError: for another name.
    """
    if name not in BASELINES:
        raise InputError(
            f"there is no baseline {name!r}; use {', '.join(BASELINES)}.{suggestion(name, BASELINES)}"
        )
    return Baseline(name, BASELINES[name])


def filled_box(image: Image, prompt: Prompts) -> PredictedMask:
    """Every pixel of the box."""
    return PredictedMask(_box_mask(image.size, _box(image.size, prompt)))


def inscribed_ellipse(image: Image, prompt: Prompts) -> PredictedMask:
    """The pixels whose centres lie in the ellipse that touches the box's four sides."""
    x0, y0, x1, y1 = _box(image.size, prompt)
    rows, columns = np.ogrid[: image.size[0], : image.size[1]]
    across = (2 * columns + 1 - x0 - x1) / (x1 - x0)
    down = (2 * rows + 1 - y0 - y1) / (y1 - y0)
    return PredictedMask(across**2 + down**2 <= 1)


def grabcut(image: Image, prompt: Prompts) -> PredictedMask:
    """OpenCV's GrabCut (Rother et al. 2004), five iterations, the same answer every time.

    From a box: inside probably object, outside certainly background, as OpenCV itself starts from a box.
    From a click: a disc around it certainly object, the box around it probably, the rest probably
    background, so that the object may reach beyond a box that was only guessed.

    The mask is empty where GrabCut finds no object, or has no background to learn from because the box is the
    whole image.
    """
    inside = _box_mask(image.size, _box(image.size, prompt))
    if inside.all():
        return PredictedMask(np.zeros(image.size, np.bool_))
    outside = cv2.GC_BGD if prompt.boxes is not None else cv2.GC_PR_BGD
    state = np.where(inside, cv2.GC_PR_FGD, outside).astype(np.uint8)
    click = _click(prompt)
    if click is not None:
        radius = max(1, round(CLICK_RADIUS * float(np.hypot(*image.size))))
        cv2.circle(state, click, radius, (cv2.GC_FGD,), -1)
    # Its colour clusters start at random places.
    cv2.setRNGSeed(0)
    models = np.zeros((2, 1, 65), np.float64)
    bgr = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2BGR)
    cv2.grabCut(bgr, state, None, models[0], models[1], ITERATIONS, cv2.GC_INIT_WITH_MASK)
    found: BoolArray = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    return PredictedMask(found)


def grabcut_or_box(image: Image, prompt: Prompts) -> PredictedMask:
    """GrabCut, and the filled box where its mask is empty: what a careful user would make of it."""
    found = grabcut(image, prompt)
    return found if found.mask.any() else filled_box(image, prompt)


BASELINES: dict[str, Callable[[Image, Prompts], PredictedMask]] = {
    "box": filled_box,
    "ellipse": inscribed_ellipse,
    "grabcut": grabcut,
    "grabcut-or-box": grabcut_or_box,
}


def _box(size: tuple[int, int], prompt: Prompts) -> Box:
    """The prompt's box in whole pixels inside the image; around its click where it has none."""
    assert len(prompt) == 1
    height, width = size
    if prompt.boxes is not None:
        x0, y0, x1, y1 = (float(side) for side in prompt.boxes[0])
    else:
        click = _click(prompt)
        if click is None:
            raise InputError("a baseline needs a box or a click on the object.")
        across, down = CLICK_SHARE * width / 2, CLICK_SHARE * height / 2
        x0, x1 = click[0] + 0.5 - across, click[0] + 0.5 + across
        y0, y1 = click[1] + 0.5 - down, click[1] + 0.5 + down
    left, top = min(max(0, int(np.floor(x0))), width - 1), min(max(0, int(np.floor(y0))), height - 1)
    right, bottom = min(max(left + 1, int(np.ceil(x1))), width), min(max(top + 1, int(np.ceil(y1))), height)
    return left, top, right, bottom


def _box_mask(size: tuple[int, int], box: Box) -> BoolArray:
    mask = np.zeros(size, np.bool_)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def _click(prompt: Prompts) -> tuple[int, int] | None:
    """The pixel of the first click on the object."""
    if prompt.points is None or prompt.labels is None:
        return None
    on_object = prompt.points[0][prompt.labels[0] == 1]
    return (int(on_object[0, 0]), int(on_object[0, 1])) if len(on_object) else None
