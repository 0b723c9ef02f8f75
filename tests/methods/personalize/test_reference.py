"""References: masks of any size down to one pixel, boxes and scribbles."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from methods.personalize.blobs import BLUE, GREEN, RED, SIDE, blobs, disc, example, scene
from models.tiny import tiny
from torch import Tensor

from maskwright.errors import InputError
from maskwright.methods.personalize.config import MethodName, PersonalizeSettings
from maskwright.methods.personalize.features import FeatureMap
from maskwright.methods.personalize.find import find
from maskwright.methods.personalize.learn import learn
from maskwright.methods.personalize.reference import CLICKS, Reference
from maskwright.models.sam import SAM
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, Geometry, Image, Prompts

METHODS: tuple[MethodName, ...] = get_args(MethodName)


def features(size: tuple[int, int], cells: int = 16, side: int = 256) -> FeatureMap:
    values = torch.randn(5, cells, cells, generator=torch.Generator().manual_seed(0))
    return FeatureMap(values, Geometry(size, side))


def pixel(size: tuple[int, int], row: int, column: int) -> BoolArray:
    mask = np.zeros(size, np.bool_)
    mask[row, column] = True
    return mask


@pytest.mark.parametrize("size", [(256, 256), (1000, 700), (77, 300), (5, 5), (4000, 30)])
def test_a_single_pixel_is_a_cell(size: tuple[int, int]) -> None:
    found = features(size)
    height, width = found.geometry.input_size
    for row, column in ((0, 0), (size[0] // 2, size[1] // 3), (size[0] - 1, size[1] - 1)):
        rows, columns = found.cells(pixel(size, row, column)).nonzero().unbind(1)
        assert len(rows) >= 1
        # Where the pixel is, in cells of 16 pixels of the input.
        near = torch.tensor([(row + 0.5) / size[0] * height, (column + 0.5) / size[1] * width]) / 16
        distance = (torch.stack([rows, columns], dim=1) + 0.5 - near).abs().amax(dim=0)
        assert (distance <= max(1.0, 16 / min(size))).all()


def test_cells_are_those_covered_by_half() -> None:
    found = features((256, 256))
    mask = np.zeros((256, 256), np.bool_)
    mask[32:64, 48:64] = True  # two whole cells
    mask[64:72, 48:64] = True  # half of the next
    mask[64:72, 64:71] = True  # less than half
    assert found.cells(mask).nonzero().tolist() == [[2, 3], [3, 3], [4, 3]]
    assert not found.cells(np.zeros((256, 256), np.bool_)).any()
    assert found.cells(np.ones((256, 256), np.bool_)).all()


@pytest.mark.parametrize("size", [(256, 128), (100, 256), (300, 3), (1, 1)])
def test_padding_is_not_inside(size: tuple[int, int]) -> None:
    found = features(size)
    height, width = found.geometry.input_size
    inside = found.inside
    assert inside.any()
    assert not inside[-(-height // 16) :].any()
    assert not inside[:, -(-width // 16) :].any()
    assert inside[: height // 16, : width // 16].all()


def test_similarity_is_the_cosine() -> None:
    found, vectors = features((256, 200)), torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    similarity = found.similarity(vectors)
    for number, vector in enumerate(vectors):
        for row, column in ((0, 0), (7, 3), (15, 15)):
            cell = found.values[:, row, column]
            expected = float(cell @ vector / cell.norm() / vector.norm())
            assert float(similarity[number, row, column]) == pytest.approx(expected, abs=1e-5)


def test_a_reference_needs_a_mask_of_its_size() -> None:
    photo = Image(scene(), "cat.jpg")
    with pytest.raises(InputError, match=r"mask of the reference cat\.jpg must have shape \(64, 64\)"):
        Reference(photo, np.ones((64, 32), np.bool_))
    with pytest.raises(InputError, match=r"the reference cat\.jpg is empty: mark the object"):
        Reference(photo, np.zeros((64, 64), np.bool_))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("segmenter", [blobs(), Segmenter(tiny(SAM))], ids=["blobs", "sam"])
def test_one_pixel_and_the_whole_image_are_references(segmenter: Segmenter, method: MethodName) -> None:
    photo = Image(scene((20, 20, RED), (45, 20, BLUE)))
    for mask in (pixel((SIDE, SIDE), 20, 20), np.ones((SIDE, SIDE), np.bool_)):
        target = learn(segmenter, [Reference(photo, mask)], PersonalizeSettings(method=method, parts=3))
        values: list[Tensor] = [target.embedding, target.vectors, target.object, *target.parts]
        assert all(value.isfinite().all() for value in values)
        assert -1 <= target.threshold <= 1
        find(segmenter, photo.pixels, [target])


def test_one_pixel_is_enough_to_find_the_object() -> None:
    reference = Reference(Image(scene((20, 20, RED), (45, 20, BLUE))), pixel((SIDE, SIDE), 20, 20))
    segmenter = blobs()
    target = learn(segmenter, [reference])
    (found,) = find(segmenter, scene((44, 50, RED), (14, 14, BLUE)), [target])
    assert (found.mask ^ disc(44, 50)).sum() < 10


def test_an_object_beside_padding() -> None:
    """The reference is not square, and the object lies where the image ends."""
    size = (40, 64)
    reference = Reference(Image(scene((20, 32, RED), (50, 10, BLUE), size=size)), disc(20, 32, size))
    segmenter = blobs()
    target = learn(segmenter, [reference])
    (found,) = find(segmenter, scene((12, 30, BLUE), (24, 50, RED), size=(64, 32)), [target])
    assert (found.mask ^ disc(24, 50, (64, 32))).sum() < 10


def test_a_scribble_becomes_the_object_under_it() -> None:
    photo = scene((20, 20, RED), (45, 20, BLUE))
    stroke = np.zeros((SIDE, SIDE), np.bool_)
    stroke[20, 15:25] = True
    found = Reference.from_scribble(blobs(), photo, stroke)
    assert (found.mask ^ disc(20, 20)).sum() < 10
    assert (found.mask & stroke).sum() == stroke.sum()
    with pytest.raises(InputError, match="is empty"):
        Reference.from_scribble(blobs(), photo, np.zeros((SIDE, SIDE), np.bool_))
    with pytest.raises(InputError, match="must have shape"):
        Reference.from_scribble(blobs(), photo, stroke[:30])


@pytest.mark.parametrize("pixels", [1, 3, CLICKS, 500])
def test_scribbles_of_any_length(pixels: int) -> None:
    segmenter = Segmenter(tiny(SAM))
    stroke = np.zeros(SIDE * SIDE, np.bool_)
    stroke[:pixels] = True
    found = Reference.from_scribble(segmenter, scene(), stroke.reshape(SIDE, SIDE))
    assert found.mask.ravel()[:pixels].all()


def test_a_box_becomes_the_object_in_it() -> None:
    segmenter = Segmenter(tiny(SAM))
    photo = scene((20, 20, GREEN))
    box = Prompts(boxes=torch.tensor([[10.0, 10.0, 30.0, 30.0]]))
    found = Reference.from_prompts(segmenter, photo, box)
    assert np.array_equal(found.mask, segmenter(photo, boxes=(10, 10, 30, 30)).binary()[0, 0])


def test_the_least_alike_reference_gives_the_threshold() -> None:
    segmenter = blobs()
    alone = learn(segmenter, [example(RED)]).threshold
    settings = PersonalizeSettings(references="nearest")
    assert learn(segmenter, [example(RED), example(BLUE)], settings).threshold < alone
