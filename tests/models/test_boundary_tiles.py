"""Tiles: their weights, and that they give a convolutional model's logits of the whole image."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_boundary
from torch import Tensor, nn

from maskwright.models import boundary_detector
from maskwright.models.boundary import BoundaryModel
from maskwright.models.boundary_detector import BoundaryDetector
from maskwright.models.boundary_tiles import tile_axis
from maskwright.types import ByteArray


class Pyramid(BoundaryModel):
    """Convolutions at strides 2 and 4 and back to stride 2, with norms as after training."""

    family: ClassVar[str] = "pyramid"

    def __init__(self) -> None:
        super().__init__()
        self.multiple = self.cell = self.smallest = 4
        # 1 for the first convolution, 2 for the second, 4 for each of those at stride 4, and its enlarging.
        self.reach = 1 + 2 + 2 * 4 + 4
        self.down = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.GELU())
        self.deep = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, 8, 3, 1, 1), nn.GELU())
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.last = nn.Conv2d(12, 1, 1)
        self.areas: list[int] = []
        self.limit = 10**9

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        """Logits at stride 2; refuses what does not fit the memory."""
        area = pixels_B3HW.shape[-1] * pixels_B3HW.shape[-2]
        if area > self.limit:
            raise torch.OutOfMemoryError
        self.areas.append(area)
        fine = self.down(pixels_B3HW)
        logits: Tensor = self.last(torch.cat([fine, self.up(self.deep(fine))], dim=1))
        return logits

    def config_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The one there is."""
        return cls(**config)


def pyramid(seed: int = 0) -> Pyramid:
    torch.manual_seed(seed)
    model = Pyramid()
    with torch.no_grad():
        model.last.weight.mul_(10)
        model.get_buffer("down.1.running_var").uniform_(0.5, 1)
    return model


def noise(height: int, width: int, seed: int = 0) -> ByteArray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(
    length=st.integers(1, 3000).map(lambda n: 4 * n),
    cells=st.integers(2, 40),
    cell=st.sampled_from([4, 8, 32]),
    reach=st.integers(0, 300),
)
@settings(max_examples=200, deadline=None)
def test_tiles_cover_an_axis_and_their_weights_add_up_to_one(
    length: int, cells: int, cell: int, reach: int
) -> None:
    tile = cells * cell
    parts = tile_axis(length, tile, cell, reach)
    total = np.zeros(length)
    for part in parts:
        assert part.start % cell == 0
        assert 0 <= part.start < part.stop <= length
        assert part.stop - part.start <= tile
        assert len(part.weight) == part.stop - part.start
        total[part.start : part.stop] += part.weight
        if part.stop < length and reach <= tile // 4:
            assert not part.weight[len(part.weight) - reach :].any() or reach == 0
        if part.start > 0 and reach <= tile // 4:
            assert not part.weight[:reach].any()
    np.testing.assert_allclose(total, 1, atol=1e-5)


@pytest.mark.parametrize(("size", "tile"), [((301, 417), 128), ((95, 700), 96), ((257, 64), 100)])
def test_a_convolutional_model_gives_the_same_in_tiles(size: tuple[int, int], tile: int) -> None:
    model = pyramid()
    detector = BoundaryDetector(model)
    image = noise(*size)
    whole = detector(image)
    count = len(model.areas)
    tiled = detector(image, tile=tile)
    assert len(model.areas) > count + 2
    assert max(model.areas[count:]) <= tile**2
    assert whole.std() > 0.1
    np.testing.assert_allclose(tiled, whole, atol=3e-6)


def test_tiles_of_a_resized_image_and_of_proportions() -> None:
    detector = BoundaryDetector(pyramid())
    image = noise(150, 231)
    for keep in (False, True):
        whole, tiled = (detector(image, resolution=402, keep_aspect=keep, tile=t) for t in (None, 128))
        np.testing.assert_allclose(tiled, whole, atol=3e-6)


def test_the_stated_reach_is_that_of_the_gradient() -> None:
    model = pyramid().eval()
    x = torch.randn(1, 3, 96, 96, requires_grad=True)
    model(x)[0, 0, 24, 24].backward()
    assert x.grad is not None
    rows = x.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert rows[0] >= 48 - model.reach
    assert rows[-1] <= 49 + model.reach


def test_attention_gives_nearly_the_same_and_no_seams() -> None:
    model = tiny_boundary()
    model.reach = 32
    detector = BoundaryDetector(model)
    rows, columns = np.mgrid[:320, :384]
    image = np.stack([rows % 97 * 2, columns % 61 * 4, (rows + columns) % 250], -1).astype(np.uint8)
    whole, tiled = detector(image), detector(image, tile=192)
    assert np.corrcoef(whole.ravel(), tiled.ravel())[0, 1] > 0.9
    # Nowhere does the difference jump more than logits one cell apart may.
    difference = tiled - whole
    steps = [np.abs(np.diff(values, axis=axis)).max() for values in (difference, whole) for axis in (0, 1)]
    assert max(steps[:2]) < max(steps[2:])


def test_large_images_go_in_tiles_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary_detector, "WHOLE", 200 * 200)
    monkeypatch.setattr(boundary_detector, "TILE", 128)
    model = pyramid()
    BoundaryDetector(model)([noise(200, 200), noise(204, 200)])
    assert max(model.areas[1:]) <= 128**2


def test_when_memory_runs_out_tiles_become_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary_detector, "SMALLEST_TILE", 64)
    model, image = pyramid(), noise(300, 260)
    expected = BoundaryDetector(model)(image)
    model.areas.clear()
    model.limit = 100 * 100
    found = BoundaryDetector(model)([image, image])
    assert max(model.areas) <= model.limit
    for one in found:
        np.testing.assert_allclose(one, expected, atol=3e-6)
    model.limit = 10
    with pytest.raises(torch.OutOfMemoryError):
        BoundaryDetector(model)(image)


def test_the_memory_of_the_model_does_not_grow_with_the_image() -> None:
    model = pyramid()
    detector = BoundaryDetector(model)
    detector(noise(200, 3000), tile=128)
    assert max(model.areas) <= 128**2
