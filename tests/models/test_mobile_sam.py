"""MobileSAM and Light HQ-SAM: their files, and all that a SAM can be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.tiny import tiny, tiny_vit_config
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskwright.errors import InputError, WeightsError
from maskwright.io.weights import write_safetensors
from maskwright.models import keys
from maskwright.models.checkpoint import FORMAT, VERSION, read_checkpoint
from maskwright.models.convert import write_original, write_transformers
from maskwright.models.hq_layers import add_hq_layers
from maskwright.models.mobile_sam import LightHQSAM, MobileSAM
from maskwright.models.registry import count_parameters, load, read, save
from maskwright.models.sam import SAM
from maskwright.models.segmenter import Segmenter
from maskwright.types import ByteArray

FAMILIES = [MobileSAM, LightHQSAM]
GIVEN: dict[str, Any] = {"num_heads": 2, "image_size": 64}


def published(model: SAM) -> dict[str, Tensor]:
    """A model's tensors as in its project's file."""
    return {
        keys.original(name.removeprefix("net."), keys.MOBILE_SAM_RULES): value
        for name, value in model.state_dict().items()
        if name != f"net.{keys.PROMPT_POSITION}"
    }


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> MobileSAM:
    family: type[MobileSAM] = request.param
    return tiny(family)


@pytest.fixture
def file(model: MobileSAM, tmp_path: Path) -> Path:
    """A file with nothing in it that says what it is but its keys."""
    path = tmp_path / "weights.pt"
    torch.save(published(model), path)
    return path


def photo(height: int, width: int) -> ByteArray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_sizes_are_read_from_the_tensors(model: MobileSAM, file: Path) -> None:
    checkpoint = read_checkpoint(file, **GIVEN)
    assert checkpoint.family == model.family
    assert checkpoint.config["vision_config"] == tiny_vit_config()
    assert checkpoint.config["prompt_encoder_config"]["image_size"] == 64
    assert checkpoint.config["mask_decoder_config"].get("vit_dim") == (
        24 if model.family == "mobile_sam_hq" else None
    )
    assert checkpoint.assumed == ()
    assert checkpoint.dropped == ()
    assert read_checkpoint(file).assumed == ("8 decoder heads", "image size 1024")
    learned = sum(p.numel() for p in model.parameters())
    head = 32 + 32 + 5 * 32 + 5
    assert count_parameters(checkpoint) == learned + head


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_files_load_exactly_and_go_back_under_the_same_keys(
    model: MobileSAM, file: Path, tmp_path: Path, ending: str
) -> None:
    if ending == "safetensors":
        save_file(published(model), tmp_path / "weights.safetensors")
        file = tmp_path / "weights.safetensors"
    loaded = load(file, **GIVEN, device="cpu").model
    state = model.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(state[key], value) for key, value in loaded.state_dict().items())
    own = save(loaded, tmp_path / "own.safetensors")
    for source in (file, own):
        given = GIVEN if source == file else {}
        back = write_original(read(source, **given), tmp_path / f"back.{ending}", "it")
        again = load_file(back) if ending == "safetensors" else torch.load(back, weights_only=True)
        assert again.keys() == published(model).keys()
        assert all(torch.equal(value, again[key]) for key, value in published(model).items())
        assert {value.dtype for value in again.values()} == {torch.float32, torch.int64}


def test_our_own_checkpoint_keeps_everything(model: MobileSAM, tmp_path: Path) -> None:
    file = save(model, tmp_path / "half.safetensors", dtype=torch.float16)
    again = load(file, device="cpu").model
    assert type(again) is type(model)
    assert again.config_dict() == model.config_dict()
    for key, value in model.state_dict().items():
        expected = value.half().float() if value.is_floating_point() else value
        assert torch.equal(again.state_dict()[key], expected)


CHANGES = [
    ("image_encoder.layers.2.blocks.1.attn.proj.bias", None, r"missing 1 .*layers\.2\.blocks\.1\.attn\.proj"),
    ("image_encoder.layers.0.blocks.0.conv1.bn.running_var", None, r"missing 1 .*conv1\.bn\.running_var"),
    ("image_encoder.layers.1.blocks.0.mlp.norm.bias", None, r"missing 1 .*mlp\.norm\.bias"),
    ("image_encoder.norm_head.weight", None, r"missing 1 .*norm_head\.weight"),
    ("image_encoder.head.weight", None, r"incomplete.*head\.weight"),
    ("image_encoder.head.weight", torch.zeros(5, 31), r"head\.weight \(5, 31\) instead of \(5, 32\)"),
    (
        "image_encoder.layers.1.blocks.0.attn.attention_bias_idxs",
        torch.zeros(9, 9, dtype=torch.int64),
        r"left over 1 \(image_encoder\.layers\.1\.blocks\.0\.attn\.attention_bias_idxs\)",
    ),
    ("image_encoder.layers.3.blocks.0.attn.attention_biases", torch.zeros(4, 10), r"shapes do not fit"),
    ("image_encoder.layers.0.blocks.0.conv1.bn.num_batches_tracked", torch.tensor(1.0), "types do not fit"),
    ("image_encoder.pos_embed", torch.zeros(1), r"left over 1 \(image_encoder\.pos_embed\)"),
]


@pytest.mark.parametrize(("key", "value", "message"), CHANGES)
def test_what_does_not_fit_is_listed(tmp_path: Path, key: str, value: Tensor | None, message: str) -> None:
    tensors = published(tiny(MobileSAM))
    if value is None:
        del tensors[key]
    else:
        tensors[key] = value
    torch.save(tensors, tmp_path / "changed.pt")
    with pytest.raises(WeightsError, match=message) as caught:
        load(tmp_path / "changed.pt", **GIVEN)
    assert "changed.pt" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_target_": "os.system"}, r"unknown keys: 1 \(vision_config\._target_\)"),
        ({"depths": [1, 100_000, 1, 1]}, "not a possible setting"),
        ({"depths": [1, 1, 1]}, "no mobile_sam model has this configuration"),
        ({"heads": [4, 3, 4]}, "shapes do not fit"),
        ({"image_size": 72}, "no multiple of 16"),
        ({"widths": [8, 65536, 65535, 65536]}, "shapes do not fit"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    model = tiny(MobileSAM)
    config = model.config_dict()
    config["vision_config"] |= change
    metadata = {"format": FORMAT, "version": VERSION, "family": model.family, "config": json.dumps(config)}
    write_safetensors(tmp_path / "m.safetensors", model.state_dict(), metadata)
    with pytest.raises(WeightsError, match=message) as caught:
        load(tmp_path / "m.safetensors")
    assert "m.safetensors" in str(caught.value)


@pytest.mark.parametrize("side", [0, 8, 100])
def test_an_impossible_image_size_is_refused(file: Path, side: int) -> None:
    with pytest.raises(InputError, match="takes a multiple of 16"):
        load(file, num_heads=2, image_size=side)


@pytest.mark.parametrize("side", [64, 80, 112])
def test_masks_of_any_photo_and_input_size(model: MobileSAM, file: Path, side: int) -> None:
    segmenter = load(file, num_heads=2, image_size=side, device="cpu")
    wide, tall = photo(40, 61), photo(90, 30)
    boxes = [(5, 6, 25, 30), (1, 1, 29, 39)]
    embeddings = segmenter.embed([wide, tall])
    assert embeddings[0].features.image.shape == (1, 32, side // 16, side // 16)
    together = segmenter(embeddings, boxes=[boxes, boxes])
    for image, masks in zip((wide, tall), together, strict=True):
        assert masks.low_res.shape == (2, 1, side // 4, side // 4)
        assert masks.logits().shape == (2, 1, *image.shape[:2])
        assert masks.low_res.std() > 1e-3
        alone = segmenter(image, boxes=boxes[1])
        torch.testing.assert_close(alone.low_res[0], masks.low_res[1], rtol=1e-4, atol=1e-4)
    clicks = segmenter(wide, points=[[20, 20], [40, 10]], labels=[1, 0], multimask=True, hq="off")
    assert clicks.low_res.shape == (1, 3, side // 4, side // 4)


def test_mixed_precision_stays_close(model: MobileSAM) -> None:
    exact, mixed = Segmenter(model), Segmenter(model, dtype=torch.bfloat16)
    box = {"boxes": (5, 6, 45, 30)}
    first, second = exact(photo(40, 61), **box).low_res, mixed(photo(40, 61), **box).low_res
    assert second.dtype == torch.float32
    assert not torch.equal(first, second)
    assert (first - second).abs().max() < 0.1 * first.abs().max()


def test_the_hq_token_changes_masks_and_sees_the_early_map() -> None:
    model = tiny(LightHQSAM)
    segmenter = Segmenter(model)
    embedding = segmenter.embed(photo(40, 61))
    assert embedding.features.early is not None
    assert embedding.features.early.shape == (1, 4, 4, 24)
    sam, hq, both = (
        segmenter(embedding, boxes=(5, 6, 45, 30), hq=mode).low_res for mode in ("off", "only", "sum")
    )
    torch.testing.assert_close(sam + hq, both)
    assert hq.std() > 1e-3


def test_fresh_hq_layers_on_a_mobile_sam() -> None:
    plain = tiny(MobileSAM)
    model = add_hq_layers(plain)
    assert type(model) is LightHQSAM
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.state_dict().items())
    image = photo(40, 61)
    summed, off = (Segmenter(model)(image, boxes=(5, 6, 45, 30), hq=hq).low_res for hq in ("sum", "off"))
    assert torch.equal(summed, off)
    with pytest.raises(InputError, match="not to a mobile_sam_hq"):
        add_hq_layers(model)


def test_a_decoder_file_goes_on_a_mobile_sam(tmp_path: Path) -> None:
    light = tiny(LightHQSAM)
    tensors = published(light)
    plain = {key: value for key, value in tensors.items() if not keys.starts_with(
        key.removeprefix("mask_decoder."), keys.HQ_PARTS)}  # fmt: skip
    torch.save(plain, tmp_path / "mobile_sam.pt")
    decoder = {
        k.removeprefix("mask_decoder."): v for k, v in tensors.items() if k.startswith("mask_decoder.")
    }
    torch.save(decoder, tmp_path / "epoch_3.pth")
    base = tmp_path / "mobile_sam.pt"
    assert load(base, **GIVEN).model.family == "mobile_sam"
    merged = load(tmp_path / "epoch_3.pth", base=base, **GIVEN, device="cpu").model
    assert merged.family == "mobile_sam_hq"
    assert all(torch.equal(light.state_dict()[key], value) for key, value in merged.state_dict().items())


@pytest.mark.parametrize("name", ["sam.pth", "sam_hq.pth"])
def test_sam_goes_back_under_its_own_keys(golden_root: Path, tmp_path: Path, name: str) -> None:
    written = write_original(read(golden_root / name, num_heads=2), tmp_path / "back.pth", name)
    first: dict[str, Any] = torch.load(golden_root / name, weights_only=True)
    again = torch.load(written, weights_only=True)
    first = first.get("model", first)
    assert again.keys() == first.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_what_cannot_be_written_is_refused(file: Path, golden_root: Path, tmp_path: Path) -> None:
    mobile = read(file, **GIVEN)
    with pytest.raises(InputError, match=r"\.pth, \.pt or \.safetensors"):
        write_original(mobile, tmp_path / "out", "it")
    with pytest.raises(InputError, match="which transformers does not have"):
        write_transformers(mobile, tmp_path / "out", "it")
    with pytest.raises(InputError, match="family sam2, whose original layout also has the modules for video"):
        write_original(read(golden_root / "sam2.pt"), tmp_path / "out.pth", "it")
    assert not list(tmp_path.glob("out*"))
