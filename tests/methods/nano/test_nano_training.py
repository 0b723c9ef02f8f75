"""Nano's training: items are sound, losses mean what they say, a few steps on shapes teach it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from maskwright import load
from maskwright.errors import DatasetError
from maskwright.io.files import write_bytes
from maskwright.methods.base import ItemKey, StepContext
from maskwright.methods.nano.augment import PADDING, UNKNOWN_EDGE, make_item
from maskwright.methods.nano.config import NanoSettings, Source
from maskwright.methods.nano.method import NanoTraining
from maskwright.methods.nano.pool import Photo, pack
from maskwright.methods.nano.steps import corrective_clicks, edge_loss, mask_losses
from maskwright.types import Image, Sample


def photo(rng: np.random.Generator, *, partition: bool = True, trusted: bool = False) -> Photo:
    """A photo of a bright disc and a dark square on gray."""
    pixels = np.full((90, 120, 3), 128, np.uint8)
    labels = np.ones((90, 120), np.uint16)
    cv2.circle(pixels, (40, 45), 25, (230, 210, 200), -1)
    cv2.circle(labels, (40, 45), 25, 2, -1)
    pixels[20:60, 80:110], labels[20:60, 80:110] = (20, 40, 60), 3
    noisy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
    doubt = None
    if trusted:
        doubt = np.ones(labels.shape, bool)
        doubt[:, 60:] = False
    return Photo(noisy, (labels,), doubt, partition, "shapes")


@pytest.mark.parametrize("seed", range(20))
def test_items_are_sound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    item = make_item(photo(rng), photo(rng), rng, 96, 5)
    assert item is not None
    assert item.pixels.shape == (96, 96, 3)
    assert item.targets.shape == (5, 24, 24)
    assert set(np.unique(item.trusted)) <= {0, 1}
    assert set(np.unique(item.edges)) <= {0, 254, UNKNOWN_EDGE}
    for target, points, labels, box in zip(item.targets, item.points, item.labels, item.boxes, strict=True):
        given = labels >= 0
        assert given.any() or not np.isnan(box).any()
        for (x, y), label in zip(points[given], labels[given], strict=True):
            share = int(target[int(y) // 4, int(x) // 4])
            assert share > 0 if label else share < 255
        if not np.isnan(box).any():
            assert (box[2:] > box[:2]).all()
            assert box.min() >= 0
            assert box.max() <= 96


def test_the_same_random_numbers_give_the_same_item() -> None:
    rng = np.random.default_rng(0)
    shapes = photo(rng)
    first, second = (make_item(shapes, shapes, np.random.default_rng(5), 96, 4) for _ in range(2))
    assert first is not None
    assert second is not None
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(second, name))


def test_outside_the_photo_is_mean_colour_and_costs_nothing() -> None:
    rng = np.random.default_rng(0)
    tall = Photo(np.full((120, 30, 3), 200, np.uint8), (np.ones((120, 30), np.uint16),), None, False, "tall")
    for _ in range(30):
        item = make_item(tall, tall, rng, 96, 2)
        if item is None:
            continue
        outside = (item.pixels == PADDING).all(axis=2)
        cells = outside.reshape(24, 4, 24, 4).all(axis=(1, 3))
        assert not item.trusted[cells].any()


def test_segments_under_doubt_are_not_chosen() -> None:
    rng = np.random.default_rng(0)
    shapes = photo(rng, trusted=True, partition=False)
    bare = Photo(np.zeros((8, 8, 3), np.uint8), (np.zeros((8, 8), np.uint16),), None, False, "bare")
    for _ in range(20):
        item = make_item(shapes, bare, rng, 96, 3)
        if item is not None:
            assert ((item.targets > 127) & (item.trusted == 1)).any(axis=(1, 2)).all()


def test_annotators_of_one_photo_become_one_photo() -> None:
    image = Image(np.zeros((40, 60, 3), np.uint8), "a.jpg")
    masks = np.zeros((2, 40, 60), bool)
    masks[0, :, :30], masks[1, :, 30:] = True, True
    samples = [Sample(image, masks, (1, 2), f"a.jpg, annotator {k}", partition=True) for k in range(3)]
    (packed,) = pack(samples, longest_side=30)
    assert len(packed.maps) == 3
    assert packed.pixels.shape == (20, 30, 3)
    assert packed.maps[0].tolist() == [[1] * 15 + [2] * 15] * 20


def test_a_perfect_answer_costs_little_and_doubtful_cells_cost_nothing() -> None:
    target = torch.zeros(1, 1, 1, 8, 8)
    target[..., :4] = 1
    trusted = torch.ones(1, 1, 1, 8, 8)
    logits = (target * 2 - 1) * 20
    assert float(mask_losses(logits, target, trusted)) < 1e-3
    wrong = logits.clone()
    wrong[..., 7] *= -1
    assert float(mask_losses(wrong, target, trusted)) > 1
    trusted[..., 7] = 0
    assert float(mask_losses(wrong, target, trusted)) < 1e-3


def test_corrective_clicks_fall_on_errors_and_name_them() -> None:
    target = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    target[0, 0, :, :4] = True
    answer = torch.zeros_like(target)
    answer[0, 1, 2, 5] = True
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        click, label = corrective_clicks(answer, target, torch.ones_like(target), generator)
        assert label.tolist() == [[1, 0]]
        assert click[0, 0, 0] < 4
        assert click[0, 1].tolist() == [5, 2]
    _, label = corrective_clicks(target, target, torch.ones_like(target), generator)
    assert label.tolist() == [[-1, -1]]


def test_the_outline_loss_ignores_what_is_unknown() -> None:
    logits = torch.randn(1, 6, 6, requires_grad=True)
    loss = edge_loss(logits, torch.full((1, 6, 6), UNKNOWN_EDGE, dtype=torch.uint8))
    assert loss.item() == 0
    edges = torch.zeros(1, 6, 6, dtype=torch.uint8)
    edges[0, 2] = 254
    good, bad = ((edges.float() / 254 * 2 - 1) * scale for scale in (10, -10))
    assert float(edge_loss(good, edges)) < 0.01 < float(edge_loss(bad, edges))


def folder_of_shapes(root: Path, empty: bool = False) -> None:
    rng = np.random.default_rng(0)
    for index in range(6):
        shapes = photo(rng)
        labels = np.zeros_like(shapes.maps[0]) if empty else shapes.maps[0] - 1
        for folder, array in (("images", shapes.pixels[..., ::-1]), ("labels", labels)):
            encoded = cv2.imencode(".png", array)[1].tobytes()
            (root / "shapes" / folder).mkdir(parents=True, exist_ok=True)
            write_bytes(root / "shapes" / folder / f"{index}.png", encoded)


def settings(root: Path) -> NanoSettings:
    return NanoSettings(
        root=root,
        sources=(Source(data="labels:shapes", weight=1, donor=1),),
        validation=("labels:shapes",),
        sides=((0, 64),),
        prediction_side=96,
        batch_size=4,
        steps=5,
        segments=2,
        photos_per_epoch=20,
    )


def test_a_few_steps_lower_the_loss_and_the_export_loads(tmp_path: Path) -> None:
    folder_of_shapes(tmp_path)
    torch.manual_seed(0)
    method = NanoTraining(settings(tmp_path))
    data = method.training_data()
    optimizer = torch.optim.AdamW(method.model.parameters(), lr=1e-3)
    losses = []
    for step in range(14):
        batch = data.collate([data[ItemKey(4 * step + i, 0, 0)] for i in range(4)])
        result = method.training_step(batch, StepContext(step, 14, torch.Generator().manual_seed(step)))
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
        losses.append(float(result["loss"].detach()))
        assert all(p.grad is not None for p in method.model.parameters()), "every parameter must learn"
    assert np.mean(losses[-3:]) < 0.85 * np.mean(losses[:3])
    with torch.no_grad():
        metrics = method.evaluate()
    assert set(metrics) == {"box_iou", "box_boundary_iou", "point_iou", "point_boundary_iou"}
    path = method.export(tmp_path / "model", metrics)
    assert load(path, device="cpu").model.image_size == 96


def test_photos_without_a_usable_segment_are_named(tmp_path: Path) -> None:
    root = tmp_path
    folder_of_shapes(root)
    data = NanoTraining(settings(root)).training_data()
    blank = Photo(np.zeros((64, 64, 3), np.uint8), (np.zeros((64, 64), np.uint16),), None, False, "blank.png")
    data.photos = [blank] * len(data.photos)
    with pytest.raises(DatasetError, match=r"blank\.png"):
        data[ItemKey(0, 0, 0)]
