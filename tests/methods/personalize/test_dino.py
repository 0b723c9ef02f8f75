"""DINO's features, from tiny random models in folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.personalize.blobs import RED, blobs, example, scene
from transformers import AutoConfig, AutoModel, ViTConfig, ViTModel

from maskwright.errors import InputError, MaskwrightError, OfflineError, WeightsError
from maskwright.methods.personalize.config import PersonalizeSettings
from maskwright.methods.personalize.dino import DINO, MODEL_TYPES
from maskwright.methods.personalize.find import find
from maskwright.methods.personalize.learn import learn
from maskwright.methods.personalize.target import Target
from maskwright.types import Image

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 56}
SIZES |= {"intermediate_size": 32}


def save_dino(folder: Path, kind: str = "dinov2", seed: int = 0, **changes: Any) -> Path:
    torch.manual_seed(seed)
    patch = {"patch_size": 16 if kind == "dinov3_vit" else 14}
    config = AutoConfig.for_model(kind, **(SIZES | patch | changes))
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dino(tmp_path_factory.mktemp("dino"))


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_features_are_of_the_patches(tmp_path: Path, kind: str) -> None:
    dino = DINO.load(str(save_dino(tmp_path / kind, kind)), device="cpu")
    photo = Image(scene((20, 20, RED), size=(50, 80)))
    found = dino.features(photo)
    cells = 32 if kind == "dinov3_vit" else 37
    assert found.values.shape == (16, cells, cells)
    assert found.geometry.size == (50, 80)
    assert found.inside.all()
    assert torch.equal(found.values, dino.features(photo).values)
    # Cells lie where the image has them: a change in one corner changes that corner most.
    pixels = photo.pixels.copy()
    pixels[:6, 70:] = 255
    change = (dino.features(Image(pixels)).values - found.values).norm(dim=0)
    row, column = divmod(int(change.argmax()), cells)
    assert row <= cells // 6
    assert column >= cells * 5 // 6


def test_an_object_is_found_by_its_features(folder: Path, tmp_path: Path) -> None:
    dino, segmenter = DINO.load(str(folder), device="cpu"), blobs()
    for method in ("persam", "persam-f", "parts", "match"):
        settings = PersonalizeSettings(method=method, parts=2)
        target = learn(segmenter, [example()], settings, localizer=dino)
        assert target.localizer == dino.signature
        assert target.vectors.shape[1] == 16
        assert target.embedding.shape == (3,)
        photo = scene((40, 40, RED), size=(50, 70))
        again = Target.load(target.save(tmp_path / "t.safetensors"))
        first, second = (
            find(segmenter, photo, [one], localizer=dino, threshold=-1) for one in (target, again)
        )
        assert np.array_equal(first[0].mask, second[0].mask)
        assert first[0].similarity == second[0].similarity


def test_the_same_features_are_needed_again(folder: Path, tmp_path: Path) -> None:
    dino, segmenter = DINO.load(str(folder), device="cpu"), blobs()
    with_dino, without = learn(segmenter, [example()], localizer=dino), learn(segmenter, [example()])
    with pytest.raises(InputError, match=r"features of .*, not of the model itself"):
        find(segmenter, scene(), [with_dino])
    with pytest.raises(InputError, match="features of the model itself, not of"):
        find(segmenter, scene(), [without], localizer=dino)
    with pytest.raises(InputError, match="give the image itself"):
        find(segmenter, segmenter.embed(scene()), [with_dino], localizer=dino)
    other = DINO.load(str(save_dino(tmp_path / "other", seed=1)), device="cpu")
    with pytest.raises(InputError, match="give the same"):
        find(segmenter, scene(), [with_dino], localizer=other)
    moved = folder.rename(tmp_path / "moved")
    find(segmenter, scene(), [with_dino], localizer=DINO.load(str(moved), device="cpu"))
    moved.rename(folder)


def test_models_in_half_precision_are_computed_in_full(tmp_path: Path) -> None:
    half = DINO.load(str(save_dino(tmp_path / "whole")), device="cpu").net.half()
    half.save_pretrained(tmp_path / "half")
    dino = DINO.load(str(tmp_path / "half"), device="cpu")
    assert dino.features(Image(scene())).values.dtype == torch.float32


class TestWhatIsRefused:
    def load(self, folder: Path) -> None:
        DINO.load(str(folder), device="cpu")

    def test_another_model(self, tmp_path: Path) -> None:
        sizes = {key: value for key, value in SIZES.items() if key != "patch_size"}
        ViTModel(ViTConfig(**sizes, patch_size=14)).save_pretrained(tmp_path)
        with pytest.raises(InputError, match="is a vit, no DINO"):
            self.load(tmp_path)

    @pytest.mark.parametrize(
        "config",
        [
            None,
            "{",
            "[]",
            "{}",
            '{"model_type": "unheard-of"}',
            '{"model_type": "unheard-of", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}',
        ],
    )
    def test_a_folder_without_a_model(self, tmp_path: Path, config: str | None) -> None:
        if config is not None:
            (tmp_path / "config.json").write_text(config)
            (tmp_path / "evil.py").write_text("raise SystemExit('code of a model was run')")
        with pytest.raises(MaskwrightError, match=tmp_path.name):
            self.load(tmp_path)

    def test_what_is_nowhere(self) -> None:
        with pytest.raises(OfflineError, match="not here"):
            DINO.load("nobody/has-this-model", offline=True)

    def test_pickled_weights(self, folder: Path, tmp_path: Path) -> None:
        torch.save(AutoModel.from_pretrained(folder).state_dict(), tmp_path / "pytorch_model.bin")
        (tmp_path / "config.json").write_text((folder / "config.json").read_text())
        with pytest.raises(WeightsError, match="safetensors"):
            self.load(tmp_path)

    def test_damaged_weights(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text((folder / "config.json").read_text())
        whole = (folder / "model.safetensors").read_bytes()
        for content in (b"", b"hello", whole[:200], whole[: len(whole) // 2]):
            (tmp_path / "model.safetensors").write_bytes(content)
            with pytest.raises(WeightsError):
                self.load(tmp_path)

    def test_weights_of_another_size(self, folder: Path, tmp_path: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
        for change in ({"hidden_size": 24}, {"num_hidden_layers": 2}):
            (tmp_path / "config.json").write_text(json.dumps(config | change))
            with pytest.raises(WeightsError):
                self.load(tmp_path)
