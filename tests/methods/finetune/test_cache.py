"""Embeddings that are computed once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from methods.finetune.scene import SIDE, settings

from maskwright.methods.finetune.cache import EmbeddingCache
from maskwright.methods.finetune.method import Finetune
from maskwright.methods.finetune.parts import encoder_signature
from maskwright.models.hq_layers import add_hq_layers
from maskwright.models.registry import save
from maskwright.models.sam import SAM
from maskwright.training.loop import train


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_embeddings_are_computed_once_and_never_reused_for_another_model(
    tmp_path: Path, sam: SAM, place: str
) -> None:
    model = add_hq_layers(sam)
    folder = tmp_path / "embeddings" if place == "disk" else None
    cache = EmbeddingCache(encoder_signature(model), folder)
    pixels = torch.randn(3, 3, SIDE, SIDE)
    encode = model.backbone
    first, second = cache.features(pixels, encode), cache.features(pixels.flip(0), encode)
    assert cache.computed == 3
    assert torch.equal(first.image, second.image.flip(0))
    assert first.early is not None
    assert second.early is not None
    assert torch.equal(first.early, second.early.flip(0))
    assert torch.allclose(first.image, model.encode(pixels).image, atol=1e-5)
    cache.features(pixels + 1e-3, encode)
    assert cache.computed == 6
    with torch.no_grad():
        model.net.vision_encoder.pos_embed.add_(0.1)
    other = EmbeddingCache(encoder_signature(model), folder)
    assert not torch.equal(other.features(pixels, encode).image, first.image)
    if folder is not None:
        for path in folder.iterdir():
            path.write_bytes(b"damaged")
        again = EmbeddingCache(encoder_signature(model), folder)
        again.features(pixels, encode)
        assert again.computed == 3


def test_cached_training_is_the_same_training(tmp_path: Path, photos: Path, sam: SAM) -> None:
    path = str(save(sam, tmp_path / "sam.safetensors"))
    shared = {"model": path, "train": "hq", "augment": "flip", "batch_size": 1, "steps": 4, "val_share": 0.0}
    plain = Finetune(settings(photos, **shared, cache="off"))
    cached = Finetune(settings(photos, **shared, cache="disk"), tmp_path / "embeddings")
    usual = Finetune(settings(photos, **shared))
    for name, method in (("plain", plain), ("cached", cached), ("usual", usual)):
        train(method, tmp_path / name, quiet=True)
    assert plain.cache is None
    assert usual.cache is not None
    assert usual.cache.kept
    ours = plain.model.state_dict()
    for theirs in (cached.model.state_dict(), usual.model.state_dict()):
        assert all(torch.allclose(value, theirs[name], atol=1e-6) for name, value in ours.items())
    assert any((tmp_path / "embeddings").iterdir())


def test_a_quarter_of_the_memory_stays_free(monkeypatch: pytest.MonkeyPatch, sam: SAM) -> None:
    cache = EmbeddingCache("some model", None)
    pixels = torch.randn(1, 3, SIDE, SIDE)
    encode = sam.backbone
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=100, available=20))
    first = cache.features(pixels, encode)
    assert not cache.kept
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=100, available=30))
    assert torch.equal(cache.features(pixels, encode).image, first.image)
    assert len(cache.kept) == 1
