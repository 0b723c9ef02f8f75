"""Calibration of promises on known objects.

A model is asked for them as in an evaluation, and what its masks are worth is measured. What follows from
that holds for masks that are asked for in the same way, of images like those of the calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from maskwright.data.dataset import Dataset
from maskwright.errors import InputError, MaskwrightError
from maskwright.methods.asking import Asking
from maskwright.methods.evaluate import choose_objects, spread
from maskwright.methods.scores import Selection
from maskwright.methods.uncertainty.conformal import cover_margin, keep_threshold, lower_bound
from maskwright.methods.uncertainty.guarantees import KeepThreshold, LowerBound, Origin, Risk
from maskwright.methods.uncertainty.margins import CoverNeed, cover_need
from maskwright.methods.uncertainty.promises import Asked, Name, Promise
from maskwright.metrics.regions import iou
from maskwright.models.segmenter import Segmenter
from maskwright.models.uncertainty import QUALITY
from maskwright.types import Masks, Prompts, Sample


@dataclass(frozen=True, eq=False)
class KnownMasks:
    """Masks of known objects: what was expected of each, and how good it is.

    Args:
        quality, iou: n expected and true IoUs.
        needs: what each mask lacks to cover its object.
        groups: what each belongs to whose images are alike: the image, or its video.
        failures: images that could not be asked, and why.
    """

    quality: list[float] = field(default_factory=list)
    iou: list[float] = field(default_factory=list)
    needs: list[CoverNeed] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.iou)

    def losses(self, wrong_below: float | None) -> list[float]:
        """1 - IoU of each; or 1 for one below a limit, and 0 for the others."""
        if wrong_below is None:
            return [1 - value for value in self.iou]
        return [float(value < wrong_below) for value in self.iou]


def measure(
    segmenter: Segmenter,
    datasets: Mapping[str, Dataset],
    asked: Asked,
    selection: Selection,
    *,
    track: Callable[[Sequence[tuple[str, int]]], Iterable[tuple[str, int]]] = iter,
    on_failure: Callable[[str, MaskwrightError], None] = lambda item, error: None,
) -> KnownMasks:
    """Ask a model for known objects.

    Args:
        segmenter: with uncertainty heads.
        datasets: by name.
        asked: how.
        selection: which objects of each dataset.
        track: wraps datasets' names and images' indices, for a progress bar.
        on_failure: called with an image that cannot be used, and why; the others go on.

    Raises:
        InputError: the model has no heads, or there was no object to ask for.
    """
    if segmenter.heads is None:
        raise InputError(
            f"{segmenter.name} has no uncertainty heads, so nothing is expected of its masks: choose a model "
            "with heads, such as nano, or train some with `maskwright train heads`."
        )
    assert asked.prompt is not None
    known, asking = KnownMasks(), Asking(asked.prompt)
    items = [(name, index) for name, data in datasets.items() for index in spread(len(data), selection.limit)]
    for name, index in track(items):
        dataset = datasets[name]
        image = str(dataset.image_path(index))
        try:
            sample = dataset[index]
            objects = choose_objects(sample, index, selection)
            if objects:
                answers = _answers(segmenter, sample, objects, asking, asked)
                _add(known, f"{name} {dataset.group(index)}", sample, objects, answers)
        except MaskwrightError as error:
            known.failures.append((image, str(error)))
            on_failure(image, error)
    if not len(known):
        raise InputError(
            f"nothing was measured: {len(known.failures)} of {len(items)} images failed, and none of the "
            f"others has an object that covers {selection.min_area:.1%} to {selection.max_area:.0%} of it "
            "(see --min-area and --max-area)."
        )
    return known


def promise(
    known: KnownMasks, alpha: float, *, delta: float, wrong_below: float | None, origin: Origin
) -> tuple[dict[Name, Promise], dict[Name, str]]:
    """Make every promise that the masks allow.

    Args:
        known: the calibration.
        alpha: the risk.
        delta: share of calibrations that may fail, of the selective risk.
        wrong_below: a mask is lost if its IoU is below this; None: it loses 1 - IoU.
        origin: for the records.

    Returns:
        The promises, and of those that cannot be made the reasons.
    """
    losses = known.losses(wrong_below)
    loss = "1 - IoU" if wrong_below is None else f"IoU < {wrong_below:g}"

    def keep(risk: Risk) -> Promise:
        return keep_threshold(
            known.quality, losses, alpha, known.groups, risk=risk, delta=delta, loss_name=loss, origin=origin
        )

    ways: dict[Name, Callable[[], Promise]] = {
        "keep-marginal": lambda: keep("marginal"),
        "keep-selective": lambda: keep("selective"),
        "lower-bound": lambda: lower_bound(known.quality, known.iou, alpha, known.groups, origin=origin),
        "cover-object": lambda: cover_margin(known.needs, alpha, known.groups, origin=origin),
        "cover-pixels": lambda: cover_margin(known.needs, alpha, known.groups, cover="pixels", origin=origin),
    }
    made: dict[Name, Promise] = {}
    refused: dict[Name, str] = {}
    for name, way in ways.items():
        try:
            made[name] = way()
        except InputError as error:
            refused[name] = str(error)
    return made, refused


def check(made: Mapping[Name, Promise], known: KnownMasks, wrong_below: float | None) -> dict[Name, float]:
    """Measure every promise on other masks: a risk is to be at most α, a coverage at least 1 - α."""
    found: dict[Name, float] = {}
    for name, one in made.items():
        if isinstance(one, KeepThreshold):
            found[name] = one.measured(known.quality, known.losses(wrong_below), known.groups)
        elif isinstance(one, LowerBound):
            found[name] = one.measured(known.quality, known.iou, known.groups)
        else:
            found[name] = one.measured(known.needs, known.groups)
    return found


def _answers(
    segmenter: Segmenter, sample: Sample, objects: Sequence[int], asking: Asking, asked: Asked
) -> Masks:
    """What the model selects for each of some objects."""
    firsts = [asking.first(sample.masks[k]) for k in objects]
    prompts = Prompts(
        *(
            None if getattr(firsts[0], name) is None else torch.cat([getattr(one, name) for one in firsts])
            for name in ("points", "labels", "boxes")
        )
    )
    embedding = segmenter.embed(sample.image)
    masks = segmenter.decode(embedding, prompts, multimask=asked.multimask, hq=asked.hq, task=asked.task)
    return masks.best()


def _add(known: KnownMasks, group: str, sample: Sample, objects: Sequence[int], answers: Masks) -> None:
    for place, k in enumerate(objects):
        mask, truth = answers[place].binary()[0, 0], sample.masks[k]
        known.quality.append(float(answers.extras[QUALITY][place, 0]))
        known.iou.append(float(iou(mask, truth)))
        known.needs.append(cover_need(mask, truth))
        known.groups.append(group)
