"""TinyViT equals its slow twin, has the published keys, and folds its batch norms exactly."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models.tiny import draw_batch_norms, tiny, tiny_vit_config
from reference import tiny_vit as slow
from torch import Tensor, nn

from maskwright.models import keys
from maskwright.models.mobile_sam import LightHQSAM, MobileSAM
from maskwright.models.tiny_vit import (
    Block,
    ConvNorm,
    MBConv,
    Merging,
    TinyViT,
    TinyViTConfig,
    WindowAttention,
)

Part = TypeVar("Part", bound=nn.Module)


def drawn(module: Part) -> Part:
    """The module in float64 with weights that none of its parts ignores."""
    torch.manual_seed(0)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    draw_batch_norms(module)
    return module


def numbers(module: nn.Module) -> dict[str, Any]:
    return {key: value.numpy() for key, value in module.state_dict().items()}


def maps(channels: int, height: int, width: int) -> Tensor:
    return torch.randn(
        2, channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


def agree(ours: Tensor, twins: list[Any]) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), np.stack(twins), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("kernel", "stride", "depthwise"),
    [(1, 1, False), (3, 1, True), (3, 2, True), (3, 2, False)],
)
@pytest.mark.parametrize("size", [(5, 6), (4, 7)])
def test_conv_norm(kernel: int, stride: int, depthwise: bool, size: tuple[int, int]) -> None:
    module = drawn(ConvNorm(4, 4 if depthwise else 6, kernel, stride, depthwise=depthwise))
    x = maps(4, *size)
    agree(module(x), [slow.conv_norm(numbers(module), one.numpy(), stride) for one in x])


def test_bottleneck_and_merging() -> None:
    x = maps(4, 5, 3)
    bottleneck = drawn(MBConv(4, 12))
    agree(bottleneck(x), [slow.bottleneck(numbers(bottleneck), one.numpy()) for one in x])
    for stride in (1, 2):
        merging = drawn(Merging(4, 6, stride))
        agree(merging(x), [slow.merging(numbers(merging), one.numpy(), stride) for one in x])


@pytest.mark.parametrize("size", [(3, 3), (6, 3), (4, 5), (2, 7)])
def test_attention_in_windows_with_and_without_padding(size: tuple[int, int]) -> None:
    attention = drawn(WindowAttention(8, 2, 3))
    x = maps(8, *size)
    ours = attention(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    agree(ours, [slow.attention(numbers(attention), one.numpy(), 2, 3) for one in x])


def test_the_bias_goes_by_the_distance_in_rows_then_in_columns() -> None:
    attention = WindowAttention(4, 2, 3)
    with torch.no_grad():
        attention.attention_biases.copy_(torch.arange(18.0).view(2, 9))
    bias = attention.bias()
    assert bias.shape == (2, 9, 9)
    # From (0, 1) to (2, 0): two rows, one column.
    assert bias[0, 1, 6] == bias[0, 6, 1] == 2 * 3 + 1
    assert bias[1, 4, 4] == 9


def test_a_block_with_its_convolution_between_attention_and_mlp() -> None:
    block = drawn(Block(8, 2, 3, 12))
    x = maps(8, 4, 5)
    agree(block(x), [slow.block(numbers(block), one.numpy(), 2, 3) for one in x])


@pytest.mark.parametrize("family", [MobileSAM, LightHQSAM])
def test_the_encoder_equals_the_twin(family: type[MobileSAM]) -> None:
    model = tiny(family).double()
    state = {
        keys.original(name.removeprefix("net."), keys.MOBILE_SAM_RULES): value.numpy()
        for name, value in model.state_dict().items()
    }
    sizes = {key: tiny_vit_config()[key] for key in ("depths", "heads", "windows")}
    pixels = maps(3, 64, 64)[:1]
    image, early = slow.encode(slow.below(state, "image_encoder."), pixels[0].numpy(), **sizes)
    with torch.no_grad():
        features = model.encode(pixels)
    agree(features.image, [image])
    assert image.shape == (32, 4, 4)
    if isinstance(model, LightHQSAM):
        assert features.early is not None
        agree(features.early.permute(0, 3, 1, 2), [early])
        assert early.shape == (24, 4, 4)


def full(family: type[MobileSAM]) -> dict[str, Tensor]:
    """Shapes of the published size under the published keys."""
    hq = {"vit_dim": 160} if family is LightHQSAM else {}
    parts = {
        "vision_config": TinyViTConfig().to_dict(),
        "prompt_encoder_config": {},
        "mask_decoder_config": hq,
    }
    with torch.device("meta"):
        state = family.from_config(parts).state_dict()
    return {
        keys.original(name.removeprefix("net."), keys.MOBILE_SAM_RULES): value
        for name, value in state.items()
        if name != f"net.{keys.PROMPT_POSITION}"
    }


@pytest.mark.parametrize(("family", "count"), [(MobileSAM, 439), (LightHQSAM, 464)])
def test_keys_and_counts_are_those_published(family: type[MobileSAM], count: int) -> None:
    state = full(family)
    assert len(state) == count
    encoder = {key: value for key, value in state.items() if key.startswith("image_encoder.")}
    assert len(encoder) == 302
    assert sum(value.numel() for value in encoder.values()) == 6_075_415
    learned = [value for key, value in encoder.items() if not key.endswith(keys.BATCH_STATISTICS)]
    assert sum(value.numel() for value in learned) == 6_065_532
    if family is LightHQSAM:
        hq = [
            value
            for key, value in state.items()
            if keys.starts_with(key.removeprefix("mask_decoder."), keys.HQ_PARTS)
        ]
        assert sum(value.numel() for value in hq) == 448_512
    shapes = {
        "patch_embed.seq.0.c.weight": (32, 3, 3, 3),
        "patch_embed.seq.2.bn.num_batches_tracked": (),
        "layers.0.blocks.1.conv1.c.weight": (256, 64, 1, 1),
        "layers.0.blocks.0.conv2.c.weight": (256, 1, 3, 3),
        "layers.0.downsample.conv3.bn.running_var": (128,),
        "layers.1.blocks.1.attn.attention_biases": (4, 49),
        "layers.2.blocks.5.attn.attention_biases": (5, 196),
        "layers.3.blocks.0.attn.attention_biases": (10, 49),
        "layers.2.blocks.3.attn.qkv.weight": (480, 160),
        "layers.2.downsample.conv2.c.weight": (320, 1, 3, 3),
        "layers.3.blocks.1.mlp.fc2.weight": (320, 1280),
        "layers.1.blocks.0.local_conv.c.weight": (128, 1, 3, 3),
        "norm_head.bias": (320,),
        "head.weight": (1000, 320),
        "neck.0.weight": (256, 320, 1, 1),
        "neck.3.weight": (256,),
    }
    assert {key: tuple(encoder[f"image_encoder.{key}"].shape) for key in shapes} == shapes


@pytest.mark.parametrize("side", [1024, 208])
def test_the_map_has_a_sixteenth_of_any_size(side: int) -> None:
    with torch.device("meta"):
        encoder = TinyViT(TinyViTConfig.from_dict(tiny_vit_config()), nn.Identity()).to("meta")
        image, early = encoder(torch.empty(1, 3, side, side))
    assert image.shape == (1, side // 16, side // 16, 32)
    assert early.shape == (1, side // 16, side // 16, 24)


def test_batch_norms_keep_their_statistics_and_learn() -> None:
    module = drawn(ConvNorm(3, 4, 3)).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    x = maps(3, 5, 5)
    plain = F.batch_norm(
        F.conv2d(x, module.c.weight, padding=1), module.bn.running_mean, module.bn.running_var,
        module.bn.weight, module.bn.bias, training=False,
    )  # fmt: skip
    torch.testing.assert_close(module(x), plain)
    ours = torch.autograd.grad(module(x).square().sum(), list(module.parameters()))
    theirs = torch.autograd.grad(plain.square().sum(), list(module.parameters()))
    torch.testing.assert_close(ours, theirs)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 100}, "no multiple of 16"),
        ({"depths": [1, 1, 1]}, "must be 4, 4, 3 and 3"),
        ({"heads": [2, 5, 4]}, "heads do not divide"),
        ({"heads": [2, 0, 4]}, "heads do not divide"),
    ],
)
def test_impossible_sizes(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TinyViTConfig.from_dict(tiny_vit_config() | change)
