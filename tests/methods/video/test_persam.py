"""PerSAM as a tracker: what is asked, objects that vanish and come back, objects of one cell, any family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from methods.colours import Colours
from methods.video.clips import SIZE, photo, scene
from methods.video.test_follow import tiny_segmenter
from models.test_task_prompts import tiny_sam2
from models.tiny import tiny

from maskwright.io.masks import LabelMap
from maskwright.methods.video.follow import Following
from maskwright.methods.video.persam import PerSAM, PerSAMF
from maskwright.methods.video.registry import make_tracker
from maskwright.methods.video.tracker import split
from maskwright.metrics.regions import iou
from maskwright.models.base import Decoded, MaskModel
from maskwright.models.mobile_sam import MobileSAM
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.segmenter import Segmenter
from maskwright.types import Embedding, Prompts

TRACKERS = pytest.mark.parametrize("tracker", [PerSAM, PerSAMF])


def discs(number: int) -> LabelMap:
    """Object 2 stands still; object 1 moves, is gone in frames 4 to 6, and comes back at the other side."""
    labels = np.zeros((48, 80), np.uint8)
    cv2.circle(labels, (60, 14), 8, 2, -1)
    if number < 4:
        cv2.circle(labels, (12 + 4 * number, 28), 9, 1, -1)
    elif number > 6:
        cv2.circle(labels, (84 - 3 * number, 36), 9, 1, -1)
    return labels.astype(np.int32)


@TRACKERS
def test_an_object_that_vanishes_is_found_again_and_numbers_stay(tracker: type[PerSAM]) -> None:
    following = Following(tracker(Segmenter(Colours())))
    for number in range(10):
        truth = discs(number)
        found = following.step(photo(truth), truth if number == 0 else None)
        for label in (1, 2):
            if (truth == label).any():
                assert iou(found == label, truth == label) > 0.8, (number, label)
            else:
                assert not (found == label).any(), number


@TRACKERS
def test_when_all_are_gone_none_is_found(tracker: type[PerSAM]) -> None:
    track = tracker(Segmenter(Colours())).start(photo(scene(2)), split(scene(2), [1, 2, 3]))
    empty = photo(np.zeros(SIZE, np.int32))
    gone = np.zeros((3, *SIZE), np.bool_)
    assert (track.step(empty, split(scene(2), [1, 2, 3])) < 0).all()
    assert (track.step(empty, gone) < 0).all()
    assert (track.step(photo(scene(3)), gone).argmax(axis=0)[split(scene(3), [3])[0]] == 2).all()


def test_a_lost_object_is_not_looked_for_where_another_is() -> None:
    """Twins: of two objects that look the same one is gone, and the other is not taken for it."""
    twins = np.zeros(SIZE, np.int32)
    twins[6:20, 6:20] = 1
    twins[6:20, 40:54] = 2
    colours = twins.astype(bool).astype(np.int32)
    track = PerSAM(Segmenter(Colours())).start(photo(colours), split(twins, [1, 2]))
    left, right = split(twins, [1, 2])
    logits = track.step(photo(colours * right), np.stack([np.zeros_like(left), right]))
    assert not (logits[0] > 0).any()
    assert iou(logits[1] > 0, right) > 0.8


@TRACKERS
def test_a_frame_is_encoded_once_and_its_objects_are_decoded_together(
    tracker: type[PerSAM], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Colours()
    segmenter = Segmenter(model)
    track = tracker(segmenter).start(photo(scene(2)), split(scene(2), [1, 2, 3]))
    assert model.embedded == 1
    asked: list[Prompts] = []
    decode_all = segmenter.decode_all

    def listen(embedding: Embedding, prompts: Prompts, **how: Any) -> Decoded:
        asked.append(prompts)
        return decode_all(embedding, prompts, **how)

    monkeypatch.setattr(segmenter, "decode_all", listen)
    previous = split(scene(2), [1, 2, 3])
    track.step(photo(scene(3)), previous)
    assert model.embedded == 2
    assert [len(prompts) for prompts in asked] == [3, 3, 3]
    first, second, third = asked
    assert first.boxes is not None
    assert first.boxes[0].tolist() == [0, 0, 32, 30]
    assert (first.masks, second.boxes) == (None, None)
    for prompts in asked:
        assert prompts.points is not None
        for mask, clicks in zip(previous, prompts.points.long().tolist(), strict=True):
            assert all(mask[y, x] for x, y in clicks)
    assert second.masks is not None
    assert third.masks is not None
    assert third.boxes is not None


MODELS: dict[str, Callable[[], MaskModel]] = {
    "nano": lambda: tiny_segmenter().model,
    "sam": lambda: tiny(SAM),
    "sam-hq": lambda: tiny(SAMHQ),
    "mobile-sam": lambda: tiny(MobileSAM),
    "sam2": tiny_sam2,
}


@TRACKERS
@pytest.mark.parametrize("family", MODELS)
def test_every_family_follows_objects_of_any_size(family: str, tracker: type[PerSAM]) -> None:
    """Also one of a single pixel, and in frames that are not square."""
    masks = split(scene(0), [1, 2, 3])
    masks[2, -1, -1] = True
    track = tracker(Segmenter(MODELS[family]())).start(photo(scene(0)), masks)
    for previous in (masks, masks & np.array([True, False, True])[:, None, None], np.zeros_like(masks)):
        logits = track.step(photo(scene(1)), previous)
        assert logits.shape == (3, *SIZE)
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()


def test_tracking_has_no_chance_in_it() -> None:
    def logits() -> np.ndarray:
        track = PerSAMF(tiny_segmenter()).start(photo(scene(0)), split(scene(0), [1, 2]))
        return track.step(photo(scene(1)), split(scene(0), [1, 2]))

    first = logits()
    torch.rand(3)
    assert np.array_equal(first, logits())


def test_they_are_found_by_name() -> None:
    assert make_tracker("persam", "nano").signature.startswith("persam nano")
    assert make_tracker("persam-f", "nano").signature.startswith("persam-f nano")
