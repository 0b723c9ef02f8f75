"""What an evaluation gives: a score per mask, their means with intervals, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from maskwright.metrics.statistics import bootstrap_interval

PromptKind = Literal["box", "point"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Selection:
    """Which objects of a dataset are asked for.

    Args:
        min_area: smallest share of the image an object may cover.
        max_area: largest share.
        per_image: at most this many objects of one image, drawn at random.
        seed: of that draw; an image's draw depends on nothing but the seed and its place in the dataset.
        limit: at most this many images, spread evenly over the dataset; None takes all.
    """

    min_area: float = 0.005
    max_area: float = 0.6
    per_image: int = 2
    seed: int = 0
    limit: int | None = None


@dataclass(frozen=True)
class MaskScore:
    """How good one mask is.

    Args:
        image: file of the photo.
        segment: the object's id in the dataset.
        iou, boundary_iou: after the last click.
        predicted_iou: the predictor's own estimate, or None.
        iou_by_click: after each click, the first being the box or first click.
        boundary_iou_by_click: likewise.
    """

    image: str
    segment: int
    iou: float
    boundary_iou: float
    predicted_iou: float | None
    iou_by_click: tuple[float, ...]
    boundary_iou_by_click: tuple[float, ...]


@dataclass(frozen=True)
class Timing:
    """Wall time in seconds, the first image (a warm-up) done twice and counted once.

    Args:
        prepare: mean per image (encoding).
        prompt: mean per first prompt, up to the binary mask at the image's size.
    """

    prepare: float
    prompt: float

    @property
    def per_image(self) -> float:
        """An image and one prompt."""
        return self.prepare + self.prompt


@dataclass(frozen=True)
class PromptedResult:
    """The outcome of `evaluate_prompted` for one predictor on one dataset.

    Args:
        name: the predictor's.
        is_model: False for a baseline.
        settings: the predictor's.
        data: what was evaluated on.
        prompt: what was asked with first.
        clicks: how many prompts each object got, the first included.
        selection: which objects were asked for.
        scores: one per mask.
        images: how many images had an object to ask for.
        timing: how long it took.
        failures: (file, reason) of images that could not be evaluated.
    """

    name: str
    is_model: bool
    settings: dict[str, Any]
    data: str
    prompt: PromptKind
    clicks: int
    selection: Selection
    scores: tuple[MaskScore, ...]
    images: int
    timing: Timing
    failures: tuple[tuple[str, str], ...]

    @property
    def miou(self) -> float:
        """Mean IoU over masks."""
        return _mean(score.iou for score in self.scores)

    @property
    def boundary_iou(self) -> float:
        """Mean boundary IoU over masks."""
        return _mean(score.boundary_iou for score in self.scores)

    @property
    def miou_interval(self) -> Interval:
        """95 % bootstrap interval of the mean IoU, images resampled."""
        return self._interval([score.iou for score in self.scores])

    @property
    def boundary_iou_interval(self) -> Interval:
        """95 % bootstrap interval of the mean boundary IoU, images resampled."""
        return self._interval([score.boundary_iou for score in self.scores])

    def to_json(self) -> dict[str, Any]:
        """What `--json` holds for one predictor on one dataset."""
        content: dict[str, Any] = {
            "model" if self.is_model else "baseline": self.name,
            **self.settings,
            "data": self.data,
            "prompt": self.prompt,
            "clicks": self.clicks,
            "n": len(self.scores),
            "images": self.images,
            "miou": self.miou,
            "miou_ci95": self.miou_interval,
            "boundary_iou": self.boundary_iou,
            "boundary_iou_ci95": self.boundary_iou_interval,
            "seconds_per_image": self.timing.per_image,
            "seconds_prepare": self.timing.prepare,
            "seconds_prompt": self.timing.prompt,
            "by_click": self.by_click(),
        }
        return content | asdict(self.selection) | {"per_mask": [asdict(score) for score in self.scores]}

    def by_click(self) -> list[dict[str, float]]:
        """Mean scores after each click."""
        ious = np.mean([score.iou_by_click for score in self.scores], axis=0)
        boundaries = np.mean([score.boundary_iou_by_click for score in self.scores], axis=0)
        return [
            {"click": number, "miou": float(one), "boundary_iou": float(other)}
            for number, (one, other) in enumerate(zip(ious, boundaries, strict=True), 1)
        ]

    def _interval(self, values: Sequence[float]) -> Interval:
        return bootstrap_interval(values, [score.image for score in self.scores], seed=self.selection.seed)


@dataclass(frozen=True)
class Difference:
    """How much better one predictor is than another on the objects both were asked for.

    Args:
        name, other: the two predictors.
        data, prompt: what both were measured on.
        n: objects both were asked for.
        miou, boundary_iou: mean differences, positive where `name` is better.
        miou_ci95, boundary_iou_ci95: 95 % bootstrap intervals of these, images resampled.
    """

    name: str
    other: str
    data: str
    prompt: PromptKind
    n: int
    miou: float
    miou_ci95: Interval
    boundary_iou: float
    boundary_iou_ci95: Interval


def differences(results: Sequence[PromptedResult]) -> list[Difference]:
    """Compare the first predictor with each other one measured on the same data with the same prompt."""
    firsts: dict[tuple[str, PromptKind], PromptedResult] = {}
    found = []
    for result in results:
        first = firsts.setdefault((result.data, result.prompt), result)
        if first is not result:
            found.append(_difference(first, result))
    return [difference for difference in found if difference is not None]


def _difference(one: PromptedResult, other: PromptedResult) -> Difference | None:
    """Compare mask by mask, which tells far more than two means with their intervals do."""
    theirs = {(score.image, score.segment): score for score in other.scores}
    pairs = [
        (score, theirs[score.image, score.segment])
        for score in one.scores
        if (score.image, score.segment) in theirs
    ]
    if not pairs:
        return None
    images = [score.image for score, _ in pairs]
    ious = [ours.iou - others.iou for ours, others in pairs]
    bands = [ours.boundary_iou - others.boundary_iou for ours, others in pairs]
    return Difference(
        name=one.name,
        other=other.name,
        data=one.data,
        prompt=one.prompt,
        n=len(pairs),
        miou=_mean(ious),
        miou_ci95=bootstrap_interval(ious, images, seed=one.selection.seed),
        boundary_iou=_mean(bands),
        boundary_iou_ci95=bootstrap_interval(bands, images, seed=one.selection.seed),
    )


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
