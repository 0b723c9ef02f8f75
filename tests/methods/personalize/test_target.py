"""What was learned as a file: the same afterwards, bit for bit, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from methods.personalize.blobs import GREEN, RED, blobs, example, scene
from models.tiny import tiny
from safetensors import safe_open
from torch import Tensor

from maskwright.errors import FileError, InputError, WeightsError
from maskwright.io.weights import write_safetensors
from maskwright.methods.personalize.config import MethodName, PersonalizeSettings
from maskwright.methods.personalize.find import find
from maskwright.methods.personalize.learn import KEPT, learn
from maskwright.methods.personalize.reference import Reference
from maskwright.methods.personalize.target import Target
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.segmenter import Segmenter
from maskwright.types import Image

METHODS: tuple[MethodName, ...] = get_args(MethodName)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(tiny(SAMHQ))


@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_target_finds_the_very_same(
    segmenter: Segmenter, tmp_path: Path, method: MethodName
) -> None:
    settings = PersonalizeSettings(method=method, parts=3, references="nearest", guidance="official")
    target = learn(segmenter, [example(), example(GREEN)], settings, name="Röte 1/2")
    path = target.save(tmp_path / "red.safetensors")
    assert path.stat().st_size < 200_000
    again = Target.load(path)
    assert (again.name, again.settings, again.threshold) == ("Röte 1/2", settings, target.threshold)
    assert again.digest == target.digest
    photo = scene((40, 40, RED), (15, 20, GREEN), size=(50, 70))
    first, second = (find(segmenter, photo, [one], threshold=-1, instances=2) for one in (target, again))
    assert [one.similarity for one in first] == [one.similarity for one in second]
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.masks.low_res, other.masks.low_res)
        assert torch.equal(one.points, other.points)


def test_it_says_what_decides() -> None:
    """Another threshold, setting, tensor or model is another digest; the name is not part of it."""
    from dataclasses import replace

    target = learn(blobs(), [example()])
    others = [
        replace(target, threshold=0.1),
        replace(target, settings=PersonalizeSettings(references="nearest")),
        replace(target, vectors=target.vectors + 1e-6),
        replace(target, model="another"),
        replace(target, localizer="dino:1"),
    ]
    assert len({target.digest, *(other.digest for other in others)}) == 6
    assert replace(target, name="x").digest == target.digest


def test_a_large_object_stays_a_small_file(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    target = learn(blobs(), [Reference(Image(photo), np.ones((64, 64), np.bool_))])
    assert len(target.object) == KEPT
    assert target.save(tmp_path / "t.safetensors").stat().st_size < 20_000


@pytest.fixture
def parts(tmp_path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a good file."""
    target = learn(blobs(), [example()], PersonalizeSettings(method="persam-f"))
    path = target.save(tmp_path / "good.safetensors")
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata())


def load(folder: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Target:
    write_safetensors(folder / "t.safetensors", tensors, metadata)
    return Target.load(folder / "t.safetensors")


def test_the_good_file_is_good(parts: tuple[dict[str, Tensor], dict[str, str]], tmp_path: Path) -> None:
    load(tmp_path, *parts)


@pytest.mark.parametrize("key", ["embedding", "center", "vectors", "object", "scales"])
def test_a_missing_tensor_is_named(
    parts: tuple[dict[str, Tensor], dict[str, str]], tmp_path: Path, key: str
) -> None:
    tensors, metadata = parts
    del tensors[key]
    with pytest.raises(WeightsError, match=rf"t\.safetensors is damaged.*{key}.*Learn the object again"):
        load(tmp_path, tensors, metadata)


@pytest.mark.parametrize("key", ["name", "model", "localizer", "settings", "threshold"])
def test_missing_metadata_are_named(
    parts: tuple[dict[str, Tensor], dict[str, str]], tmp_path: Path, key: str
) -> None:
    tensors, metadata = parts
    del metadata[key]
    with pytest.raises(WeightsError, match=rf"is damaged.*{key}"):
        load(tmp_path, tensors, metadata)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": "{"},
        {"settings": '{"method": "magic"}'},
        {"settings": '{"method": "parts"}'},
        {"threshold": "high"},
        {"threshold": "nan"},
        {"threshold": "7"},
        {"localizer": "{"},
        {"localizer": "5"},
    ],
)
def test_metadata_that_make_no_sense(
    parts: tuple[dict[str, Tensor], dict[str, str]], tmp_path: Path, change: dict[str, str]
) -> None:
    tensors, metadata = parts
    with pytest.raises(WeightsError, match="is damaged"):
        load(tmp_path, tensors, metadata | change)


@pytest.mark.parametrize(
    "change",
    [
        {"vectors": torch.zeros(3)},
        {"vectors": torch.zeros(0, 3)},
        {"vectors": torch.zeros(1, 4)},
        {"object": torch.zeros(0, 3)},
        {"center": torch.zeros(1, 3)},
        {"scales": torch.zeros(3, 3)},
        {"parts.x": torch.zeros(1, 3)},
        {"parts.2": torch.zeros(2, 4)},
    ],
)
def test_tensors_of_other_shapes(
    parts: tuple[dict[str, Tensor], dict[str, str]], tmp_path: Path, change: dict[str, Tensor]
) -> None:
    tensors, metadata = parts
    with pytest.raises(WeightsError, match="is damaged"):
        load(tmp_path, tensors | change, metadata)


def test_another_version_says_so(parts: tuple[dict[str, Tensor], dict[str, str]], tmp_path: Path) -> None:
    tensors, metadata = parts
    with pytest.raises(WeightsError, match=r"another version \(format 2, not 1\): update"):
        load(tmp_path, tensors, metadata | {"version": "2"})


def test_files_that_are_no_target(parts: tuple[dict[str, Tensor], dict[str, str]], tmp_path: Path) -> None:
    tensors, _ = parts
    with pytest.raises(WeightsError, match="is no personalised object; `maskwright personalize"):
        load(tmp_path, tensors, {})
    with pytest.raises(FileError, match="nothing"):
        Target.load(tmp_path / "nothing.safetensors")
    (tmp_path / "text.safetensors").write_text("hello, this is no model")
    with pytest.raises(WeightsError, match=r"text\.safetensors"):
        Target.load(tmp_path / "text.safetensors")
    whole = (tmp_path / "good.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"cut\.safetensors"):
        Target.load(tmp_path / "cut.safetensors")
    torch.save(tensors, tmp_path / "plain.pth")
    with pytest.raises(WeightsError, match="is no personalised object"):
        Target.load(tmp_path / "plain.pth")
    torch.save({"settings": PersonalizeSettings()}, tmp_path / "code.pth")
    with pytest.raises(WeightsError, match=r"code\.pth.*refused"):
        Target.load(tmp_path / "code.pth")


def test_scales_for_other_masks_are_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    """A file that was changed by hand: the model has other scales than it has weights."""
    from dataclasses import replace

    target = learn(segmenter, [example()], PersonalizeSettings(method="persam-f"))
    with pytest.raises(InputError, match="weights of 2 scales"):
        find(segmenter, scene(), [replace(target, scales=torch.ones(2) / 2)])
