"""The demo's one-shot scene: an object shown in one photo is found in another."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskwright.methods.personalize.find import Found, find
from maskwright.methods.personalize.learn import learn
from maskwright.methods.personalize.reference import Reference
from maskwright.models.prompts import make_prompts
from maskwright.models.segmenter import Segmenter
from maskwright.report.demo import SIDE, Picture
from maskwright.report.demo_photos import MOTORCYCLE, DemoPhoto, read_photo
from maskwright.report.overlay import draw
from maskwright.types import Geometry, Image

TEST = "motorcycle_right.png"


@dataclass(frozen=True, eq=False)
class OneShotScene:
    """What came of it.

    Args:
        thing: what was looked for.
        threshold: similarity below which it is absent.
        similarity: of what was found, or None.
        quality: its expected IoU as the model's uncertainty heads tell it, or None.
        learn_milliseconds, find_milliseconds: encoding included.
        pictures: the reference, and what was found.
    """

    thing: str
    threshold: float
    similarity: float | None
    quality: float | None
    learn_milliseconds: float
    find_milliseconds: float
    pictures: tuple[Picture, ...]

    def to_json(self) -> dict[str, Any]:
        """For report.json, without the pictures."""
        return {
            "thing": self.thing,
            "reference": MOTORCYCLE.file,
            "test": TEST,
            "threshold": round(self.threshold, 4),
            "similarity": None if self.similarity is None else round(self.similarity, 4),
            **({} if self.quality is None else {"quality": round(self.quality, 4)}),
            "learn_ms": round(self.learn_milliseconds, 1),
            "find_ms": round(self.find_milliseconds, 1),
        }


def run_one_shot(segmenter: Segmenter) -> OneShotScene:
    """Show the motorcycle in the left photo, with a box, and look for it in the right one.

    Raises:
        FileError: a photo cannot be read.
    """
    photo = MOTORCYCLE
    start = time.perf_counter()
    reference = _reference(segmenter, photo)
    target = learn(segmenter, [reference], name=photo.thing)
    learned = time.perf_counter()
    image = read_photo(TEST, TEST)
    found = find(segmenter, image, [target])
    end = time.perf_counter()
    return OneShotScene(
        photo.thing,
        target.threshold,
        found[0].similarity if found else None,
        _quality(found),
        (learned - start) * 1000,
        (end - learned) * 1000,
        (
            Picture(draw(reference.image, reference.mask, max_side=SIDE), "Shown once, with a box"),
            _shown(image, found),
        ),
    )


def _reference(segmenter: Segmenter, photo: DemoPhoto) -> Reference:
    image, model = photo.read(), segmenter.model
    geometry = Geometry(image.size, model.image_size, model.resize)
    return Reference.from_prompts(segmenter, image, make_prompts(geometry, model.low_res, boxes=[photo.box]))


def _quality(found: list[Found]) -> float | None:
    told = found[0].masks.quality if found else None
    return None if told is None else float(told[0, 0])


def _shown(image: Image, found: list[Found]) -> Picture:
    masks = np.stack([one.mask for one in found]) if found else np.zeros((0, *image.size), np.bool_)
    points = found[0].points if found else None
    labels = found[0].labels if found else None
    caption = f"Found: similarity {found[0].similarity:.2f}" if found else "Not there"
    quality = _quality(found)
    if quality is not None:
        caption += f", quality {quality:.2f}"
    return Picture(draw(image, masks, points=points, labels=labels, max_side=SIDE), caption)
