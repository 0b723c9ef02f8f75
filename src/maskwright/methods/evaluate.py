"""Prompted evaluation: how good the masks are that a box or clicks on known objects give.

The protocol, the same for models and baselines: from every image of a dataset at most `per_image` objects
are drawn among those that cover between `min_area` and `max_area` of it. Each is asked for with the tight
box of its true mask, or with one click at its centre (the pixel farthest from its outline). With `clicks`
above 1 the predictor is then corrected: a further click at the centre of the largest connected error, its
previous logits fed back (SAM, appendix A). Scores are means over objects; their intervals come from
resampling images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from maskwright.data.prompts import center_point, corrective_point, tight_box
from maskwright.errors import ConfigError, InputError, MaskwrightError
from maskwright.methods.prediction import PredictedMask, Predictor
from maskwright.methods.scores import MaskScore, PromptedResult, PromptKind, Selection, Timing
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
    clicks: int = 1,
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
        clicks: how many prompts an object gets, the first included; above 1 they are corrections.
        selection: which objects.
        data_name: what the result calls the dataset.
        track: wraps the images' indices, for a progress bar.
        observe: called with every mask.
        on_failure: called with the name of an image that could not be evaluated, and why.

    Raises:
        ConfigError: for corrections with a predictor that does not understand them.
        MaskwrightError: any that the predictor raises for its very first prompt.
        InputError: when no object at all could be evaluated.
    """
    selection = selection or Selection()
    if clicks < 1 or (clicks > 1 and not predictor.takes_corrections):
        raise ConfigError(
            f"{predictor.name} takes one prompt an object; evaluate it with 1 click, not {clicks}."
        )
    run = _Run(predictor, prompt, clicks, observe)
    failures: list[tuple[str, str]] = []
    chosen = _spread(len(dataset), selection.limit)
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
        clicks=clicks,
        selection=selection,
        scores=tuple(run.scores),
        images=len(run.prepare_seconds),
        timing=Timing(float(np.mean(run.prepare_seconds)), float(np.mean(run.prompt_seconds))),
        failures=tuple(failures),
    )


def choose_objects(sample: Sample, index: int, selection: Selection) -> list[int]:
    """Which of a sample's masks are asked for, in their order; `index` is its place in the dataset."""
    shares = sample.masks.reshape(len(sample.ids), -1).mean(axis=1) if sample.ids else np.zeros(0)
    fit = np.flatnonzero((shares >= selection.min_area) & (shares <= selection.max_area))
    rng = np.random.default_rng((selection.seed, index))
    return sorted(int(k) for k in rng.permutation(fit)[: selection.per_image])


class _WarmUpError(Exception):
    """Carries the reason out of the first call of a predictor."""

    def __init__(self, reason: MaskwrightError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Run:
    """Scores and timings gathered image by image."""

    def __init__(
        self, predictor: Predictor, prompt: PromptKind, clicks: int, observe: Callable[[Observation], None]
    ) -> None:
        self.predictor = predictor
        self.prompt = prompt
        self.clicks = clicks
        self.observe = observe
        self.warm = False
        self.scores: list[MaskScore] = []
        self.prepare_seconds: list[float] = []
        self.prompt_seconds: list[float] = []

    def add(self, sample: Sample, objects: Sequence[int]) -> None:
        """Evaluate some objects of one image, at least one."""
        prompts = [first_prompt(sample.masks[k], self.prompt) for k in objects]
        if not self.warm:
            self._warm_up(sample.image, prompts[0])
        start = time.perf_counter()
        prepared = self.predictor.prepare(sample.image)
        prepare_seconds = time.perf_counter() - start
        observations, prompt_seconds = [], []
        for k, prompt in zip(objects, prompts, strict=True):
            start = time.perf_counter()
            predicted = self.predictor.predict(prepared, prompt)
            prompt_seconds.append(time.perf_counter() - start)
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
            self.predictor.predict(self.predictor.prepare(image), prompt)
        except MaskwrightError as error:
            raise _WarmUpError(error) from error
        self.warm = True

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
        for _ in range(self.clicks - 1):
            corrected = corrected_prompt(prompt, predicted, truth)
            if corrected is not prompt:
                prompt = corrected
                predicted = self.predictor.predict(prepared, prompt)
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


def first_prompt(truth: BoolArray, kind: PromptKind) -> Prompts:
    """The tight box of a mask, or one click at its centre."""
    if kind == "box":
        return Prompts(boxes=torch.from_numpy(tight_box(truth))[None])
    click = torch.from_numpy(center_point(truth))[None, None]
    return Prompts(points=click, labels=torch.ones(1, 1, dtype=torch.long))


def corrected_prompt(prompt: Prompts, predicted: PredictedMask, truth: BoolArray) -> Prompts:
    """The prompt with one more click, at the centre of the largest error, and the previous logits.

    Where the mask is already right, the prompt is returned as it is.
    """
    correction = corrective_point(truth, predicted.mask)
    if correction is None:
        return prompt
    assert predicted.low_res is not None, "a predictor that takes corrections gives logits"
    points, labels = torch.from_numpy(correction[0])[None, None], torch.tensor([[correction[1]]])
    if prompt.points is not None and prompt.labels is not None:
        points, labels = torch.cat([prompt.points, points], 1), torch.cat([prompt.labels, labels], 1)
    return Prompts(points, labels, prompt.boxes, predicted.low_res[None].float().cpu())


def _spread(count: int, limit: int | None) -> list[int]:
    """All indices, or `limit` of them spread evenly."""
    kept = count if limit is None else min(limit, count)
    return [position * count // kept for position in range(kept)]


def _name(dataset: Sequence[Sample], index: int) -> str:
    path = getattr(dataset, "image_path", None)
    return f"item {index}" if path is None else str(path(index))
