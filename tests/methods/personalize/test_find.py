"""Finding objects: instances, absence, several objects together, and what is refused."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from methods.personalize.blobs import BLUE, GREEN, RED, SIDE, Blobs, blobs, disc, example, scene
from models.tiny import tiny

from maskwright.errors import InputError
from maskwright.methods.personalize.config import MethodName, PersonalizeSettings
from maskwright.methods.personalize.find import Found, find
from maskwright.methods.personalize.learn import ALIKE, learn
from maskwright.methods.personalize.reference import Reference
from maskwright.methods.personalize.target import Target
from maskwright.models.sam import SAM
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, Image

METHODS: tuple[MethodName, ...] = get_args(MethodName)


@pytest.fixture
def segmenter() -> Segmenter:
    return blobs()


def target(segmenter: Segmenter, colour: tuple[int, int, int] = RED, method: MethodName = "persam") -> Target:
    return learn(segmenter, [example(colour)], PersonalizeSettings(method=method), name=str(colour))


def overlap(first: BoolArray, second: BoolArray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("method", METHODS)
def test_the_object_is_found_where_it_is(segmenter: Segmenter, method: MethodName) -> None:
    known = target(segmenter, RED, method)
    (found,) = find(segmenter, scene((44, 50, RED), (14, 14, BLUE), (44, 14, GREEN)), [known])
    assert overlap(found.mask, disc(44, 50)) > 0.9
    assert found.similarity > 0.95
    assert found.target is known
    assert found.mask[tuple(found.points[0].long().flip(0).tolist())]
    labels = found.labels.tolist()
    assert labels[0] == 1
    assert (0 in labels) == (method != "persam-f")


@pytest.mark.parametrize("method", METHODS)
def test_an_absent_object_is_not_found(segmenter: Segmenter, method: MethodName) -> None:
    known = target(segmenter, RED, method)
    photo = scene((14, 14, BLUE), (44, 14, GREEN))
    assert find(segmenter, photo, [known]) == []
    assert len(find(segmenter, photo, [known], threshold=-1)) == 1
    assert known.threshold == pytest.approx(ALIKE, abs=0.05)
    assert find(segmenter, scene((44, 50, RED)), [known], threshold=1.01) == []


@pytest.mark.parametrize("method", METHODS)
def test_all_instances_are_found_on_one_encoding(segmenter: Segmenter, method: MethodName) -> None:
    model = segmenter.model
    assert isinstance(model, Blobs)
    known = target(segmenter, RED, method)
    places = [(12, 12), (50, 14), (30, 50)]
    photo = scene(*((x, y, RED) for x, y in places), (52, 52, BLUE))
    model.encoded = 0
    found = find(segmenter, photo, [known], instances=10)
    assert model.encoded == 1
    assert len(found) == 3
    for x, y in places:
        assert sum(overlap(one.mask, disc(x, y)) > 0.9 for one in found) == 1
    assert len(find(segmenter, photo, [known], instances=2)) == 2


def test_an_object_that_fills_the_image_is_found_once(segmenter: Segmenter) -> None:
    photo = np.full((40, 50, 3), RED, np.uint8)
    (found,) = find(segmenter, photo, [target(segmenter)], instances=3)
    assert found.mask.all()


def test_objects_of_all_methods_together_are_as_each_alone(segmenter: Segmenter) -> None:
    colours = (RED, BLUE, GREEN)
    known = [target(segmenter, colour, method) for colour in colours for method in METHODS]
    photo = scene((12, 12, RED), (50, 14, BLUE), (30, 50, RED))
    together = find(segmenter, photo, known, instances=4)
    alone = [found for one in known for found in find(segmenter, photo, [one], instances=4)]
    assert [str(RED)] * 2 * len(METHODS) + [str(BLUE)] * len(METHODS) == [
        found.target.name for found in together
    ]
    assert_same(together, alone)


def assert_same(first: list[Found], second: list[Found]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.target is other.target
        assert np.array_equal(one.mask, other.mask)
        assert one.similarity == pytest.approx(other.similarity, abs=1e-5)
        assert torch.equal(one.points, other.points)


def test_what_is_taken_is_not_found(segmenter: Segmenter) -> None:
    known, photo = target(segmenter), scene((12, 12, RED), (50, 50, RED))
    for x, other in ((12, 50), (50, 12)):
        found = find(segmenter, photo, [known], instances=3, taken=disc(x, x))
        assert [overlap(one.mask, disc(other, other)) > 0.9 for one in found] == [True]
    assert find(segmenter, photo, [known], taken=disc(12, 12) | disc(50, 50)) == []
    with pytest.raises(InputError, match=r"taken must have shape \(64, 64\)"):
        find(segmenter, photo, [known], taken=disc(12, 12)[:5])


def test_no_targets_are_no_trouble(segmenter: Segmenter) -> None:
    assert find(segmenter, scene(), []) == []


def test_an_embedding_serves_in_place_of_an_image(segmenter: Segmenter) -> None:
    known, photo = target(segmenter), scene((40, 30, RED), size=(50, 90))
    assert_same(find(segmenter, photo, [known]), find(segmenter, segmenter.embed(photo), [known]))


def test_several_references(segmenter: Segmenter) -> None:
    """The mean of two colours is a third; the nearest of two is always one of them."""
    references = [example(RED), example(BLUE)]
    nearest = learn(segmenter, references, PersonalizeSettings(references="nearest"))
    assert nearest.vectors.shape == (2, 3)
    for colour in (RED, BLUE):
        found = find(segmenter, scene((40, 40, colour), (14, 14, GREEN)), [nearest], threshold=-1)
        assert overlap(found[0].mask, disc(40, 40)) > 0.9
    mean = learn(segmenter, references, PersonalizeSettings(references="mean"))
    assert mean.vectors.shape == (1, 3)
    same = learn(segmenter, [example(RED)] * 2)
    torch.testing.assert_close(same.vectors, target(segmenter).vectors)


def test_other_models_are_refused(segmenter: Segmenter) -> None:
    known = target(segmenter)
    other = Segmenter(tiny(SAM))
    with pytest.raises(InputError, match="learned with another model than sam"):
        find(other, scene(), [known])
    with pytest.raises(InputError, match=r"made by sam:.* not by blobs:"):
        find(segmenter, other.embed(scene()), [known])
    with pytest.raises(InputError, match="at least one instance"):
        find(segmenter, scene(), [known], instances=0)


def test_what_cannot_be_learned_is_refused(segmenter: Segmenter) -> None:
    with pytest.raises(InputError, match="at least one reference"):
        learn(segmenter, [])
    with pytest.raises(InputError, match="'only', but blobs has no HQ token"):
        learn(segmenter, [example()], PersonalizeSettings(hq="only"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("raw", [True, False])
def test_a_photo_of_one_colour(segmenter: Segmenter, method: MethodName, raw: bool) -> None:
    """All features are the same: nothing can be told apart, and nothing breaks."""
    even = np.full((SIDE, SIDE, 3), RED, np.uint8)
    settings = PersonalizeSettings(method=method, raw_features=raw)
    for mask in (disc(20, 20), np.ones((SIDE, SIDE), np.bool_)):
        known = learn(segmenter, [Reference(Image(even), mask)], settings)
        assert known.vectors.isfinite().all()
        (found,) = find(segmenter, even, [known], threshold=-1)
        assert found.mask.all()
