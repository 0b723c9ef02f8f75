"""Loading by name and path, saving, folders of transformers and converting to them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.sam import SamModel
from transformers.models.sam2 import Sam2Model
from transformers.models.sam2_video import Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam_hq import SamHQModel

from maskwright import runtime
from maskwright.errors import InputError, OfflineError, WeightsError
from maskwright.io.weights import write_safetensors
from maskwright.models.base import MaskModel
from maskwright.models.convert import write_transformers
from maskwright.models.nano import Nano, NanoConfig
from maskwright.models.registry import count_parameters, load, read, save
from maskwright.models.segmenter import Segmenter

GOLDEN = {"sam.pth": SamModel, "sam_hq.pth": SamHQModel, "sam2.pt": Sam2Model}


def golden(root: Path, name: str) -> Segmenter:
    return load(root / name, num_heads=8 if name == "sam2.pt" else 2, device="cpu")


def assert_same(one: MaskModel, other: MaskModel) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert one.config_dict() == other.config_dict()


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("target", ["model.safetensors", "run/best"])
def test_our_own_checkpoints_round_trip(golden_root: Path, tmp_path: Path, name: str, target: str) -> None:
    segmenter = golden(golden_root, name)
    file = save(segmenter, tmp_path / target)
    assert file.is_file()
    again = load(tmp_path / target, device="cpu")
    assert_same(segmenter.model, again.model)
    assert not again.model.training


def test_nano_is_stored_in_half_precision_and_loaded_in_single(tmp_path: Path) -> None:
    model = Nano(NanoConfig(image_size=64, depth=1))
    path = save(model, tmp_path / "nano.safetensors", dtype=torch.float16)
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    again = load(path, device="cpu").model
    assert {tensor.dtype for tensor in again.state_dict().values()} == {torch.float32}
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value.half().float())
    assert again.config_dict() == model.config_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "2"}, "checkpoint version '2', but this release reads '1'"),
        (
            {"family": "yolo"},
            "unknown family 'yolo'; known are sam, sam_hq, sam2, mobile_sam, mobile_sam_hq, nano",
        ),
        ({"config": "{"}, "is not JSON"),
        ({"config": "[1]"}, "the configuration is a list"),
        ({"config": '{"image_size": 64, "_target_": "os.system"}'}, "no nano model has this configuration"),
        ({"config": '{"depth": 100000000}'}, "depth = '100000000' is not a possible setting"),
        ({"family": "sam", "config": '{"model_type": "sam2"}'}, "its configuration is of 'sam2'"),
        ({"config": '{"image_size": 64, "depth": 2}'}, "missing"),
    ],
)
def test_a_wrong_own_checkpoint_is_refused(tmp_path: Path, change: dict[str, str], message: str) -> None:
    config = {"image_size": 64, "depth": 1}
    metadata = {"format": "maskwright", "version": "1", "family": "nano", "config": json.dumps(config)}
    state = Nano(NanoConfig(**config)).state_dict()
    write_safetensors(tmp_path / "m.safetensors", state, metadata | change)
    with pytest.raises(WeightsError, match=message) as caught:
        load(tmp_path / "m.safetensors", device="cpu")
    assert "m.safetensors" in str(caught.value)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_converted_folder_loads_here_and_in_transformers(
    golden_root: Path, tmp_path: Path, name: str
) -> None:
    segmenter = golden(golden_root, name)
    checkpoint = read(golden_root / name, num_heads=8 if name == "sam2.pt" else 2)
    files = write_transformers(checkpoint, tmp_path / "out", name)
    assert [file.name for file in files] == ["model.safetensors", "config.json"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
    assert_weights(segmenter.model, load(tmp_path / "out", device="cpu").model)
    theirs, report = GOLDEN[name].from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ours = segmenter.model.state_dict()
    assert all(torch.equal(ours[f"net.{key}"], value) for key, value in theirs.state_dict().items())
    if name != "sam2.pt":
        assert theirs.mask_decoder.transformer.layers[0].layer_norm1.eps == 1e-5


def assert_weights(one: MaskModel, other: MaskModel) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_published_folder_gets_the_originals_eps(golden_root: Path, tmp_path: Path) -> None:
    write_transformers(read(golden_root / "sam.pth", num_heads=2), tmp_path, "sam.pth")
    config = json.loads((tmp_path / "config.json").read_text())
    config["mask_decoder_config"]["layer_norm_eps"] = 1e-6
    # What transformers 4 wrote into every part of a configuration.
    config["vision_config"] |= {"length_penalty": 1.0, "torch_dtype": "float32", "intermediate_size": 6144}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model: Any = load(tmp_path, device="cpu").model
    assert model.net.mask_decoder.transformer.layers[0].layer_norm1.eps == 1e-5


def test_a_video_folder_of_sam2_is_an_image_model(golden_root: Path, tmp_path: Path) -> None:
    image: Any = golden(golden_root, "sam2.pt").model
    parts = {key: value for key, value in image.config_dict().items() if key.endswith("_config")}
    config = Sam2VideoConfig(**parts, memory_attention_num_layers=1, memory_attention_hidden_size=32)
    video = Sam2VideoModel(config)
    missing = video.load_state_dict(
        {k.removeprefix("net."): v for k, v in image.state_dict().items()}, strict=False
    )
    assert not missing.unexpected_keys
    video.save_pretrained(tmp_path)
    # transformers 5.17 wrote the prompt encoder's keys here too.
    written = json.loads((tmp_path / "config.json").read_text())
    written["mask_decoder_config"] |= {"image_size": 256, "scale": 1}
    (tmp_path / "config.json").write_text(json.dumps(written))
    checkpoint = read(tmp_path)
    assert checkpoint.family == "sam2"
    assert set(checkpoint.dropped) == set(video.state_dict()) - set(image.net.state_dict())
    assert_weights(image, load(tmp_path, device="cpu").model)


def test_shards_and_pickles_in_a_folder(golden_root: Path, tmp_path: Path) -> None:
    model: Any = golden(golden_root, "sam.pth").model
    model.net.save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()
    assert_weights(model, load(tmp_path / "shards", device="cpu").model)
    (tmp_path / "pickle").mkdir()
    shutil.copy(tmp_path / "shards" / "config.json", tmp_path / "pickle")
    torch.save(model.net.state_dict(), tmp_path / "pickle" / "pytorch_model.bin")
    assert_weights(model, load(tmp_path / "pickle", device="cpu").model)


def test_a_folder_that_does_not_fit_its_configuration(golden_root: Path, tmp_path: Path) -> None:
    write_transformers(read(golden_root / "sam.pth", num_heads=2), tmp_path, "sam.pth")
    config = json.loads((tmp_path / "config.json").read_text())
    wide: dict[str, Any] = json.loads(json.dumps(config))
    # Would take 69 GB; refused from its shapes.
    wide["vision_config"] |= {"hidden_size": 65536, "mlp_dim": 65536}
    (tmp_path / "config.json").write_text(json.dumps(wide))
    with pytest.raises(WeightsError, match="shapes do not fit"):
        load(tmp_path)
    config["mask_decoder_config"]["num_attention_heads"] = 4
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="num_heads=2 contradicts"):
        load(tmp_path, num_heads=2)
    (tmp_path / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"no config\.json beside"):
        load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="no model in this folder"):
        load(tmp_path)
    # The folder of a training run.
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "nano.safetensors").touch()
    with pytest.raises(WeightsError, match=r"Did you mean .*nano\.safetensors"):
        load(tmp_path)


def test_names_are_suggested_and_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'sam2\.1-tinny' is neither .* Did you mean 'sam2\.1-tiny'\?"):
        load("sam2.1-tinny")
    save_file({"a": torch.zeros(1)}, tmp_path / "best.safetensors")
    with pytest.raises(
        InputError, match=r"bset\.safetensors does not exist. Did you mean 'best\.safetensors'"
    ):
        load(tmp_path / "bset.safetensors")
    save(Nano(NanoConfig(image_size=64, depth=1)), tmp_path / "n.safetensors")
    with pytest.raises(InputError, match="dtype 'int8' is not supported: use float32, float16, bfloat16"):
        load(tmp_path / "n.safetensors", dtype="int8")


def test_a_hub_id_offline_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        OfflineError, match=r"model\.safetensors of https://huggingface\.co/facebook/sam-vit-base"
    ):
        load("facebook/sam-vit-base", offline=True)


def test_parameters_are_counted_once(golden_root: Path) -> None:
    model = golden(golden_root, "sam.pth").model
    assert count_parameters(read(golden_root / "sam.pth", num_heads=2)) == sum(
        p.numel() for p in model.parameters()
    )


def test_importing_the_package_loads_no_model_library() -> None:
    code = "import maskwright, sys; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_arithmetic_is_chosen_for_the_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save(Nano(NanoConfig(image_size=64, depth=1)), tmp_path / "n.safetensors")
    assert load(tmp_path / "n.safetensors").dtype == torch.float32
    monkeypatch.setattr(runtime, "computes", lambda *_: True)
    assert load(tmp_path / "n.safetensors", dtype="bfloat16", device="cpu").dtype == torch.bfloat16
    monkeypatch.setattr(runtime, "computes", lambda *_: False)
    with pytest.warns(UserWarning, match="float32 is used"):
        assert load(tmp_path / "n.safetensors", dtype="bfloat16", device="cpu").dtype == torch.float32
