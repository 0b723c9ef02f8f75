"""PerSAM and PerSAM-F as trackers: they know an object's looks from its first frame, its place from the last.

Zhang et al., "Personalize Segment Anything Model with One Shot", 2023, section 4.3, and its video scripts,
from which this differs where measurement or sense demand it:

- Besides the previous mask's centre, the most similar pixel is clicked in that mask only. Anywhere in the
  frame, as released, it is often on something else: with nano on seven sequences of DAVIS 2016, J&F is 61.2
  so and 70.0 in the mask (65.3 with the centre alone).
- Of the masks of a pass that with the highest predicted IoU is taken, not one by its area.
- An object that is out of sight is looked for in the whole frame as in a single image, by its looks alone,
  and is absent below its threshold. Numbers stay with their objects meanwhile.

Axes: K objects, N of them in sight, H W size of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch

from maskwright.data.prompts import center_point
from maskwright.methods.personalize.cascade import plain_start, refine, scaled_start
from maskwright.methods.personalize.config import MethodName, PersonalizeSettings
from maskwright.methods.personalize.features import FeatureMap, own_features
from maskwright.methods.personalize.find import find, likeness
from maskwright.methods.personalize.learn import learn
from maskwright.methods.personalize.prior import locate
from maskwright.methods.personalize.reference import Reference
from maskwright.methods.personalize.target import Target
from maskwright.methods.video.simple import widened_box
from maskwright.models.prompts import make_prompts
from maskwright.models.registry import load
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, Embedding, FloatArray, Image, Masks, Prompts

ABSENT = np.float32(-10)
"""Logit of objects that are not in a frame."""
STAYS = 0.7
"""Of an object that was in sight, what is less similar than this share of its threshold is something else.

With nano on DAVIS 2016, about a third of what is followed into other videos is noticed so, and no true mask
is lost (at 0.85: half, and one in forty)."""


class PerSAM:
    """A model of any family, asked for each object with its previous mask and with what it looks like.

    Args:
        segmenter: the model.
    """

    method: ClassVar[MethodName] = "persam"

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.signature = f"{self.method} {segmenter.signature}"

    @classmethod
    def from_model(cls, model: str, **how: Any) -> Self:  # noqa: ANN401
        """With a model of any family; arguments and errors as for `models.registry.load`."""
        return cls(load(model, heads=None, **how))

    def start(self, image: Image, masks: BoolArray) -> _Learned:
        """Learn the K objects of an image, all from one encoding of it."""
        embedding = self.segmenter.embed(image)
        settings = PersonalizeSettings(method=self.method)
        targets = [
            learn(self.segmenter, [Reference(image, mask)], settings, embeddings=[embedding])
            for mask in masks
        ]
        return _Learned(self.segmenter, targets)


class PerSAMF(PerSAM):
    """PerSAM-F: the first pass's mask is the sum of the model's scales, weighted as fits the first frame."""

    method = "persam-f"


class _Learned:
    """Objects by their looks; all that is kept of a frame is the masks, which come back with the next."""

    def __init__(self, segmenter: Segmenter, targets: Sequence[Target]) -> None:
        self.segmenter = segmenter
        self.targets = targets

    def step(self, image: Image, previous: BoolArray) -> FloatArray:
        """Follow the objects that were in sight, together, and look for the others beside them."""
        embedding = self.segmenter.embed(image)
        logits = np.full(previous.shape, ABSENT)
        there = [number for number, mask in enumerate(previous) if mask.any()]
        if there:
            logits[there] = self._follow(embedding, there, previous[there])
        lost = [number for number, found in enumerate(logits) if not (found > 0).any()]
        if lost:
            self._search(embedding, lost, logits)
        return logits

    def _follow(self, embedding: Embedding, numbers: Sequence[int], previous: BoolArray) -> FloatArray:
        """(N, H, W) logits of some objects, from their previous masks; absent where something else is."""
        targets = [self.targets[number] for number in numbers]
        seen = own_features(embedding)
        prompts = _prompts(self.segmenter, embedding, seen, targets, previous)
        hq = targets[0].settings.hq
        weights = [target.scales for target in targets if target.scales is not None]
        if weights:
            start = scaled_start(
                self.segmenter, embedding, prompts, torch.stack(weights).to(self.segmenter.device), hq
            )
        else:
            start = plain_start(self.segmenter, embedding, prompts, hq)
        clicks = Prompts(prompts.points, prompts.labels)
        last = refine(self.segmenter, embedding, clicks, start, hq=hq, box_at_once=False)[1].best()
        logits: FloatArray = Masks(last.masks, last.iou, embedding.geometry).logits()[:, 0].cpu().numpy()
        for target, found in zip(targets, logits, strict=True):
            if likeness(seen, found > 0, target) < STAYS * target.threshold:
                found[:] = ABSENT
        return logits

    def _search(self, embedding: Embedding, numbers: Sequence[int], logits_KHW: FloatArray) -> None:
        """Look for some objects where no other one is, and note those that are there."""
        taken: BoolArray = np.any(logits_KHW > 0, axis=0)
        lost = [self.targets[number] for number in numbers]
        for found in find(self.segmenter, embedding, lost, taken=taken):
            # A mask that is mostly another object's is that object again.
            if 2 * np.count_nonzero(found.mask & taken) < np.count_nonzero(found.mask):
                logits_KHW[self.targets.index(found.target)] = found.masks.logits()[0, 0].cpu().numpy()


def _prompts(
    segmenter: Segmenter,
    embedding: Embedding,
    seen: FeatureMap,
    targets: Sequence[Target],
    previous: BoolArray,
) -> Prompts:
    """Of each object its previous mask's box, widened, its centre, and in it the most similar pixel."""
    return make_prompts(
        embedding.geometry,
        segmenter.model.low_res,
        boxes=[widened_box(mask) for mask in previous],
        points=[
            [_most_alike(seen, target, mask), center_point(mask)]
            for target, mask in zip(targets, previous, strict=True)
        ],
    )


def _most_alike(seen: FeatureMap, target: Target, mask_HW: BoolArray) -> tuple[int, int]:
    """The pixel (x, y) of a mask that is most similar to an object."""
    return locate(seen.centered(target.center), target.vectors).without(~mask_HW).highest()
