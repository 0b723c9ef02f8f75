"""Scoring tracked videos as DAVIS does: J and F of each object in each scored frame, then over frames.

An object is scored in the annotated frames after the one that gave it, but not in the video's last frame
(DAVIS's rule for trackers that are given the first mask). Means over a set are over its objects, as in DAVIS
2017; in DAVIS 2016 each video has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from maskwright.data.sequences import Video, objects
from maskwright.errors import DatasetError
from maskwright.io.masks import LabelMap
from maskwright.methods.video.follow import result_path
from maskwright.methods.video.tracker import split
from maskwright.metrics.regions import iou
from maskwright.metrics.video import OverFrames, contour_f, over_frames

_SHOWN = 3


@dataclass(frozen=True)
class ObjectScores:
    """How well one object was followed.

    Args:
        video: name of the video.
        number: of the object.
        frames: names of the scored frames.
        region, contour: J and F in each of them.
    """

    video: str
    number: int
    frames: tuple[str, ...]
    region: tuple[float, ...]
    contour: tuple[float, ...]

    @cached_property
    def j(self) -> OverFrames:
        """J over the frames."""
        return over_frames(self.region)

    @cached_property
    def f(self) -> OverFrames:
        """F over the frames."""
        return over_frames(self.contour)


@dataclass(frozen=True)
class Summary:
    """Means over objects: J&F is the mean of J's and F's means."""

    j_mean: float
    j_recall: float
    j_decay: float
    f_mean: float
    f_recall: float
    f_decay: float

    @classmethod
    def of(cls, scores: Iterable[ObjectScores]) -> Summary:
        """The plain mean over at least one object."""
        rows = [[*asdict(score.j).values(), *asdict(score.f).values()] for score in scores]
        return cls(*(float(value) for value in np.mean(rows, axis=0)))

    @property
    def jf_mean(self) -> float:
        """J&F."""
        return (self.j_mean + self.f_mean) / 2

    def to_json(self) -> dict[str, float]:
        """Its figures by name, J&F first."""
        return {"jf_mean": self.jf_mean, **asdict(self)}


@dataclass(frozen=True)
class VideoResult:
    """All objects of a set of videos.

    Args:
        scores: at least one.
    """

    scores: Sequence[ObjectScores]

    @cached_property
    def summary(self) -> Summary:
        """Over all objects."""
        return Summary.of(self.scores)

    @cached_property
    def videos(self) -> Mapping[str, Sequence[ObjectScores]]:
        """The objects of each video."""
        found: dict[str, list[ObjectScores]] = {}
        for score in self.scores:
            found.setdefault(score.video, []).append(score)
        return found

    def to_json(self) -> dict[str, Any]:
        """Figures of the set, of each video and of each object, and the scores of every frame."""
        videos = {
            name: {
                **Summary.of(scores).to_json(),
                "objects": {
                    score.number: {
                        **Summary.of([score]).to_json(),
                        "frames": score.frames,
                        "j": score.region,
                        "f": score.contour,
                    }
                    for score in scores
                },
            }
            for name, scores in self.videos.items()
        }
        return {**self.summary.to_json(), "n": len(self.scores), "sequences": videos}


def score_video(video: Video, results: Path) -> list[ObjectScores]:
    """Score the label maps of a video against its annotations.

    Args:
        video: with annotations.
        results: folder of its label maps, named as its frames.

    Returns:
        One an object; none when no annotated frame is left to score.

    Raises:
        DatasetError: label maps are missing, have another size, or an object that the video does not have.
        FileError: a file cannot be read.
    """
    rows: dict[int, list[tuple[str, float, float]]] = {}
    last = len(video) - 1
    _refuse_missing(video, results, [n for n in sorted(video.annotations)[1:] if n != last])
    known: list[int] = []
    for number in sorted(video.annotations):
        truth = video.labels(number)
        if known and number != last:
            found = _read_result(video, number, results, truth, known)
            ours, theirs = split(found, known), split(truth, known)
            for row in zip(known, iou(ours, theirs), contour_f(ours, theirs), strict=True):
                rows.setdefault(row[0], []).append((video.frames[number].stem, float(row[1]), float(row[2])))
        known += [new for new in objects(truth) if new not in known]
    return [ObjectScores(video.name, number, *zip(*rows[number], strict=True)) for number in sorted(rows)]


def _read_result(video: Video, number: int, results: Path, truth: LabelMap, known: Sequence[int]) -> LabelMap:
    path = result_path(results, video, number)
    labels = video.read_labels(path)
    if labels.shape != truth.shape:
        sizes = f"{labels.shape[1]}×{labels.shape[0]}, but its frame {truth.shape[1]}×{truth.shape[0]}"
        raise DatasetError(f"{path} is {sizes}.")
    allowed = {*known, *objects(truth)}
    unknown = [label for label in objects(labels) if label not in allowed]
    if unknown:
        raise DatasetError(
            f"{path} has the label {unknown[0]}, but the objects of {video.name} are "
            f"{', '.join(map(str, sorted(allowed)))}; save label maps with the annotations' numbers."
        )
    return labels


def _refuse_missing(video: Video, results: Path, numbers: Sequence[int]) -> None:
    missing = [path.name for n in numbers if not (path := result_path(results, video, n)).is_file()]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise DatasetError(
            f"{results} lacks {', '.join(missing[:_SHOWN])}{more} of {len(numbers)} frames to score."
        )
