"""The baselines: exact shapes for boxes and clicks, GrabCut's repeatability and its stand-in."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from maskwright.errors import InputError
from maskwright.methods import baselines
from maskwright.methods.baselines import baseline
from maskwright.metrics.regions import iou
from maskwright.types import BoolArray, Image, Prompts


def box_prompt(*box: float) -> Prompts:
    return Prompts(boxes=torch.tensor([box]))


def click_prompt(x: float, y: float, label: int = 1) -> Prompts:
    return Prompts(points=torch.tensor([[[x, y]]]), labels=torch.tensor([[label]]))


@pytest.fixture
def disc() -> tuple[Image, BoolArray]:
    """A red disc on a noisy green ground, 60 x 80, and its true mask."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :80]
    truth = (x - 40) ** 2 + (y - 30) ** 2 < 15**2
    pixels = np.where(truth[..., None], [200, 40, 40], [40, 180, 60]) + rng.integers(-20, 20, (60, 80, 3))
    return Image(pixels.astype(np.uint8)), truth


def test_box_is_filled_with_exclusive_far_edges(disc: tuple[Image, BoolArray]) -> None:
    mask = baseline("box").predict(disc[0], box_prompt(3, 5, 10, 6)).mask
    expected = np.zeros((60, 80), np.bool_)
    expected[5, 3:10] = True
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((3.2, 5.9, 9.1, 6.1), (5, 7), (3, 10)),
        ((-50, -9, 500, 900), (0, 60), (0, 80)),
        ((7, 7, 7, 7), (7, 8), (7, 8)),
        ((79.9, 59.9, 99, 99), (59, 60), (79, 80)),
        ((100, 100, 120, 120), (59, 60), (79, 80)),
    ],
)
def test_any_box_becomes_whole_pixels_inside_the_image(
    disc: tuple[Image, BoolArray],
    box: tuple[float, ...],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> None:
    mask = baseline("box").predict(disc[0], box_prompt(*box)).mask
    expected = np.zeros((60, 80), np.bool_)
    expected[slice(*rows), slice(*columns)] = True
    assert np.array_equal(mask, expected)


def test_ellipse_touches_the_box_and_has_its_area() -> None:
    image = Image(np.zeros((300, 400, 3), np.uint8))
    mask = baseline("ellipse").predict(image, box_prompt(50, 100, 350, 250)).mask
    assert cv2.boundingRect(mask.view(np.uint8)) == (50, 100, 300, 150)
    assert mask.sum() == pytest.approx(np.pi * 150 * 75, rel=1e-3)
    assert np.array_equal(mask, mask[:, ::-1])
    # A box of one pixel is that pixel.
    assert baseline("ellipse").predict(image, box_prompt(7, 8, 8, 9)).mask.sum() == 1


def test_a_click_gets_a_box_of_a_fixed_share_around_it() -> None:
    image = Image(np.zeros((100, 200, 3), np.uint8))
    mask = baseline("box").predict(image, click_prompt(100, 50)).mask
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    assert width == pytest.approx(baselines.CLICK_SHARE * 200, abs=1)
    assert height == pytest.approx(baselines.CLICK_SHARE * 100, abs=1)
    assert (x + width / 2, y + height / 2) == (100.5, 50.5)
    cut_off = baseline("box").predict(image, click_prompt(0, 0)).mask
    assert cut_off[0, 0]
    assert cut_off.sum() == pytest.approx(mask.sum() / 4, rel=0.1)


def test_grabcut_finds_a_plain_object(disc: tuple[Image, BoolArray]) -> None:
    image, truth = disc
    for prompt in (box_prompt(22, 12, 58, 48), click_prompt(40, 30)):
        found = baseline("grabcut").predict(image, prompt)
        assert float(iou(found.mask, truth)) > 0.95


def test_grabcut_is_repeatable(disc: tuple[Image, BoolArray]) -> None:
    noise = Image(np.random.default_rng(1).integers(0, 255, (60, 80, 3)).astype(np.uint8))
    first = baseline("grabcut").predict(noise, box_prompt(20, 10, 60, 50)).mask
    cv2.setRNGSeed(99)
    baseline("grabcut").predict(disc[0], box_prompt(20, 10, 60, 50))
    assert np.array_equal(first, baseline("grabcut").predict(noise, box_prompt(20, 10, 60, 50)).mask)


def test_grabcut_stays_inside_its_box(disc: tuple[Image, BoolArray]) -> None:
    mask = baseline("grabcut").predict(disc[0], box_prompt(30, 20, 45, 40)).mask
    assert not mask[:20].any()
    assert not mask[:, 45:].any()


def test_without_background_or_contrast_grabcut_finds_nothing(disc: tuple[Image, BoolArray]) -> None:
    flat = Image(np.full((40, 40, 3), 90, np.uint8))
    for image, prompt in ((disc[0], box_prompt(0, 0, 80, 60)), (flat, box_prompt(10, 10, 30, 30))):
        assert not baseline("grabcut").predict(image, prompt).mask.any()
        stand_in = baseline("grabcut-or-box").predict(image, prompt).mask
        assert np.array_equal(stand_in, baseline("box").predict(image, prompt).mask)


def test_what_cannot_be_answered_is_refused(disc: tuple[Image, BoolArray]) -> None:
    with pytest.raises(InputError, match="a box or a click on the object"):
        baseline("box").predict(disc[0], click_prompt(3, 3, label=0))
    with pytest.raises(InputError, match="Did you mean 'grabcut'"):
        baseline("grabcuts")
