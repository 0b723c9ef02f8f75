"""How well objects are found again: the measures of PerSeg, and those that count every image alike.

As PerSAM's release aggregates them, over the pixels of all test images of an object: IoU is the intersection
over the union, accuracy the intersection over the object; both are then averaged over objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from maskwright.data.one_shot import OneShot
from maskwright.errors import InputError, MaskwrightError
from maskwright.metrics.boundaries import boundary_iou
from maskwright.metrics.regions import iou
from maskwright.metrics.statistics import bootstrap_interval
from maskwright.types import BoolArray, Sample


class Finder(Protocol):
    """Anything that learns an object from some samples and finds it in a photo."""

    def learn(self, references: Sequence[Sample], name: str) -> Any:  # noqa: ANN401
        """What is remembered of the object; each sample holds one mask of it, or several parts."""

    def find(self, known: Any, sample: Sample) -> tuple[BoolArray, float]:  # noqa: ANN401
        """Its mask in a photo (of which the annotation is not looked at), and the score of that."""


@dataclass(frozen=True)
class ImageScore:
    """One test image."""

    image: str
    iou: float
    boundary_iou: float
    intersection: int
    union: int
    truth: int
    score: float


@dataclass(frozen=True)
class ObjectScore:
    """All test images of one object."""

    name: str
    images: tuple[ImageScore, ...]

    @property
    def iou(self) -> float:
        """Intersection over union of the pixels of all images."""
        union = sum(one.union for one in self.images)
        return sum(one.intersection for one in self.images) / union if union else 1.0

    @property
    def accuracy(self) -> float:
        """The share of the object's pixels, in all images, that were found."""
        truth = sum(one.truth for one in self.images)
        return sum(one.intersection for one in self.images) / truth if truth else 1.0


@dataclass(frozen=True)
class PersonalizeResult:
    """What one method reaches on one dataset."""

    objects: tuple[ObjectScore, ...]
    failures: tuple[tuple[str, str], ...] = field(default=())

    def summary(self) -> dict[str, Any]:
        """Means over objects (miou, macc), and over images with 95 % intervals (bootstrap over objects)."""
        images = [one for scored in self.objects for one in scored.images]
        values = {
            "miou_per_image": np.array([one.iou for one in images]),
            "boundary_iou": np.array([one.boundary_iou for one in images]),
        }
        groups = [scored.name for scored in self.objects for _ in scored.images]
        result: dict[str, Any] = {
            "miou": float(np.mean([scored.iou for scored in self.objects])),
            "macc": float(np.mean([scored.accuracy for scored in self.objects])),
            "objects": len(self.objects),
            "images": len(images),
        }
        for name, scores in values.items():
            result[name] = float(scores.mean())
            result[f"{name}_ci95"] = list(bootstrap_interval(scores, groups))
        result["per_object"] = {
            scored.name: {
                "iou": scored.iou,
                "accuracy": scored.accuracy,
                "images": [vars(one) for one in scored.images],
            }
            for scored in self.objects
        }
        return result


def evaluate_personalize(
    finder: Finder,
    tasks: Sequence[OneShot],
    *,
    track: Callable[[Sequence[tuple[OneShot, int]]], Iterable[tuple[OneShot, int]]] = iter,
    observe: Callable[[OneShot, Sample, BoolArray, ImageScore], None] = lambda *_: None,
    on_failure: Callable[[str, MaskwrightError], None] = lambda item, error: None,
) -> PersonalizeResult:
    """Learn each object from its references and look for it in its test photos.

    Args:
        finder: what is measured.
        tasks: the objects.
        track: wraps the pairs of task and test photo, for a progress bar.
        observe: called with every mask.
        on_failure: called with the name of an image that could not be used, and why; the run goes on.

    Raises:
        InputError: nothing at all could be measured.
    """
    known: dict[str, Any] = {}
    scores: dict[str, list[ImageScore]] = {}
    failures: list[tuple[str, str]] = []
    for task, index in track([(one, index) for one in tasks for index in one.tests]):
        try:
            if task.name not in known:
                references = [task.data[place] for place in task.references]
                known[task.name] = finder.learn(references, task.name)
            sample = task.data[index]
            mask, score = finder.find(known[task.name], sample)
        except MaskwrightError as error:
            name = str(task.data.image_path(index))
            failures.append((name, str(error)))
            on_failure(name, error)
            continue
        one = _score(str(task.data.image_path(index)), mask, whole(sample), score)
        scores.setdefault(task.name, []).append(one)
        observe(task, sample, mask, one)
    if not scores:
        raise InputError(f"nothing was measured: all {len(failures)} photos failed.")
    objects = tuple(ObjectScore(name, tuple(found)) for name, found in scores.items())
    return PersonalizeResult(objects, tuple(failures))


def whole(sample: Sample) -> BoolArray:
    """(H, W) bool: all of a sample's masks together."""
    return np.asarray(sample.masks.any(axis=0))


def _score(image: str, mask: BoolArray, truth: BoolArray, score: float) -> ImageScore:
    both, either = int((mask & truth).sum()), int((mask | truth).sum())
    values = float(iou(mask, truth)), float(boundary_iou(mask, truth))
    return ImageScore(image, *values, both, either, int(truth.sum()), score)
