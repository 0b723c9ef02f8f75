"""The demo: one model asked about real photos in every way it can be asked; times, scores, pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np
import torch

from maskwright.models.prompts import make_prompts
from maskwright.models.segmenter import Segmenter
from maskwright.report.demo_photos import DemoPhoto
from maskwright.report.overlay import draw, heat
from maskwright.types import BoolArray, ByteArray, Embedding, FloatArray, HQMode, Image, Masks

SIDE = 760
"""Longest side of the report's pictures in pixels."""
_DOUBT = 0.5
"""Bits of entropy above which a pixel counts as undecided: probabilities between 0.11 and 0.89."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture of the report."""

    pixels: ByteArray
    caption: str


@dataclass(frozen=True, eq=False)
class Answer:
    """What one mode gave for one photo.

    Args:
        mode: its key in report.json.
        title: for people.
        note: what was asked, in a sentence.
        prompt: what was asked, machine-readable.
        scores: predicted IoU of the masks shown, in their order.
        quality: their expected IoU as the model's uncertainty heads tell it; empty without heads.
        areas: share of the image that each mask covers.
        undecided: share of the image's pixels with more than half a bit of entropy in some mask.
        agreement: IoU of the first mask with that of the box mode, or None where the object is another.
        milliseconds: for prompts in, masks at the image's size out; the image was encoded before.
        pictures: what to show.
    """

    mode: str
    title: str
    note: str
    prompt: dict[str, Any]
    scores: tuple[float, ...]
    quality: tuple[float, ...]
    areas: tuple[float, ...]
    undecided: float
    agreement: float | None
    milliseconds: float
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False)
class PhotoResult:
    """All modes on one photo."""

    photo: DemoPhoto
    size: tuple[int, int]
    encode_milliseconds: float
    answers: tuple[Answer, ...]


@dataclass(frozen=True, eq=False)
class _Asked:
    """One timed call: the masks, and the same at the image's size as bool (N, M, H, W)."""

    masks: Masks
    binary: BoolArray
    milliseconds: float


class _Desk:
    """One photo with its embedding, and the box mode's mask that other modes refer to."""

    def __init__(self, segmenter: Segmenter, photo: DemoPhoto, image: Image, embedding: Embedding) -> None:
        self.segmenter = segmenter
        self.photo = photo
        self.image = image
        self.embedding = embedding
        self.box = self.ask(boxes=[photo.box])

    def ask(self, multimask: bool = False, hq: HQMode = "sum", **prompts: Any) -> _Asked:  # noqa: ANN401
        start = time.perf_counter()
        made = make_prompts(self.embedding.geometry, self.segmenter.model.low_res, **prompts)
        masks = self.segmenter.decode(self.embedding, made, multimask=multimask, hq=hq)
        binary = masks.binary()
        return _Asked(masks, binary, (time.perf_counter() - start) * 1000)

    def draw(self, binary: BoolArray, **extra: Any) -> ByteArray:  # noqa: ANN401
        """Masks (K, H, W) and prompts on the photo."""
        return draw(self.image, binary, min_side=SIDE, max_side=SIDE, **extra)

    def doubt(self, entropy: FloatArray) -> Picture:
        """The heat map of an (H, W) entropy over the photo."""
        return Picture(_resized(heat(entropy.clip(0, 1), self.image)), "Uncertainty")

    def clicks(self) -> tuple[list[tuple[float, float]], list[int]]:
        """All clicks of the photo and their labels."""
        points = [self.photo.click, *(point for point, _ in self.photo.clicks)]
        return points, [1, *(label for _, label in self.photo.clicks)]


def run_demo(segmenter: Segmenter, photos: Sequence[DemoPhoto]) -> Iterator[PhotoResult]:
    """Ask `segmenter` about each photo in every mode it has.

    The first photo is encoded and decoded once beforehand, so that no time includes start-up work.

    Raises:
        FileError: when a photo cannot be read.
    """
    modes = _modes(segmenter)
    for index, photo in enumerate(photos):
        image = photo.read()
        if index == 0:
            _Desk(segmenter, photo, image, segmenter.embed(image))
        start = time.perf_counter()
        embedding = segmenter.embed(image)
        if segmenter.device.type == "cuda":
            torch.cuda.synchronize(segmenter.device)  # the GPU works on after the call returns
        encoding = (time.perf_counter() - start) * 1000
        desk = _Desk(segmenter, photo, image, embedding)
        yield PhotoResult(photo, image.size, encoding, tuple(mode(desk) for mode in modes))


def _modes(segmenter: Segmenter) -> list[Callable[[_Desk], Answer]]:
    modes: list[Callable[[_Desk], Answer]] = [_box, _click, _clicks, _corrected, _rough_mask, _several]
    if segmenter.model.has_hq:
        modes += [partial(_hq, mode="off"), partial(_hq, mode="only")]
    return modes


# The modes, in the report's order.


def _box(desk: _Desk) -> Answer:
    shown = desk.draw(desk.box.binary[:, 0], boxes=[desk.photo.box], scores=_scores(desk.box))
    note = f"A box around the {desk.photo.thing}; one mask."
    return _answer(desk, desk.box, "box", "Box", note, {"box": desk.photo.box}, shown)


def _click(desk: _Desk) -> Answer:
    """One click is ambiguous, so the model offers several masks; the one it trusts most is shown first."""
    asked = desk.ask(multimask=True, points=[[desk.photo.click]])
    scores = asked.masks.iou[0].tolist()
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    offered = [desk.draw(asked.binary[0, i], points=[desk.photo.click], scores=[scores[i]]) for i in order]
    best = order[0]
    picked = _Asked(asked.masks.best(), asked.binary[:, best : best + 1], asked.milliseconds)
    others = tuple(Picture(picture, f"Offer {rank}") for rank, picture in enumerate(offered[1:], 2))
    note = f"One click may mean the {desk.photo.thing} or a part of it: {len(scores)} offers, best first."
    prompt = {"points": [desk.photo.click], "labels": [1], "multimask": True}
    return _answer(desk, picked, "click", "One click", note, prompt, offered[0], extra=others)


def _clicks(desk: _Desk) -> Answer:
    points, labels = desk.clicks()
    asked = desk.ask(points=[points], labels=[labels])
    shown = desk.draw(asked.binary[:, 0], points=points, labels=labels, scores=_scores(asked))
    note = f"Clicks on the {desk.photo.thing} (+) and beside it (−)."
    return _answer(desk, asked, "clicks", "Several clicks", note, {"points": points, "labels": labels}, shown)


def _corrected(desk: _Desk) -> Answer:
    points, labels = desk.clicks()
    asked = desk.ask(
        boxes=[desk.photo.box], points=[points], labels=[labels], masks=desk.box.masks.low_res[:, 0]
    )
    shown = desk.draw(
        asked.binary[:, 0], boxes=[desk.photo.box], points=points, labels=labels, scores=_scores(asked)
    )
    prompt = {"box": desk.photo.box, "points": points, "labels": labels, "mask": "logits of the box mode"}
    note = "The box's own mask given back, with clicks that correct it."
    return _answer(desk, asked, "corrected", "Box, then corrected", note, prompt, shown)


def _rough_mask(desk: _Desk) -> Answer:
    rough, origin = rough_mask(desk.box.binary[0, 0], desk.photo.box)
    asked = desk.ask(masks=[rough])
    shown = desk.draw(asked.binary[:, 0], scores=_scores(asked))
    given = Picture(desk.draw(rough), "The rough mask given")
    note = "A rough mask and nothing else: shrunken and blocky, to be refined."
    return _answer(desk, asked, "mask", "Rough mask", note, {"mask": origin}, shown, before=(given,))


def _several(desk: _Desk) -> Answer:
    names, boxes = list(desk.photo.parts), list(desk.photo.parts.values())
    asked = desk.ask(boxes=boxes)
    shown = desk.draw(asked.binary[:, 0], boxes=boxes, names=names, scores=_scores(asked))
    note = f"{len(names)} objects in one call: {', '.join(names)}."
    prompt = {"boxes": dict(desk.photo.parts)}
    return _answer(desk, asked, "several", "Several objects at once", note, prompt, shown, compare=False)


def _hq(desk: _Desk, mode: Literal["off", "only"]) -> Answer:
    asked = desk.ask(boxes=[desk.photo.box], hq=mode)
    shown = desk.draw(asked.binary[:, 0], boxes=[desk.photo.box], scores=_scores(asked))
    title = {"off": "Box, without the HQ token", "only": "Box, HQ token alone"}[mode]
    note = (
        "The other modes add the HQ token's logits to the mask token's; here "
        + {
            "off": "the mask token's stand alone.",
            "only": "the HQ token's stand alone.",
        }[mode]
    )
    return _answer(desk, asked, f"hq_{mode}", title, note, {"box": desk.photo.box, "hq": mode}, shown)


# What they share.


def _answer(
    desk: _Desk,
    asked: _Asked,
    mode: str,
    title: str,
    note: str,
    prompt: dict[str, Any],
    shown: ByteArray,
    *,
    before: tuple[Picture, ...] = (),
    extra: tuple[Picture, ...] = (),
    compare: bool = True,
) -> Answer:
    entropy = asked.masks.uncertainty()[:, 0].amax(dim=0).cpu().numpy()
    first = asked.binary[:, 0]
    return Answer(
        mode=mode,
        title=title,
        note=note,
        prompt=prompt,
        scores=tuple(_scores(asked)),
        quality=() if asked.masks.quality is None else tuple(asked.masks.quality[:, 0].tolist()),
        areas=tuple(first.mean(axis=(1, 2)).tolist()),
        undecided=float((entropy > _DOUBT).mean()),
        agreement=_iou(first[0], desk.box.binary[0, 0]) if compare else None,
        milliseconds=asked.milliseconds,
        pictures=(*before, Picture(shown, "Mask"), desk.doubt(entropy), *extra),
    )


def rough_mask(mask: BoolArray, box: tuple[float, float, float, float]) -> tuple[BoolArray, str]:
    """Make a bad mask of a good one: shrunken, then reduced to blocks.

    Args:
        mask: (H, W).
        box: the object's, for the ellipse that is taken when nothing of the mask is left.

    Returns:
        (H, W) bool, and how it was made.
    """
    height, width = mask.shape
    block = max(2, round(max(mask.shape) / 32))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (block, block))
    shrunken = cv2.erode(mask.astype(np.uint8), kernel)
    cells = cv2.resize(
        shrunken * 255, (-(-width // block), -(-height // block)), interpolation=cv2.INTER_AREA
    )
    blocky: BoolArray = np.kron(np.asarray(cells) > 127, np.ones((block, block), np.bool_))[:height, :width]
    if blocky.any():
        return blocky, "the box mode's mask, shrunken and in blocks"
    ys, xs = np.mgrid[:height, :width]
    x0, y0, x1, y1 = box
    radius = ((xs - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((ys - (y0 + y1) / 2) / (y1 - y0)) ** 2
    ellipse: BoolArray = radius < 0.25
    return ellipse, "the ellipse in the box, as the box mode's mask is too small to be shrunken"


def _iou(one: BoolArray, other: BoolArray) -> float:
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0


def _scores(asked: _Asked) -> list[float]:
    scores: list[float] = asked.masks.iou[:, 0].tolist()
    return scores


def _resized(picture: ByteArray) -> ByteArray:
    return draw(picture, np.zeros((0, *picture.shape[:2]), np.bool_), min_side=SIDE, max_side=SIDE)


def describe_model(segmenter: Segmenter) -> dict[str, Any]:
    """The model's name, family, size and input side."""
    model = segmenter.model
    parameters = {id(tensor): tensor.numel() for tensor in model.parameters()}
    return {
        "name": segmenter.name,
        "family": model.family,
        "parameters": sum(parameters.values()),
        "signature": segmenter.signature,
        "input_side": model.image_size,
        "dtype": str(segmenter.dtype).removeprefix("torch."),
    }
