"""A review queue: the masks of a labelled set, those first that are most likely wrong.

Where the set holds the quality that was expected of each mask, the risk is 1 - quality. Otherwise a model
with uncertainty heads looks at every photo: it is asked with the box of each label, and its own mask is
compared with the label. Let a be the IoU of the two, and q the quality the heads expect of the model's mask,
its IoU with the truth. As 1 - IoU is a distance (Kosub 2019), the label's IoU with the truth lies between

    low = max(0, a + q - 1)   and   high = 1 - |a - q|,

and the risk is 1 - (low + high) / 2. It is high where a model that is sure contradicts the label, low where
it is sure and agrees, and in between where it does not know. (q is an expectation, and so are the bounds.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from maskwright.data.dataset import Dataset
from maskwright.data.known import HasQuality, KnownMask
from maskwright.data.prompts import tight_box
from maskwright.errors import InputError, MaskwrightError
from maskwright.io.rle import RLE
from maskwright.metrics.regions import iou
from maskwright.models.segmenter import Segmenter
from maskwright.models.uncertainty import QUALITY
from maskwright.types import BoolArray, Embedding, Masks, Prompts, Sample

_AT_ONCE = 64
"""Prompts whose low-resolution masks are held at a time (17 MB at 256 × 256)."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One mask and how likely it is wrong.

    Args:
        item: place of its photo in the set.
        image: the photo's file.
        mask: the mask's id in the set.
        category: its name, or None.
        risk: 0 to 1; see the top of this file. An empty mask has 1.
        quality: the IoU with the truth that is expected of the mask that the heads have seen: this very one,
            or the model's own.
        agreement: IoU with the model's own mask; None where the set holds the quality.
        low, high: between what the IoU with the truth is expected to lie.
        box: (x, y, width, height) in pixels, as COCO has it.
        area: number of object pixels.
    """

    item: int
    image: str
    mask: int
    category: str | None
    risk: float
    quality: float | None
    agreement: float | None
    low: float
    high: float
    box: tuple[int, int, int, int]
    area: int


def expected_range(agreement: float, quality: float) -> tuple[float, float]:
    """Between what a label's IoU with the truth lies.

    Args:
        agreement: IoU of the label with another mask.
        quality: IoU of that mask with the truth.
    """
    return max(0.0, agreement + quality - 1), 1 - abs(agreement - quality)


def holds_quality(dataset: Dataset) -> bool:
    """Whether the masks of a set come with expected qualities, judged by its first item with a mask."""
    if not isinstance(dataset, HasQuality):
        return False
    for index in range(len(dataset)):
        try:
            known = dataset.known(index)
        except MaskwrightError:
            # The review itself will name it.
            continue
        if known is None or known:
            return known is not None
    return False


def review(
    dataset: Dataset,
    segmenter: Segmenter | None,
    items: Sequence[int],
    *,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
    on_failure: Callable[[str, MaskwrightError], None] = lambda item, error: None,
) -> list[Reviewed]:
    """Order the masks of a set by risk, the highest first.

    Args:
        dataset: the labels.
        segmenter: judges them; None takes the qualities that the set holds (`holds_quality`).
        items: which photos.
        track: wraps `items`, for a progress bar.
        on_failure: called with a photo or mask file that cannot be used, and why; the others go on.

    Raises:
        InputError: the model has no uncertainty heads.
    """
    if segmenter is not None and segmenter.heads is None:
        raise InputError(
            f"{segmenter.name} has no uncertainty heads, so it cannot tell when it is wrong itself: choose a "
            "model with heads, such as nano, or train some with `maskwright train heads`."
        )
    found: list[Reviewed] = []
    for item in track(items):
        image = str(dataset.image_path(item))
        try:
            found += _known(dataset, item, image) if segmenter is None else _judged(dataset, item, segmenter)
        except MaskwrightError as error:
            on_failure(image, error)
    return sorted(found, key=lambda one: -one.risk)


def second_opinion(segmenter: Segmenter, embedding: Embedding, label: BoolArray) -> BoolArray:
    """The model's own (H, W) mask for the box of a label of that size, as `review` compared it."""
    answer: BoolArray = _ask(segmenter, embedding, label[None]).binary()[0, 0]
    return answer


def _known(dataset: Dataset, item: int, image: str) -> list[Reviewed]:
    assert isinstance(dataset, HasQuality)
    known = dataset.known(item)
    if known is None:
        raise InputError(
            f"the masks of {image} come without expected quality, unlike others of this set: let a model "
            "with uncertainty heads judge all of them."
        )
    return [_by_quality(item, image, one) for one in known]


def _by_quality(item: int, image: str, one: KnownMask) -> Reviewed:
    # Heads expect something of an empty mask, too, but no object is empty.
    expected = one.quality if one.mask.area else 0.0
    return Reviewed(
        item=item,
        image=image,
        mask=one.id,
        category=one.category,
        risk=1 - expected,
        quality=one.quality,
        agreement=None,
        low=expected,
        high=expected,
        box=one.mask.box,
        area=one.mask.area,
    )


def _judged(dataset: Dataset, item: int, segmenter: Segmenter) -> list[Reviewed]:
    sample = dataset[item]
    filled = [k for k, mask in enumerate(sample.masks) if mask.any()]
    compared = dict(zip(filled, _compare(segmenter, sample, filled), strict=True))
    image = str(dataset.image_path(item))
    return [_by_model(item, image, sample, k, compared.get(k)) for k in range(len(sample.ids))]


def _compare(segmenter: Segmenter, sample: Sample, chosen: Sequence[int]) -> list[tuple[float, float]]:
    """Of labels that are not empty, each: its IoU with the model's own mask, and the quality of that."""
    if not chosen:
        return []
    embedding = segmenter.embed(sample.image)
    pairs = []
    for start in range(0, len(chosen), _AT_ONCE):
        some = chosen[start : start + _AT_ONCE]
        answers = _ask(segmenter, embedding, sample.masks[some])
        for place, k in enumerate(some):
            # One after the other: full-size logits of all at once would not fit in memory.
            agreement = float(iou(answers[place].binary()[0, 0], sample.masks[k]))
            pairs.append((agreement, float(answers.extras[QUALITY][place, 0])))
    return pairs


def _ask(segmenter: Segmenter, embedding: Embedding, labels: BoolArray) -> Masks:
    boxes = torch.from_numpy(np.stack([tight_box(label) for label in labels]))
    return segmenter.decode(embedding, Prompts(boxes=boxes))


def _by_model(item: int, image: str, sample: Sample, k: int, pair: tuple[float, float] | None) -> Reviewed:
    """One label; `pair` is its agreement and the quality, None for an empty one."""
    agreement, quality = pair or (None, None)
    low, high = expected_range(*pair) if pair else (0.0, 0.0)
    packed = RLE.encode(sample.masks[k])
    return Reviewed(
        item=item,
        image=image,
        mask=sample.ids[k],
        category=None if sample.categories is None else str(sample.categories[k]),
        risk=1 - (low + high) / 2,
        quality=quality,
        agreement=agreement,
        low=low,
        high=high,
        box=packed.box,
        area=packed.area,
    )
