"""What an evaluation gives: a score per mask, their means with intervals, and the same as JSON.

Axes: n masks, C clicks (the first prompt included), 2 metrics: IoU and boundary IoU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.methods.selection import Choice as Choice
from maskwright.methods.selection import ClickKind as ClickKind
from maskwright.methods.selection import PromptKind as PromptKind
from maskwright.methods.selection import Selection as Selection
from maskwright.metrics.statistics import percentile_interval, resampled_means

Interval = tuple[float, float]


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
class Step:
    """Mean scores after a number of prompts, with 95 % bootstrap intervals (images resampled).

    Of a `Difference` they are mean differences.
    """

    click: int
    miou: float
    miou_ci95: Interval
    boundary_iou: float
    boundary_iou_ci95: Interval


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """All scores of one dataset: `values` (n, 2, C), and the image of each mask."""

    values: npt.NDArray[np.float64]
    images: tuple[str, ...]


def curve(sets: Sequence[ScoreTable], seed: int = 0) -> tuple[Step, ...]:
    """The unweighted mean over datasets of their mean scores, after each click.

    Args:
        sets: at least one dataset, all with the same number of clicks. The images of each are resampled by
            themselves, and every resample's means are averaged.
        seed: of the resampling.
    """
    clicks = sets[0].values.shape[2]
    means = np.mean([table.values.mean(axis=0) for table in sets], axis=0)
    drawn = [
        # One set alone keeps the plain seed; several must not be drawn in step.
        resampled_means(
            table.values.reshape(-1, 2 * clicks), table.images, seed=(seed, place) if place else seed
        )
        for place, table in enumerate(sets)
    ]
    low, high = (end.reshape(2, clicks) for end in percentile_interval(np.mean(drawn, axis=0)))
    return tuple(
        Step(
            click=number + 1,
            miou=float(means[0, number]),
            miou_ci95=(float(low[0, number]), float(high[0, number])),
            boundary_iou=float(means[1, number]),
            boundary_iou_ci95=(float(low[1, number]), float(high[1, number])),
        )
        for number in range(clicks)
    )


class Measured:
    """What has a curve: figures after its last click stand for the whole."""

    curve: tuple[Step, ...]

    @property
    def miou(self) -> float:
        """Mean IoU after the last click."""
        return self.curve[-1].miou

    @property
    def boundary_iou(self) -> float:
        """Mean boundary IoU after the last click."""
        return self.curve[-1].boundary_iou

    @property
    def miou_interval(self) -> Interval:
        """95 % bootstrap interval of the mean IoU, images resampled."""
        return self.curve[-1].miou_ci95

    @property
    def boundary_iou_interval(self) -> Interval:
        """95 % bootstrap interval of the mean boundary IoU, images resampled."""
        return self.curve[-1].boundary_iou_ci95

    def by_click(self) -> list[dict[str, Any]]:
        """Mean scores with their intervals after each click."""
        return [asdict(step) for step in self.curve]

    def figures(self) -> dict[str, Any]:
        """The means after the last click and the whole curve, as JSON holds them."""
        return {
            "miou": self.miou,
            "miou_ci95": self.miou_interval,
            "boundary_iou": self.boundary_iou,
            "boundary_iou_ci95": self.boundary_iou_interval,
            "by_click": self.by_click(),
        }


@dataclass(frozen=True)
class PromptedResult(Measured):
    """The outcome of `evaluate_prompted` for one predictor on one dataset.

    Args:
        name: the predictor's.
        is_model: False for a baseline.
        settings: the predictor's.
        data: what was evaluated on.
        prompt: what was asked with first.
        counts: after how many prompts figures were asked for, the first prompt included.
        click: where the clicks went.
        choice: whether the predictor chose among its masks, or the truth did.
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
    counts: tuple[int, ...]
    click: ClickKind
    choice: Choice
    selection: Selection
    scores: tuple[MaskScore, ...]
    images: int
    timing: Timing
    failures: tuple[tuple[str, str], ...]

    @property
    def clicks(self) -> int:
        """How many prompts each object got, the first included."""
        return self.counts[-1]

    def table(self) -> ScoreTable:
        """The scores as an array."""
        values = [(score.iou_by_click, score.boundary_iou_by_click) for score in self.scores]
        return ScoreTable(np.array(values, np.float64), tuple(score.image for score in self.scores))

    @property
    def miou(self) -> float:
        """Mean IoU after the last click, without the intervals' work: training asks for it often."""
        return float(self.table().values.mean(axis=0)[0, -1])

    @property
    def boundary_iou(self) -> float:
        """Mean boundary IoU after the last click."""
        return float(self.table().values.mean(axis=0)[1, -1])

    @cached_property
    def curve(self) -> tuple[Step, ...]:  # type: ignore[override]
        """Mean scores after each click."""
        return curve([self.table()], self.selection.seed)

    def to_json(self) -> dict[str, Any]:
        """What `--json` holds for one predictor on one dataset."""
        content: dict[str, Any] = {
            "model" if self.is_model else "baseline": self.name,
            **self.settings,
            "data": self.data,
            "prompt": self.prompt,
            "clicks": self.clicks,
            "click_counts": self.counts,
            "click": self.click,
            "choice": self.choice,
            "n": len(self.scores),
            "images": self.images,
            **self.figures(),
            "seconds_per_image": self.timing.per_image,
            "seconds_prepare": self.timing.prepare,
            "seconds_prompt": self.timing.prompt,
        }
        return content | asdict(self.selection) | {"per_mask": [asdict(score) for score in self.scores]}
