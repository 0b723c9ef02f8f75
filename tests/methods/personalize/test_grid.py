"""The masks of a grid of clicks: what they are, and that matching chooses among them."""

from __future__ import annotations

import numpy as np
import torch
from methods.personalize.blobs import BLUE, GREEN, RED, SIDE, Blobs, blobs, disc, example, scene

from maskwright.methods.personalize.config import PersonalizeSettings
from maskwright.methods.personalize.features import FeatureMap, own_features
from maskwright.methods.personalize.find import find
from maskwright.methods.personalize.grid import POINTS_PER_SIDE, ask_grid
from maskwright.methods.personalize.learn import learn
from maskwright.types import BoolArray, Geometry


def test_a_grid_has_every_object_and_no_specks() -> None:
    segmenter = blobs()
    embedding = segmenter.embed(scene((44, 50, RED), (14, 14, BLUE)))
    grid = ask_grid(segmenter, embedding, own_features(embedding), "sum")
    assert 0 < len(grid.points) <= 3 * POINTS_PER_SIDE**2
    found = grid.masks.binary()[:, 0]
    assert all(
        (mask == mask_of).mean() > 0.99
        for mask in (disc(44, 50),)
        for mask_of in found[_on(grid.points, mask)]
    )
    assert _on(grid.points, disc(44, 50)).any()
    assert (grid.cells.flatten(1).sum(dim=1) > 0).all()
    left = grid.without(disc(44, 50))
    assert 0 < len(left.points) < len(grid.points)
    assert not _on(left.points, disc(44, 50)).any()


def _on(points: torch.Tensor, mask: BoolArray) -> BoolArray:
    x, y = points.long().T.numpy()
    return np.asarray(mask[y, x])


def test_cells_of_a_square_are_those_of_the_mask() -> None:
    size = (40, 64)
    mask = np.zeros(size, np.bool_)
    mask[8:25, 10:37] = True
    geometry = Geometry(size, SIDE)
    features = FeatureMap(torch.zeros(3, 16, 16), geometry)
    square = geometry.to_low_res(torch.from_numpy(mask)[None].float(), SIDE)[0] > 0.5
    assert torch.equal(features.cells_of(square, geometry), features.cells(mask))
    stretched = FeatureMap(torch.zeros(3, 7, 7), Geometry(size, 56, "stretch"))
    assert torch.equal(stretched.cells_of(square, geometry), stretched.cells(mask))


def test_matching_encodes_once_and_finds_all_instances() -> None:
    segmenter = blobs()
    known = learn(segmenter, [example(RED)], PersonalizeSettings(method="match"))
    photo = scene((14, 50, RED), (44, 50, RED), (14, 14, BLUE), (44, 14, GREEN))
    model = segmenter.model
    assert isinstance(model, Blobs)
    before = model.encoded
    found = find(segmenter, photo, [known], instances=4)
    assert model.encoded == before + 1
    assert len(found) == 2
    assert {round(float(one.mask.nonzero()[1].mean())) for one in found} == {14, 44}
