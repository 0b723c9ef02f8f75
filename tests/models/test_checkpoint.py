"""Every layout is recognised by its content, its sizes are read from it, and keys must match to the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskwright.errors import InputError, WeightsError
from maskwright.models import keys
from maskwright.models.checkpoint import read_checkpoint
from maskwright.models.registry import load
from maskwright.models.sizes import sam2_config
from maskwright.types import Image


def original(path: Path) -> dict[str, Tensor]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    tensors: dict[str, Tensor] = content.get("model", content)
    return tensors


@pytest.fixture
def base(golden_root: Path, tmp_path: Path) -> Path:
    """The plain SAM under the golden SAM-HQ: its keys without those that HQ adds."""
    prefixes = [f"mask_decoder.{part}" for part in keys.HQ_PARTS]
    tensors = original(golden_root / "sam_hq.pth")
    path = tmp_path / "base.pth"
    torch.save({key: value for key, value in tensors.items() if not keys.starts_with(key, prefixes)}, path)
    return path


@pytest.mark.parametrize(("name", "family"), [("sam.pth", "sam"), ("sam_hq.pth", "sam_hq")])
def test_sizes_of_sam_are_read_from_its_tensors(golden_root: Path, name: str, family: str) -> None:
    checkpoint = read_checkpoint(golden_root / name, num_heads=2)
    assert checkpoint.family == family
    assert checkpoint.assumed == ()
    vision, prompt, decoder = (
        checkpoint.config[part] for part in ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    )
    assert (vision["image_size"], vision["patch_size"], vision["hidden_size"]) == (256, 16, 64)
    assert (vision["num_hidden_layers"], vision["num_attention_heads"], vision["window_size"]) == (4, 2, 7)
    assert vision["global_attn_indexes"] == [1, 3]
    assert (vision["output_channels"], prompt["hidden_size"], vision["mlp_dim"]) == (32, 32, 256)
    assert (decoder["num_hidden_layers"], decoder["num_attention_heads"], decoder["mlp_dim"]) == (2, 2, 64)
    assert (decoder["iou_head_depth"], decoder["iou_head_hidden_dim"]) == (3, 32)
    assert decoder["layer_norm_eps"] == 1e-5
    assert decoder.get("vit_dim") == (64 if family == "sam_hq" else None)


def test_sizes_of_sam2_are_read_or_named_as_assumed(golden_root: Path) -> None:
    checkpoint = read_checkpoint(golden_root / "sam2.pt")
    backbone = checkpoint.config["vision_config"]["backbone_config"]
    assert checkpoint.family == "sam2"
    assert backbone["blocks_per_stage"] == [1, 2, 3, 1]
    assert backbone["embed_dim_per_stage"] == [16, 32, 64, 128]
    assert backbone["window_size_per_stage"] == [8, 4, 14, 7]
    assert backbone["global_attention_blocks"] == [4, 5]
    assert checkpoint.config["vision_config"]["backbone_channel_list"] == [128, 64, 32, 16]
    assert checkpoint.config["mask_decoder_config"]["iou_head_hidden_dim"] == 256
    assert any("image size 256" in note for note in checkpoint.assumed)
    assert len(checkpoint.dropped) == 73
    assert all(keys.starts_with(key, keys.SAM2_MEMORY) for key in checkpoint.dropped)
    assert "image size 512" not in read_checkpoint(golden_root / "sam2.pt", image_size=512).assumed


# facebookresearch/sam2, configs/sam2.1: heads, windows and global blocks of the published sizes.
PUBLISHED = [
    (96, (1, 2, 7, 2), 7, 1, [5, 7, 9], [8, 4, 14, 7]),
    (96, (1, 2, 11, 2), 7, 1, [7, 10, 13], [8, 4, 14, 7]),
    (112, (2, 3, 16, 3), 14, 2, [12, 16, 20], [8, 4, 14, 7]),
    (144, (2, 6, 36, 4), 7, 2, [23, 33, 43], [8, 4, 16, 8]),
]


def hiera(
    golden: dict[str, Tensor], width: int, depths: tuple[int, ...], background: int
) -> dict[str, Tensor]:
    """The golden file with a trunk of another size, as shapes: all that reading sizes looks at."""
    trunk = "image_encoder.trunk."
    tensors = {key: value for key, value in golden.items() if not key.startswith(f"{trunk}blocks.")}
    tensors[f"{trunk}patch_embed.proj.weight"] = torch.empty(width, 3, 7, 7)
    tensors[f"{trunk}pos_embed"] = torch.empty(1, width, background, background)
    block = 0
    for stage, depth in enumerate(depths):
        for index in range(depth):
            size = width * 2**stage
            tensors[f"{trunk}blocks.{block}.norm2.weight"] = torch.empty(size)
            tensors[f"{trunk}blocks.{block}.mlp.layers.0.weight"] = torch.empty(4 * size, 1)
            if stage and index == 0:
                tensors[f"{trunk}blocks.{block}.proj.weight"] = torch.empty(size, 1)
            block += 1
    return tensors


@pytest.mark.parametrize(("width", "depths", "background", "heads", "blocks", "windows"), PUBLISHED)
def test_published_sizes_of_sam2(
    golden_root: Path,
    width: int,
    depths: tuple[int, ...],
    background: int,
    heads: int,
    blocks: list[int],
    windows: list[int],
) -> None:
    tensors = hiera(original(golden_root / "sam2.pt"), width, depths, background)
    config, _ = sam2_config(tensors, None, None)
    backbone = config["vision_config"]["backbone_config"]
    assert backbone["blocks_per_stage"] == list(depths)
    assert backbone["num_attention_heads_per_stage"] == [heads * 2**stage for stage in range(4)]
    assert backbone["global_attention_blocks"] == blocks
    assert backbone["window_size_per_stage"] == windows
    assert backbone["window_positional_embedding_background_size"] == [background, background]
    assert config["prompt_encoder_config"]["image_size"] == 1024


@pytest.mark.parametrize("name", ["sam_hq_decoder_epoch.pth", "sam_hq_hqlayers_only.pth"])
def test_decoder_files_on_their_base_are_the_merged_model(golden_root: Path, base: Path, name: str) -> None:
    merged = load(golden_root / "sam_hq.pth", num_heads=2, device="cpu").model.state_dict()
    model = load(golden_root / name, base=base, num_heads=2, device="cpu").model
    assert model.family == "sam_hq"
    assert model.state_dict().keys() == merged.keys()
    assert all(torch.equal(merged[key], value) for key, value in model.state_dict().items())


def test_a_decoder_on_its_base_gives_the_references_masks(golden_root: Path, base: Path) -> None:
    golden = load_file(golden_root / "sam_hq.safetensors")
    image = Image(golden["image"].numpy())
    height, width = image.size
    segmenter = load(golden_root / "sam_hq_decoder_epoch.pth", base=base, num_heads=2, device="cpu")
    masks = segmenter(image, boxes=[(0.2 * width, 0.25 * height, 0.75 * width, 0.9 * height)])
    expected = golden["box.single.sum.low_res"]
    assert float((masks.low_res[0] - expected).abs().max() / expected.abs().max()) < 1e-4


def test_a_sam_decoder_replaces_the_bases(golden_root: Path, tmp_path: Path) -> None:
    prefix = "mask_decoder."
    tensors = original(golden_root / "sam.pth")
    decoder = {
        key.removeprefix(prefix): 2 * value for key, value in tensors.items() if key.startswith(prefix)
    }
    torch.save(decoder, tmp_path / "sam_vit_b_maskdecoder.pth")
    for under in ("sam.pth", "sam_hq.pth"):
        base = golden_root / under
        model = load(tmp_path / "sam_vit_b_maskdecoder.pth", base=base, num_heads=2, device="cpu").model
        state = model.state_dict()
        assert model.family == "sam"
        assert torch.equal(state["net.mask_decoder.iou_token.weight"], decoder["iou_token.weight"])
        assert torch.equal(state["net.vision_encoder.pos_embed"], original(base)["image_encoder.pos_embed"])


def test_a_decoder_needs_a_base_and_a_whole_model_none(golden_root: Path, base: Path) -> None:
    decoder = golden_root / "sam_hq_decoder_epoch.pth"
    with pytest.raises(WeightsError, match="give the SAM model it was trained on as base="):
        load(decoder)
    with pytest.raises(InputError, match="its base must be SAM, SAM-HQ or MobileSAM, not sam2"):
        load(decoder, base=golden_root / "sam2.pt")
    with pytest.raises(InputError, match=r"complete model .*base= is for decoder-only files"):
        load(golden_root / "sam.pth", base=base, num_heads=2)


CHANGES = [
    ("sam.pth", "mask_decoder.mask_tokens.weight", None, "incomplete.*mask_tokens"),
    (
        "sam.pth",
        "image_encoder.blocks.2.attn.proj.bias",
        None,
        r"missing 1 \(net\.vision_encoder\.layers\.2\.attn",
    ),
    ("sam.pth", "mask_decoder.extra.weight", torch.zeros(2), r"left over 1 \(mask_decoder\.extra\.weight\)"),
    ("sam_hq.pth", "mask_decoder.hf_mlp.layers.1.bias", None, r"missing 1 .*hq_mask_mlp\.layers\.0\.bias"),
    ("sam_hq.pth", "mask_decoder.hf_type_tokens.0.weight", torch.zeros(1, 32), "left over 1"),
    ("sam.pth", "image_encoder.neck.1.bias", torch.zeros(7), r"neck\.1\.bias \(7,\) instead of \(32,\)"),
    ("sam.pth", "image_encoder.neck.1.bias", torch.zeros(32, dtype=torch.int64), r"types do not fit.*int64"),
    ("sam2.pt", "sam_mask_decoder.obj_score_token.weight", None, "missing 1 .*obj_score_token"),
    ("sam2.pt", "memory_extra.weight", torch.zeros(1), r"left over 1 \(memory_extra\.weight\)"),
    ("sam2.pt", "sam_prompt_encoder.point_embeddings.2.weight", None, "incomplete.*point_embed"),
]


@pytest.mark.parametrize(("name", "key", "value", "message"), CHANGES)
def test_what_does_not_fit_is_listed(
    golden_root: Path, tmp_path: Path, name: str, key: str, value: Tensor | None, message: str
) -> None:
    tensors = original(golden_root / name)
    if value is None:
        del tensors[key]
    else:
        tensors[key] = value
    path = tmp_path / "changed.pth"
    torch.save(tensors, path)
    with pytest.raises(WeightsError, match=message) as caught:
        load(path, num_heads=None if name == "sam2.pt" else 2)
    assert "changed.pth" in str(caught.value)


def test_only_the_first_ten_keys_are_shown(golden_root: Path, tmp_path: Path) -> None:
    extra = {f"mask_decoder.extra.{i:02}": torch.zeros(1) for i in range(12)}
    torch.save(original(golden_root / "sam.pth") | extra, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=r"left over 12 \(.*extra\.09, …\)") as caught:
        load(tmp_path / "m.pth", num_heads=2)
    assert "extra.10" not in str(caught.value)


def test_unknown_layouts_say_what_they_hold(tmp_path: Path) -> None:
    for content, hint in (
        (
            {"encoder.conv.weight": torch.zeros(1)},
            r"unknown layout; its keys are 1 \(encoder\.conv\.weight\)",
        ),
        ({"vision_encoder.pos_embed": torch.zeros(1)}, "give the folder that holds it"),
    ):
        save_file(content, tmp_path / "m.safetensors")
        with pytest.raises(WeightsError, match=hint):
            read_checkpoint(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_heads": 3}, "num_heads=3 does not divide the decoder's attention width 16"),
        ({"num_heads": 0}, "num_heads=0 does not divide"),
        ({"num_heads": 2, "image_size": 512}, r"image_size=512 contradicts .*sam\.pth, which says 256"),
    ],
)
def test_given_sizes_are_never_ignored(golden_root: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_checkpoint(golden_root / "sam.pth", **given)
