"""TinyViT (Wu et al. 2022), the image encoder of MobileSAM (Zhang et al. 2023) and of Light HQ-SAM.

Four stages: one of inverted bottlenecks, three of attention in windows. Modules are named as in the published
files. Facts that no tensor tells: GELU is exact; layer norms and batch norms have eps 1e-5 and the neck 1e-6;
windows are padded with zeros *before* the layer norm, and padding is attended to; the channels of `qkv` go by
head, then query, key, value; the last merging keeps stride 16, where the classifier halves the map.

Batch norms always use their stored statistics, in training too: photos come a few at a time, whose own
statistics are noise. So each is one factor and one shift a channel, and is folded into its convolution's
weights at every call; the state dict keeps the original tensors, and gradients reach them.

Axes: B images, N heads, L = h·w tokens of a window, C D channels, H W map, h w window, S input side.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.attention import pad_map

# Of the two convolutions before the first stage and of the three mergings after stages 0 to 2.
PATCH_STRIDE = 4
MERGING_STRIDES = (2, 2, 1)
TOTAL_STRIDE = 16
STAGES = 4
# Light HQ-SAM's early map is what this stage hands on, after its merging.
EARLY_STAGE = 1


@dataclass(frozen=True)
class TinyViTConfig:
    """Sizes of the encoder; by default TinyViT-5M's, which all published checkpoints have.

    Args:
        image_size: input side S in pixels, a multiple of 16.
        widths: channels of the four stages.
        depths: blocks of each.
        heads: attention heads of the three later stages.
        windows: sides of their windows in tokens.
        mlp_ratio: hidden channels of a block's MLP per channel.
        expand_ratio: the same of the first stage's bottlenecks.
        output_channels: width of the image embedding.
        num_pos_feats: half of the decoder's positional code, as SAM's configuration has it here.
        classes: of the unused classifier.
    """

    image_size: int = 1024
    widths: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (4, 5, 10)
    windows: tuple[int, ...] = (7, 14, 7)
    mlp_ratio: float = 4.0
    expand_ratio: float = 4.0
    output_channels: int = 256
    num_pos_feats: int = 128
    classes: int = 1000

    def __post_init__(self) -> None:
        lengths = tuple(len(part) for part in (self.widths, self.depths, self.heads, self.windows))
        if lengths != (STAGES, STAGES, STAGES - 1, STAGES - 1):
            raise ValueError(f"widths, depths, heads and windows must be 4, 4, 3 and 3, not {lengths}")
        if any(not heads or width % heads for width, heads in zip(self.widths[1:], self.heads, strict=True)):
            raise ValueError(f"{self.heads} heads do not divide the widths {self.widths[1:]}")
        if self.image_size % TOTAL_STRIDE:
            raise ValueError(f"the image size {self.image_size} is no multiple of {TOTAL_STRIDE}")

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> TinyViTConfig:
        """Read what `to_dict` gave, also after JSON."""
        plain = config | {key: tuple(part) for key, part in config.items() if isinstance(part, list)}
        return cls(**plain)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return {key: [*part] if isinstance(part, tuple) else part for key, part in asdict(self).items()}


class TinyViT(nn.Module):
    """The encoder.

    Args:
        config: its sizes.
        neck: maps (B, H, W, C) to the image embedding (B, output_channels, H, W); SAM's own.
    """

    def __init__(self, config: TinyViTConfig, neck: nn.Module) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.widths[0])
        self.layers = nn.ModuleList(Stage(config, stage) for stage in range(STAGES))
        self.norm_head = Unused((config.widths[-1],), config.widths[-1])
        self.head = Unused((config.classes, config.widths[-1]), config.classes)
        self.neck = neck

    def forward(self, pixels_B3SS: Tensor) -> tuple[Tensor, Tensor]:
        """The image embedding (B, C, S/16, S/16), and what stage 1 hands on (B, S/16, S/16, D)."""
        # Channels last, as attention has them: a fifth faster on a CPU, with the same numbers.
        x_BCHW = self.patch_embed(pixels_B3SS.contiguous(memory_format=torch.channels_last))
        handed_on = []
        for layer in self.layers:
            x_BCHW = layer(x_BCHW)
            handed_on.append(x_BCHW)
        return self.neck(x_BCHW.permute(0, 2, 3, 1)), handed_on[EARLY_STAGE].permute(0, 2, 3, 1)


class Unused(nn.Module):
    """Weight and bias of the classifier's last layers: files hold them, nothing uses or trains them."""

    def __init__(self, weight: tuple[int, ...], bias: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(weight))
        self.register_buffer("bias", torch.zeros(bias))


class ConvNorm(nn.Module):
    """A convolution without bias and a batch norm, computed as one convolution.

    Args:
        inputs, outputs: channels.
        kernel: side of the kernel; the map is padded so that stride 1 keeps its size.
        stride: of the convolution.
        depthwise: each channel for itself.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, depthwise: bool = False
    ) -> None:
        super().__init__()
        groups = outputs if depthwise else 1
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) → (B, D, ⌈H / stride⌉, ⌈W / stride⌉)."""
        mean_C, variance_C = self.bn.running_mean, self.bn.running_var
        assert mean_C is not None
        assert variance_C is not None
        scale_C = self.bn.weight * (variance_C + self.bn.eps).rsqrt()
        weight = self.c.weight * scale_C[:, None, None, None]
        shift_C = self.bn.bias - mean_C * scale_C
        kernel, stride = self.c.kernel_size[0], self.c.stride
        return F.conv2d(x_BCHW, weight, shift_C, stride, kernel // 2, groups=self.c.groups)


class PatchEmbed(nn.Module):
    """Two convolutions of stride 2: (B, 3, S, S) → (B, C, S/4, S/4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, width // 2, 3, 2), nn.GELU(), ConvNorm(width // 2, width, 3, 2))

    def forward(self, pixels_B3SS: Tensor) -> Tensor:
        """Embed the pixels."""
        embedded: Tensor = self.seq(pixels_B3SS)
        return embedded


class Stage(nn.Module):
    """Blocks of one width and, but for the last stage, the merging that leads to the next."""

    def __init__(self, config: TinyViTConfig, stage: int) -> None:
        super().__init__()
        width, depth = config.widths[stage], config.depths[stage]
        if stage == 0:
            blocks: list[nn.Module] = [
                MBConv(width, round(width * config.expand_ratio)) for _ in range(depth)
            ]
        else:
            heads, window = config.heads[stage - 1], config.windows[stage - 1]
            hidden = round(width * config.mlp_ratio)
            blocks = [Block(width, heads, window, hidden) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.downsample: Merging | None = None
        if stage < STAGES - 1:
            self.downsample = Merging(width, config.widths[stage + 1], MERGING_STRIDES[stage])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) → (B, D, H / stride, W / stride)."""
        for block in self.blocks:
            x_BCHW = block(x_BCHW)
        return x_BCHW if self.downsample is None else self.downsample(x_BCHW)


class MBConv(nn.Module):
    """An inverted bottleneck; the last GELU comes after the skip connection."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, depthwise=True)
        self.conv3 = ConvNorm(hidden, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        return F.gelu(x_BCHW + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x_BCHW))))))


class Merging(nn.Module):
    """To the next stage's width and stride; no activation at the end."""

    def __init__(self, width: int, next_width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, next_width)
        self.conv2 = ConvNorm(next_width, next_width, 3, stride, depthwise=True)
        self.conv3 = ConvNorm(next_width, next_width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) → (B, D, H / stride, W / stride)."""
        merged: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x_BCHW)))))
        return merged


class Block(nn.Module):
    """Attention in windows, a depthwise convolution without skip connection, and an MLP."""

    def __init__(self, width: int, heads: int, window: int, hidden: int) -> None:
        super().__init__()
        self.attn = WindowAttention(width, heads, window)
        self.local_conv = ConvNorm(width, width, 3, depthwise=True)
        self.mlp = MLP(width, hidden)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        x_BHWC = x_BHWC + self.attn(x_BHWC)
        x_BHWC = self.local_conv(x_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x_BHWC = x_BHWC + self.mlp(x_BHWC)
        out_BCHW: Tensor = x_BHWC.permute(0, 3, 1, 2)
        return out_BCHW


class MLP(nn.Module):
    """A layer norm and two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """(B, H, W, C) → (B, H, W, C)."""
        out_BHWC: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x_BHWC))))
        return out_BHWC


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias for each distance (|Δy|, |Δx|).

    Args:
        width: channels.
        heads: of equal width.
        window: side of the windows.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.attention_biases = nn.Parameter(torch.zeros(heads, window**2))
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """(B, H, W, C) → (B, H, W, C)."""
        batch, height, width, channels = x_BHWC.shape
        side = self.window
        qkv_BHWC = self.qkv(self.norm(x_BHWC))
        bottom, right = -height % side, -width % side
        if bottom or right:
            # The layer norm makes its bias of the zeros around the map.
            fill_C = F.linear(self.norm.bias, self.qkv.weight, self.qkv.bias)
            qkv_BHWC = pad_map(qkv_BHWC, bottom, right, fill_C)
        rows, columns = qkv_BHWC.shape[1] // side, qkv_BHWC.shape[2] // side
        parts = qkv_BHWC.view(batch, rows, side, columns, side, self.heads, 3, channels // self.heads)
        # (3, B, rows, columns, N, h, w, D) → three of (B', N, L, D)
        query, key, value = parts.permute(6, 0, 1, 3, 5, 2, 4, 7).flatten(1, 3).flatten(3, 4)
        bias_NLL = self.bias().to(query.dtype)
        out_BNLD = F.scaled_dot_product_attention(query, key, value, attn_mask=bias_NLL[None])
        out = out_BNLD.view(batch, rows, columns, self.heads, side, side, -1).permute(0, 1, 4, 2, 5, 3, 6)
        out_BHWC = out.flatten(5).flatten(3, 4).flatten(1, 2)[:, :height, :width]
        projected: Tensor = self.proj(out_BHWC)
        return projected

    def bias(self) -> Tensor:
        """(N, L, L): of each query to each key, from the table (N, |Δy| · w + |Δx|)."""
        place = torch.arange(self.window, device=self.attention_biases.device)
        distance = (place[:, None] - place).abs()
        index = distance[:, None, :, None] * self.window + distance[None, :, None, :]
        return self.attention_biases[:, index.flatten(2).flatten(0, 1)]
