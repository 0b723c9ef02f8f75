"""Files of boundary models: every layout, what is refused, and starting points for training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image as PILImages
from safetensors.torch import load_file, save_file
from tiny import photo, save_tiny_boundary, save_tiny_model, save_tiny_transformers, tiny_boundary
from transformers.models.segformer.modeling_segformer import SegformerForSemanticSegmentation

from maskwright.cli.main import main
from maskwright.errors import InputError, OfflineError, WeightsError
from maskwright.models import boundary_files
from maskwright.models.boundary_files import load_boundary, save_boundary, start_model
from maskwright.models.hub import NAMED
from maskwright.models.nano_boundary import NanoBoundary
from maskwright.models.registry import load, read
from maskwright.models.segformer import SegFormer


@pytest.fixture(autouse=True)
def _no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWRIGHT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)


def assert_same(model: torch.nn.Module, other: torch.nn.Module) -> None:
    one, two = model.state_dict(), other.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def published(folder: Path, **changes: Any) -> Path:
    """A folder as transformers 4 wrote it, with keys of its configuration that are gone."""
    save_tiny_transformers(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"downsampling_rates": [1, 4, 8, 16], "image_size": 224, "torch_dtype": "float32"} | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_our_own_file_round_trips_in_half_precision(tmp_path: Path) -> None:
    model = tiny_boundary()
    for resolution, keep in ((None, False), (96, True)):
        path = save_boundary(
            model, tmp_path / "run", resolution=resolution, keep_aspect=keep, metadata={"data": "mine"}
        )
        assert path == tmp_path / "run" / "model.safetensors"
        detector = load_boundary(tmp_path / "run", device="cpu")
        assert (detector.resolution, detector.keep_aspect, detector.name) == (resolution, keep, "run")
        assert_same(detector.model, model)
        assert detector.model.config_dict() == model.config_dict()
    assert read(path).metadata["data"] == "mine"
    half = save_boundary(model, tmp_path / "half.safetensors", resolution=64, dtype=torch.float16)
    assert {tensor.dtype for tensor in load_file(half).values()} == {torch.float16, torch.int64}
    again = load_boundary(half, device="cpu").model
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in again.parameters())


def test_a_nano_boundary_model_round_trips_and_starts_from_a_nano(tmp_path: Path) -> None:
    model = start_model(save_tiny_model(tmp_path))
    assert isinstance(model, NanoBoundary)
    nano = load(tmp_path / "tiny.safetensors", device="cpu").model
    assert torch.equal(model.encoder.stem.weight, nano.get_parameter("encoder.stem.weight"))
    path = save_boundary(model, tmp_path / "x.safetensors", resolution=None, dtype=torch.float16)
    detector = load_boundary(path, device="cpu")
    expected = {key: value.half().float() for key, value in model.state_dict().items()}
    assert all(torch.equal(value, expected[key]) for key, value in detector.model.state_dict().items())
    assert detector(photo(50, 61)).shape == (50, 61)


def test_published_layouts_are_read_alike(tmp_path: Path) -> None:
    folder = published(tmp_path / "DirectSAM-b0-96px-x")
    model = tiny_boundary()
    detector = load_boundary(folder, device="cpu")
    assert_same(detector.model, model)
    assert detector.resolution == 1024
    state = load_file(folder / "model.safetensors")
    assert any(key.startswith("segformer.encoder.block.0.0.attention.self.sr.") for key in state)
    pickled = tmp_path / "DirectSAM-384px"
    pickled.mkdir()
    torch.save(state, pickled / "pytorch_model.bin")
    (pickled / "config.json").write_text((folder / "config.json").read_text())
    assert_same(load_boundary(pickled, device="cpu").model, model)
    assert load_boundary(pickled, device="cpu").resolution == 384


def test_a_file_alone_tells_its_sizes(tmp_path: Path) -> None:
    # Heads leave no trace, so they are as published; the tiny model has others.
    settings = {"hidden_sizes": [8, 16, 40, 64], "depths": [1, 2, 1, 1], "decoder_hidden_size": 16}
    model = SegFormer.from_config(settings)
    model.net.save_pretrained(tmp_path)
    detector = load_boundary(tmp_path / "model.safetensors", device="cpu")
    assert_same(detector.model, model)
    found = read(tmp_path / "model.safetensors")
    assert found.assumed == ("attention heads 1, 2, 5, 8", "strides 4, 2, 2, 2")
    image = photo(64, 64)
    np.testing.assert_array_equal(detector(image), load_boundary(tmp_path, device="cpu")(image))


def test_a_trained_model_becomes_a_folder_of_transformers(tmp_path: Path) -> None:
    path = save_tiny_boundary(tmp_path / "x.safetensors", resolution=64)
    assert main(["models", "convert", str(path), str(tmp_path / "out"), "--quiet"]) == 0
    theirs = SegformerForSemanticSegmentation.from_pretrained(tmp_path / "out")
    assert theirs.config.num_labels == 1
    assert_same(theirs, tiny_boundary().net)
    reference = load_file(save_tiny_transformers(tmp_path / "reference") / "model.safetensors")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == reference.keys()
    assert_same(load_boundary(tmp_path / "out", device="cpu").model, tiny_boundary())


@pytest.mark.parametrize(
    ("name", "resolution"),
    [("directsam-b5-1800", 1800), ("chendelong/DirectSAM-1800px-0424", 1800), ("some/model-0910", 1024)],
)
def test_hub_ids_and_names_know_their_resolution(
    name: str, resolution: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(tmp_path)
    monkeypatch.setattr(boundary_files, "locate", lambda *_, **__: tmp_path)
    detector = load_boundary(name, device="cpu")
    assert (detector.resolution, detector.keep_aspect) == (resolution, False)


def test_named_boundary_models_are_complete() -> None:
    named = {name: model for name, model in NAMED.items() if model.task == "boundary"}
    assert {model.parameters for model in named.values() if model.repo} == {3_714_401, 84_594_113}
    assert all(name.startswith("directsam-") == (model.repo is not None) for name, model in named.items())
    with pytest.raises(OfflineError, match=r"DirectSAM-1800px-0424/resolve/main/model.safetensors"):
        load_boundary("directsam-b5-1800", offline=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "unknown keys: 1 .auto_map"),
        ({"hidden_act": "evil"}, "no segformer model has this configuration"),
        ({"num_channels": 4}, "takes RGB"),
        ({"hidden_sizes": [8, 8, 16, 32]}, "shapes do not fit"),
        ({"depths": [1, 1, 1, 2]}, r"missing .*stages.3.blocks.1"),
        ({"depths": [1, 1, 1, 10**9]}, "not a possible setting"),
        ({"depths": [1, 1]}, "no segformer model has this configuration"),
        ({"model_type": "yolo"}, "model_type 'yolo' is not supported"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        load_boundary(published(tmp_path, **change), device="cpu")
    assert str(tmp_path) in str(caught.value)


def test_keys_must_match(tmp_path: Path) -> None:
    state = load_file(published(tmp_path) / "model.safetensors")
    state["decode_head.extra"] = torch.zeros(1)
    del state["segformer.encoder.layer_norm.1.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(
        WeightsError, match=r"missing 1 .*stages\.1\.layer_norm\.bias.*left over 1 .decode_head\.extra"
    ):
        start_model(tmp_path)
    save_file({"decode_head.linear_fuse.weight": torch.zeros(4, 16, 1, 1)}, tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match="the checkpoint is incomplete"):
        load_boundary(tmp_path / "cut.safetensors")


def test_a_wrong_resolution_is_refused(tmp_path: Path) -> None:
    path = save_tiny_boundary(tmp_path / "x.safetensors", resolution=64)
    metadata = read(path).metadata | {"resolution": "-5"}
    save_file(load_file(path), path, metadata)
    with pytest.raises(WeightsError, match="resolution '-5' is not a possible setting"):
        load_boundary(path)


def test_a_segmenter_of_classes_is_a_start_but_no_boundary_model(tmp_path: Path) -> None:
    folder = save_tiny_transformers(tmp_path, classes=19)
    with pytest.raises(WeightsError, match=r"19 classes.*maskwright train boundary"):
        load_boundary(folder)
    torch.manual_seed(3)
    model, reference = start_model(folder), tiny_boundary()
    for key, value in model.state_dict().items():
        same = "classifier" not in key
        assert torch.equal(value, reference.state_dict()[key]) == same, key
    assert model.state_dict()["net.decode_head.classifier.weight"].shape == (1, 16, 1, 1)
    assert model.config_dict()["id2label"] == {0: "LABEL_0"}


def test_starts(tmp_path: Path) -> None:
    path = save_tiny_boundary(tmp_path / "x.safetensors")
    assert_same(start_model(path), tiny_boundary())
    torch.manual_seed(0)
    fresh = start_model(path, from_scratch=True)
    assert fresh.config_dict() == tiny_boundary().config_dict()
    assert not torch.equal(*(next(model.parameters()) for model in (fresh, tiny_boundary())))
    assert len(start_model("segformer-b0", from_scratch=True).state_dict()) > 100
    with pytest.raises(InputError, match=r"segformer-b0 is an architecture.*--from-scratch"):
        start_model("segformer-b0")


def test_each_kind_of_model_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nano is of family nano, which answers prompts; a boundary model"):
        load_boundary("nano")
    with pytest.raises(InputError, match=r"a boundary model is needed here: .*directsam-b5-1800"):
        load_boundary(save_tiny_model(tmp_path))
    path = save_tiny_boundary(tmp_path / "edges.safetensors")
    for name in (path, "directsam-b5-1800"):
        with pytest.raises(InputError, match=rf"{name} is a boundary model.*--model {name}`, .* nano"):
            load(name, device="cpu")


def test_the_commands_know_boundary_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_tiny_boundary(tmp_path / "edges.safetensors", resolution=64)
    assert main(["models", "info", str(path)]) == 0
    assert "resolution" in capsys.readouterr().out
    assert (
        main(["models", "info", str(published(tmp_path / "folder")), "--json", str(tmp_path / "i.json")]) == 0
    )
    facts = json.loads((tmp_path / "i.json").read_text())
    assert (facts["family"], facts["layout"]) == ("segformer", "transformers folder")
    PILImages.fromarray(photo(20, 20)).save(tmp_path / "x.png")
    command = [
        "segment",
        str(tmp_path / "x.png"),
        "--point",
        "3,3",
        "--out",
        str(tmp_path / "o"),
        "--model",
        str(path),
    ]
    assert main(command) == 1
    assert "is a boundary model, which takes no prompts" in capsys.readouterr().err
