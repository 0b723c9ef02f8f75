"""How often the costly things are done in a run: counted, so that what was won is not lost unnoticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from methods.finetune.scene import data, settings

from maskwright.data import labels
from maskwright.methods.base import ItemKey
from maskwright.methods.finetune import items
from maskwright.methods.finetune.method import Finetune
from maskwright.models.registry import save
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.training.loop import train

PHOTOS, LOOKED = 8, 8
"""In the folder, and read once more before the first step, to see that they fit."""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Calls of the encoder (by photos), the decoder, and of what reads and warps files."""
    calls: Counter[str] = Counter()

    def count(owner: Any, name: str, number: Callable[..., int] = lambda *_: 1) -> None:
        plain = getattr(owner, name)

        def counting(*arguments: Any, **named: Any) -> Any:
            calls[name] += number(*arguments)
            return plain(*arguments, **named)

        monkeypatch.setattr(owner, name, counting)

    count(SAMHQ, "backbone", lambda _, pixels: len(pixels))
    count(SAMHQ, "decode")
    count(labels, "read_image")
    count(items, "warp_image")
    count(items, "warp_masks")
    return calls


def run(tmp_path: Path, photos: Path, sam: SAM, **changes: Any) -> None:
    """Two epochs in batches of four, one kind of prompt, two objects a photo."""
    chosen = settings(
        photos, model=str(save(sam, tmp_path / "sam.safetensors")), train="hq", prompts=("box",), steps=None,
        epochs=2, batch_size=4, masks_per_image=2, val_share=0.0, **changes,
    )  # fmt: skip
    train(Finetune(chosen), tmp_path / "run", quiet=True)


def test_with_the_cache_a_photo_is_encoded_once(
    tmp_path: Path, photos: Path, sam: SAM, counted: Counter[str]
) -> None:
    run(tmp_path, photos, sam, augment="none", cache="memory")
    assert counted["backbone"] == PHOTOS
    # All photos of a batch that share a kind of prompt are decoded at once.
    assert counted["decode"] == 2 * PHOTOS // 4
    assert counted["read_image"] == 2 * PHOTOS + LOOKED
    assert counted["warp_image"] == 2 * PHOTOS
    assert counted["warp_masks"] == 2 * 2 * PHOTOS


def test_without_it_once_an_epoch(tmp_path: Path, photos: Path, sam: SAM, counted: Counter[str]) -> None:
    run(tmp_path, photos, sam, augment="jitter")
    assert counted["backbone"] == 2 * PHOTOS
    assert counted["decode"] == 2 * PHOTOS // 4
    assert counted["read_image"] == 2 * PHOTOS + LOOKED
    assert counted["warp_image"] == 2 * PHOTOS


def test_no_more_masks_are_warped_than_are_asked_for(photos: Path, counted: Counter[str]) -> None:
    source = data(photos, masks_per_image=1, augment="none")
    source[ItemKey(0, 0, 42)]
    assert counted["read_image"] == counted["warp_image"] == counted["warp_masks"] == 1
