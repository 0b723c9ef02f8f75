"""What training items look like, and how they are put together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from methods.finetune.scene import SIDE, data, settings

from maskwright.errors import DatasetError
from maskwright.methods.base import ItemKey, StepContext
from maskwright.methods.finetune.items import Batch, Frame
from maskwright.methods.finetune.method import Finetune
from maskwright.models.sam import SAM


@pytest.mark.parametrize("prompt", ["box", "jittered_box", "click", "points", "mask"])
@pytest.mark.parametrize("augment", ["jitter", "flip", "none"])
def test_items_are_repeatable_and_prompts_lie_on_their_objects(
    photos: Path, prompt: str, augment: str
) -> None:
    source = data(photos, prompts=(prompt,), augment=augment)
    for index in range(4):
        key = ItemKey(index, 0, 1)
        item, again = source[key], source[key]
        assert torch.equal(item.pixels, again.pixels)
        assert torch.equal(item.masks, again.masks)
        assert item.valid
        assert item.pixels.shape == (3, SIDE, SIDE)
        assert item.masks.shape == (3, SIDE, SIDE)
        prompts = item.prompts
        if prompts.points is not None:
            assert prompts.points.shape == (3, 10 if prompt == "points" else 1, 2)
            for mask, points in zip(item.masks, prompts.points.long(), strict=True):
                assert mask[points[:, 1], points[:, 0]].all()
        if prompts.boxes is not None:
            assert prompts.boxes.shape == (3, 4)
            slack = 0 if prompt == "box" else 20
            for mask, box in zip(item.masks, prompts.boxes, strict=True):
                rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
                tight = torch.cat([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
                assert (box - tight).abs().max() <= slack
        if prompts.masks is not None:
            assert prompts.masks.shape == (3, 16, 16)
            assert set(prompts.masks.unique().tolist()) <= {-10.0, 10.0}


def test_photo_and_masks_move_together_and_outside_is_zero(photos: Path) -> None:
    for augment in ("jitter", "flip", "none"):
        source = data(photos, augment=augment, color=False, scale=(0.5, 1.0))
        for index in range(8):
            item = source[ItemKey(index, 3, 1)]
            bright = item.pixels.mean(dim=0)
            union = item.masks.any(dim=0)
            assert bright[union].mean() > 0.5
            assert (item.pixels[:, -1, :] == 0).all()  # a 48 x 64 photo leaves the last rows empty


def test_without_augmentation_the_pixels_are_those_of_inference(photos: Path, sam: SAM) -> None:
    from maskwright.io.images import read_image
    from maskwright.models.preprocess import preprocess

    source = data(photos, augment="none")
    source.frame = Frame.of(sam)
    for index in range(3):
        expected, _ = preprocess(read_image(source.source(index)), sam)
        assert (source[ItemKey(index, 0, 1)].pixels - expected).abs().max() < 0.05


def test_epochs_and_seeds_differ(photos: Path) -> None:
    source = data(photos)
    items = [source[ItemKey(0, epoch, seed)].pixels for epoch in (0, 1) for seed in (1, 2)]
    assert all(not torch.equal(a, b) for i, a in enumerate(items) for b in items[:i])


def test_groups_hold_the_photos_of_one_kind(photos: Path) -> None:
    source = data(photos)
    items = [source[ItemKey(index, 0, 1)] for index in range(8)]
    batch = source.collate(items)
    assert isinstance(batch, Batch)
    assert sorted(int(i) for index, _ in batch.groups for i in index) == list(range(8))
    for index, prompts in batch.groups:
        assert len({items[int(i)].kind for i in index}) == 1
        assert prompts.shape == (len(index), 3)
    assert batch.to("cpu").pixels.shape == (8, 3, SIDE, SIDE)


def test_a_photo_without_objects_counts_nothing(photos: Path, nano: Path) -> None:
    source = data(photos, min_area=0.9)
    items = [source[ItemKey(index, 0, 1)] for index in range(2)]
    assert not any(item.valid for item in items)
    with pytest.raises(DatasetError, match=r"none of the first 8 photos.*min_area"):
        source.check()
    method = Finetune(settings(photos, model=str(nano)))
    losses = method.training_step(source.collate(items), StepContext(0, 1, torch.Generator().manual_seed(0)))
    assert float(losses["loss"].detach()) == 0
    losses["loss"].backward()
    gradients = [p.grad for p in method.model.parameters() if p.grad is not None]
    assert all(bool(g.isfinite().all()) and not g.any() for g in gradients)
