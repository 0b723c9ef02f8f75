"""nano: our own small SAM-HQ, made to be trained from nothing on two cores and to run anywhere.

It keeps SAM-HQ's parts (prompt tokens, two-way transformer, hypernetwork masks, IoU head, HQ token with
early features) and changes what costs most when data and time are few:

* The encoder is a dense convolution pyramid with a short transformer on top; its stride-4 and stride-8 maps
  join the decoder's upscaling as in SAM 2 (Ravi et al. 2024, section 4), so that edges need not pass
  stride 16.
* Prompts are also drawn as maps (inside the box, distance from clicks, previous mask) and enter the dense
  prompt embedding, so that location need not be learned through attention alone (as early-fusion clicks,
  Sofiiuk et al. 2021).
* The HQ token refines each of the four masks (kernel from HQ token + mask token), not only the best one.

Axes: B images, N prompts, P points, M mask tokens, T tokens, C D channels, H W h w sizes, S input side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.base import Decoded, Features, MaskModel, PromptBatch, per_prompt
from maskwright.models.guidance import Guidance, run_two_way
from maskwright.models.nano_prompts import FourierPosition, NanoPrompts
from maskwright.models.nano_two_way import FeedForward, TwoWayTransformer
from maskwright.models.packed import linear

MASK_TOKENS = 4
LONG = 2048  # tokens of an input of 724 px; all scores of more at once would take too much memory
LOGIT_LIMIT = 16.0  # of logits that are given back as a mask prompt


@dataclass(frozen=True)
class NanoConfig:
    """Sizes of a nano model.

    Args:
        image_size: input side in pixels; any multiple of 16 works with the same weights.
        stem, fine, middle, coarse: channels at stride 2, 4, 8 and 16.
        depth, heads: transformer blocks at stride 16 and their heads.
        width: channels of embedding, prompts and decoder; decoder_heads: its heads; mlp: its hidden width.
        detail: channels of the stride-4 maps in which masks are formed.
        refinements: further passes of the decoder, each given the single mask of the one before.
    """

    image_size: int = 256
    stem: int = 32
    fine: int = 48
    middle: int = 96
    coarse: int = 192
    depth: int = 5
    heads: int = 6
    width: int = 128
    decoder_heads: int = 4
    mlp: int = 512
    detail: int = 32
    refinements: int = 2


SIZES = {
    "base": NanoConfig(),
    "small": NanoConfig(
        stem=24,
        fine=32,
        middle=64,
        coarse=128,
        depth=3,
        heads=4,
        width=96,
        decoder_heads=4,
        mlp=256,
        detail=24,
        refinements=1,
    ),
}
"""base is nano, small is nano-small: a third of its weights, a fifth of its time for an image."""


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W)."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalise each pixel's channels."""
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvBlock(nn.Module):
    """Residual block: norm, 3×3, ReLU, 3×3; the last convolution starts at zero, so a new one is neutral."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Refine a map of the same shape."""
        change: Tensor = self.conv2(F.relu(self.conv1(self.norm(x_BCHW)), inplace=True))
        return x_BCHW + change


class AttentionBlock(nn.Module):
    """Pre-norm transformer block with global attention."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.lin1 = nn.Linear(channels, 4 * channels)
        self.lin2 = nn.Linear(4 * channels, channels)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Refine T tokens of the same shape."""
        qkv = linear(self.qkv, self.norm1(x_BTC)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = attend(query, key, value).transpose(1, 2).flatten(2)
        x_BTC = x_BTC + linear(self.proj, attended)
        return x_BTC + linear(self.lin2, linear(self.lin1, self.norm2(x_BTC), gelu=True))


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention; written out to learn from: backward the fused kernel is slower at short lengths."""
    if query.shape[-2] > LONG or not query.requires_grad:
        return F.scaled_dot_product_attention(query, key, value)
    scores: Tensor = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return scores.softmax(dim=-1) @ value


class NanoEncoder(nn.Module):
    """Photo to maps at stride 16 (embedding), 8 and 4; computed once per image."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        c = config
        self.stem = nn.Conv2d(3, c.stem, 3, stride=2, padding=1)
        self.to_fine = nn.Conv2d(c.stem, c.fine, 3, stride=2, padding=1)
        self.fine = ConvBlock(c.fine)
        self.to_middle = nn.Conv2d(c.fine, c.middle, 3, stride=2, padding=1)
        self.middle = nn.Sequential(ConvBlock(c.middle), ConvBlock(c.middle))
        self.to_coarse = nn.Conv2d(c.middle, c.coarse, 3, stride=2, padding=1)
        self.coarse = ConvBlock(c.coarse)
        self.position = FourierPosition(c.coarse)
        self.position_scale = nn.Parameter(torch.full((c.coarse,), 0.3))
        self.blocks = nn.ModuleList(AttentionBlock(c.coarse, c.heads) for _ in range(c.depth))
        self.neck = nn.Sequential(ChannelNorm(c.coarse), nn.Conv2d(c.coarse, c.width, 1))
        self.coarse_to_middle = nn.Conv2d(c.width, 2 * c.detail, 1)
        self.middle_out = nn.Conv2d(c.middle, 2 * c.detail, 1)
        self.middle_to_fine = nn.Conv2d(2 * c.detail, c.detail, 1)
        self.fine_out = nn.Conv2d(c.fine, c.detail, 1)
        self.fine_mix = ConvBlock(c.detail)

    def forward(self, pixels_B3SS: Tensor) -> Features:
        """Encode images to maps of stride 16, 8 and 4."""
        fine = self.fine(
            self.to_fine(F.gelu(self.stem(pixels_B3SS.contiguous(memory_format=torch.channels_last))))
        )
        middle = self.middle(self.to_middle(fine))
        coarse = self.coarse(self.to_coarse(middle))
        height, width = coarse.shape[-2:]
        tokens_BTC = coarse.flatten(2).transpose(1, 2)
        tokens_BTC = tokens_BTC + (self.position.grid(height, width).flatten(0, 1) * self.position_scale)
        for block in self.blocks:
            tokens_BTC = block(tokens_BTC)
        image = self.neck(tokens_BTC.transpose(1, 2).unflatten(2, (height, width)))
        middle_out = self.middle_out(middle) + enlarge(self.coarse_to_middle(image))
        fine_out = self.fine_mix(self.fine_out(fine) + enlarge(self.middle_to_fine(middle_out)))
        return Features(image, fine.permute(0, 2, 3, 1), (fine_out, middle_out))


def enlarge(x_BCHW: Tensor) -> Tensor:
    """Double the resolution, bilinear."""
    return F.interpolate(x_BCHW, scale_factor=2.0, mode="bilinear", align_corners=False)


class NanoDecoder(nn.Module):
    """SAM-HQ's decoder at small width, with the encoder's finer maps in its upscaling."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        width, detail = config.width, config.detail
        self.tokens = nn.Parameter(0.5 * torch.randn(1 + MASK_TOKENS + 1, width))  # IoU, masks, HQ
        self.fuse = nn.Sequential(
            ChannelNorm(width),
            nn.Conv2d(width, width // 2, 1),
            nn.GELU(),
            nn.Conv2d(width // 2, width // 2, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 1),
        )
        self.transformer = TwoWayTransformer(width, config.decoder_heads, config.mlp)
        self.upscale1 = nn.ConvTranspose2d(width, 2 * detail, 2, stride=2)
        self.upscale_norm = ChannelNorm(2 * detail)
        self.upscale2 = nn.ConvTranspose2d(2 * detail, detail, 2, stride=2)
        self.kernels = nn.ModuleList(FeedForward(width, detail) for _ in range(MASK_TOKENS))
        self.hq_kernel = FeedForward(width, detail)
        self.hq_mix = ConvBlock(detail)
        self.iou_head = FeedForward(width, MASK_TOKENS)

    def forward(
        self,
        features: Features,
        tokens: Tensor,
        dense: Tensor,
        position: Tensor,
        count: int,
        guidance: Guidance | None,
    ) -> Decoded:
        """Decode `count` prompts an image.

        Tokens (B·N, T, C), the output tokens first; dense embedding (B·N, C, h, w), position alike.
        """
        fine, middle = (per_prompt(level, count) for level in features.high_res)
        source = per_prompt(features.image, count) + dense
        source = source + self.fuse(source)
        out, image = run_two_way(self.transformer, tokens, source, position, guidance)
        # ReLU, not GELU: at this resolution the activation costs as much as the convolution.
        up = F.relu(self.upscale_norm(self.upscale1(image) + middle), inplace=True)
        up = F.relu(self.upscale2(up) + fine, inplace=True)
        mask_tokens, hq_token = out[:, 1 : 1 + MASK_TOKENS], out[:, 1 + MASK_TOKENS]
        kernels = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.kernels)], dim=1)
        hq_kernels = self.hq_kernel(mask_tokens + hq_token[:, None])
        masks = (kernels @ up.flatten(2)).unflatten(2, up.shape[-2:])
        hq = (hq_kernels @ (self.hq_mix(up)).flatten(2)).unflatten(2, up.shape[-2:])
        iou = self.iou_head(out[:, 0]).sigmoid()
        shape = (tokens.shape[0] // count, count)
        parts = (masks, iou, out[:, : 2 + MASK_TOKENS], hq)
        masks, iou, out, hq = (part.float().unflatten(0, shape) for part in parts)
        return Decoded(masks, iou, out, hq)


def with_single(ambiguous: Decoded, single: Decoded) -> Decoded:
    """Mask 0 with its score, HQ map and tokens from `single`, the other masks and scores from `ambiguous`."""
    assert ambiguous.hq is not None
    assert single.hq is not None
    pairs = (
        (single.masks, ambiguous.masks),
        (single.iou, ambiguous.iou),
        (single.hq, ambiguous.hq),
    )
    masks, iou, hq = (torch.cat([one[:, :, :1], others[:, :, 1:]], dim=2) for one, others in pairs)
    return Decoded(masks, iou, single.tokens, hq)


def refined(
    decode_once: Callable[[Features, PromptBatch], Decoded],
    features: Features,
    prompts: PromptBatch,
    times: int,
) -> Decoded:
    """Decode, and again so many times with the single mask given back; see `Nano.decode`."""
    first = decoded = decode_once(features, prompts)
    for _ in range(times):
        assert decoded.hq is not None
        logits = (decoded.masks + decoded.hq)[:, :, 0].clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        # Task (as in training) and guidance are given once; the mask carries them on (SUM, Table 2).
        again = replace(prompts, masks=logits, task=None, guidance=None)
        decoded = decode_once(features, again)
    return with_single(first, decoded) if times else first


class Nano(MaskModel):
    """The whole model; `config.image_size` may differ from the one in training."""

    family = "nano"
    has_hq = True
    cpu_cells = 2**17  # fewer than of SAM, which draws fewer at once than it decodes

    def __init__(self, config: NanoConfig | None = None) -> None:
        super().__init__()
        self.config = config or NanoConfig()
        self.encoder = NanoEncoder(self.config)
        self.prompts = NanoPrompts(self.config.width)
        self.decoder = NanoDecoder(self.config)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def image_size(self) -> int:  # type: ignore[override]
        """Side S of the square input in pixels."""
        return self.config.image_size

    @property
    def low_res(self) -> int:  # type: ignore[override]
        """Side of the decoder's masks."""
        return self.config.image_size // 4

    def with_image_size(self, side: int) -> None:
        """Use another input side with the same weights."""
        assert side % 16 == 0, side
        self.config = replace(self.config, image_size=side)

    def encode(self, pixels_B3SS: Tensor) -> Features:
        """Encode normalised, resized and padded images (B, 3, S, S)."""
        features: Features = self.encoder(pixels_B3SS)
        return features

    def decode(self, features: Features, prompts: PromptBatch) -> Decoded:
        """Decode, then let the single mask (token 0) be improved: its logits are given back with the prompt.

        As PerSAM's cascaded refinement (Zhang et al. 2023, section 3.2), `config.refinements` times, but not
        in training mode. The three ambiguous masks stay those of the first pass.
        """
        times = 0 if self.training else self.config.refinements
        return refined(self.decode_once, features, prompts, times)

    def decode_once(self, features: Features, prompts: PromptBatch) -> Decoded:
        """One pass of the decoder: what training learns from, and the ambiguous masks need."""
        tokens, dense = prompts.embedded or self.prompts(prompts, self.image_size, self.low_res)
        height, width = features.image.shape[-2:]
        position = self.prompts.position.grid(height, width).permute(2, 0, 1)[None]
        output, dense = self.with_task(prompts, dense)
        tokens = torch.cat([output.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        count, guidance = prompts.shape[1], prompts.guidance
        decoded: Decoded = self.decoder(features, tokens, dense, position, count, guidance)
        return decoded

    def output_tokens(self) -> Tensor:
        """IoU, four masks and HQ."""
        tokens: Tensor = self.decoder.tokens
        return tokens

    def config_dict(self) -> dict[str, Any]:
        """The settings from which `models.registry` builds the same architecture again."""
        return asdict(self.config)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Nano:
        """Build a model with random weights from `config_dict()`."""
        return cls(NanoConfig(**config))
