"""Prompted evaluation: how good the masks are that a box or clicks on known objects give.

The protocol, the same for models and baselines: from every image of a dataset at most `per_image` objects
are drawn among those that cover between `min_area` and `max_area` of it. Each is asked for with the tight
box of its true mask, or with one click at its centre (the pixel farthest from its outline). With `clicks`
above 1 the predictor is then corrected: a further click at the centre of the largest connected error, its
previous logits fed back (SAM, appendix A). Every object goes through one such sequence, and every count of
clicks is scored on the way. Scores are means over objects; their intervals come from resampling images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskwright.errors import ConfigError, InputError, MaskwrightError
from maskwright.methods.asking import Asking, box_rule, closest
from maskwright.methods.prediction import CandidatePredictor, PredictedMask, Predictor
from maskwright.methods.scores import (
    Choice,
    ClickKind,
    MaskScore,
    PromptedResult,
    PromptKind,
    Selection,
    Timing,
)
from maskwright.metrics.boundaries import boundary_iou
from maskwright.metrics.regions import iou
from maskwright.types import BoolArray, Image, Prompts, Sample


@dataclass(frozen=True, eq=False)
class Observation:
    """One mask as it was evaluated, for whoever wants to show it."""

    image: Image
    truth: BoolArray
    prompt: Prompts
    predicted: PredictedMask
    score: MaskScore


def evaluate_prompted(
    predictor: Predictor,
    dataset: Sequence[Sample],
    *,
    prompt: PromptKind = "box",
    clicks: int | Sequence[int] = 1,
    click: ClickKind = "center",
    choice: Choice = "single",
    selection: Selection | None = None,
    data_name: str = "dataset",
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
    observe: Callable[[Observation], None] = lambda observation: None,
    on_failure: Callable[[str, MaskwrightError], None] = lambda item, error: None,
) -> PromptedResult:
    """Evaluate a model or a baseline on a dataset; see the top of this file for the protocol.

    Args:
        predictor: `ModelPredictor`, or a baseline.
        dataset: samples; one that cannot be read is noted under `failures` and the run goes on.
        prompt: what each object is asked for with.
        clicks: how many prompts an object gets, the first included; above 1 they are corrections. Several
            counts, such as (1, 3, 5), are points of one sequence of clicks.
        click: where clicks go; see `Asking`.
        choice: whose choice a mask is, the predictor's or the truth's; see `Asking`.
        selection: which objects.
        data_name: what the result calls the dataset.
        track: wraps the images' indices, for a progress bar.
        observe: called with every mask.
        on_failure: called with the name of an image that could not be evaluated, and why.

    Raises:
        ConfigError: for corrections with a predictor that does not understand them, the best of several masks
            with one that gives only one, or counts that do not rise.
        MaskwrightError: any that the predictor raises for its very first prompt.
        InputError: when no object at all could be evaluated.
    """
    selection = selection or Selection()
    counts = (clicks,) if isinstance(clicks, int) else tuple(clicks)
    asking = Asking(prompt, counts, click, choice, box_rule(predictor))
    _check(predictor, asking)
    run = _Run(predictor, asking, observe)
    failures: list[tuple[str, str]] = []
    chosen = spread(len(dataset), selection.limit)
    for index in track(chosen):
        try:
            sample = dataset[index]
            objects = choose_objects(sample, index, selection)
            if objects:
                run.add(sample, objects)
        except _WarmUpError as error:
            # The first prompt on a sound image: what fails there, such as a setting the model does not
            # have, fails on all of them.
            raise error.reason from None
        except MaskwrightError as error:
            name = _name(dataset, index)
            failures.append((name, str(error)))
            on_failure(name, error)
    if not run.scores:
        raise InputError(
            f"nothing was evaluated: {len(failures)} of {len(chosen)} images failed and none of the others "
            f"has an object that covers {selection.min_area:.1%} to {selection.max_area:.0%} of it "
            "(see --min-area and --max-area)."
        )
    return PromptedResult(
        name=predictor.name,
        is_model=predictor.is_model,
        settings=predictor.settings,
        data=data_name,
        prompt=prompt,
        counts=counts,
        click=click,
        choice=choice,
        selection=selection,
        scores=tuple(run.scores),
        images=len(run.prepare_seconds),
        timing=Timing(float(np.mean(run.prepare_seconds)), float(np.mean(run.prompt_seconds))),
        failures=tuple(failures),
    )


def choose_objects(sample: Sample, index: int, selection: Selection) -> list[int]:
    """Which of a sample's masks are asked for, in their order; `index` is its place in the dataset."""
    shares = sample.masks.reshape(len(sample.ids), -1).mean(axis=1) if sample.ids else np.zeros(0)
    # What has no pixel cannot be asked for, whatever the smallest share.
    fit = np.flatnonzero((shares > 0) & (shares >= selection.min_area) & (shares <= selection.max_area))
    rng = np.random.default_rng((selection.seed, index))
    return sorted(int(k) for k in rng.permutation(fit)[: selection.per_image])


def _check(predictor: Predictor, asking: Asking) -> None:
    if asking.clicks > 1 and not predictor.takes_corrections:
        raise ConfigError(
            f"{predictor.name} takes one prompt an object; evaluate it with 1 click, not {asking.clicks}."
        )
    if asking.choice == "oracle" and not isinstance(predictor, CandidatePredictor):
        raise ConfigError(f"{predictor.name} gives one mask a prompt: there is no best of several.")


class _WarmUpError(Exception):
    """Carries the reason out of the first call of a predictor."""

    def __init__(self, reason: MaskwrightError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Run:
    """Scores and timings gathered image by image."""

    def __init__(self, predictor: Predictor, asking: Asking, observe: Callable[[Observation], None]) -> None:
        self.predictor = predictor
        self.asking = asking
        self.observe = observe
        self.warm = False
        self.scores: list[MaskScore] = []
        self.prepare_seconds: list[float] = []
        self.prompt_seconds: list[float] = []

    def add(self, sample: Sample, objects: Sequence[int]) -> None:
        """Evaluate some objects of one image, at least one."""
        prompts = [self.asking.first(sample.masks[k]) for k in objects]
        if not self.warm:
            self._warm_up(sample.image, prompts[0])
        start = time.perf_counter()
        prepared = self.predictor.prepare(sample.image)
        prepare_seconds = time.perf_counter() - start
        observations, prompt_seconds = [], []
        for k, prompt in zip(objects, prompts, strict=True):
            start = time.perf_counter()
            answers = self._ask(prepared, prompt)
            prompt_seconds.append(time.perf_counter() - start)
            predicted = closest(answers, sample.masks[k])
            observations.append(self._correct(sample, k, prepared, prompt, predicted))
        # Only now, so that an image that fails half-way leaves nothing behind.
        self.prepare_seconds.append(prepare_seconds)
        self.prompt_seconds += prompt_seconds
        self.scores += [observation.score for observation in observations]
        for observation in observations:
            self.observe(observation)

    def _warm_up(self, image: Image, prompt: Prompts) -> None:
        """Ask once without counting it: the first call of a model allocates and compiles."""
        try:
            self._ask(self.predictor.prepare(image), prompt)
        except MaskwrightError as error:
            raise _WarmUpError(error) from error
        self.warm = True

    def _ask(self, prepared: Any, prompt: Prompts) -> list[PredictedMask]:  # noqa: ANN401
        """The one answer, or all of those among which the truth chooses."""
        if self.asking.choice == "oracle":
            assert isinstance(self.predictor, CandidatePredictor)
            return self.predictor.candidates(prepared, prompt)
        return [self.predictor.predict(prepared, prompt)]

    def _correct(
        self,
        sample: Sample,
        k: int,
        prepared: Any,  # noqa: ANN401
        prompt: Prompts,
        predicted: PredictedMask,
    ) -> Observation:
        """Score a first mask, then each correction of it."""
        truth = sample.masks[k]
        ious = [float(iou(predicted.mask, truth))]
        bands = [float(boundary_iou(predicted.mask, truth))]
        for _ in range(self.asking.clicks - 1):
            corrected = self.asking.corrected(prompt, predicted, truth)
            if corrected is not prompt:
                prompt = corrected
                predicted = closest(self._ask(prepared, prompt), truth)
            ious.append(float(iou(predicted.mask, truth)))
            bands.append(float(boundary_iou(predicted.mask, truth)))
        score = MaskScore(
            image=sample.image.source,
            segment=sample.ids[k],
            iou=ious[-1],
            boundary_iou=bands[-1],
            predicted_iou=predicted.iou,
            iou_by_click=tuple(ious),
            boundary_iou_by_click=tuple(bands),
        )
        return Observation(sample.image, truth, prompt, predicted, score)


def spread(count: int, limit: int | None) -> list[int]:
    """The indices of `count` images, or at most `limit` of them, spread evenly."""
    kept = count if limit is None else min(limit, count)
    return [position * count // kept for position in range(kept)]


def _name(dataset: Sequence[Sample], index: int) -> str:
    path = getattr(dataset, "image_path", None)
    return f"item {index}" if path is None else str(path(index))
