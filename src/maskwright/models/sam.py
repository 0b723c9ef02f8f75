"""SAM (Kirillov et al. 2023) over transformers' weights, with a forward of our own.

The parameters live in transformers' `SamModel` (`self.net`), so its state dicts and `save_pretrained` serve.
The forward is written here because transformers' differs where it matters: its decoder norms use eps 1e-6
where the original has 1e-5, its attention forms the bias matrix, and its mixed precision would round the
positions of prompts.

Axes: B images, N prompts, A = B·N, X = A or 1, P points or pixels, M mask tokens, T tokens, L = h·w,
C D c channels, H W h w sizes, S input side.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, SamConfig, SamModel

from maskwright.models.attention import add_attention, replace_attention
from maskwright.models.base import Decoded, Features, MaskModel, PromptBatch, Sketch, per_prompt
from maskwright.models.guidance import run_two_way
from maskwright.models.packed import add_feed_forward, for_prediction, gelu_of

# nn.LayerNorm's default, which the original decoder uses.
DECODER_NORM_EPS = 1e-5
# Cells of all low-resolution masks that are drawn at once for prediction on a CPU: one prompt of SAM, whose
# maps stay in the caches. Memory, too, stays the same, however many prompts of a batch are worth drawing.
DRAWN_CELLS = 2**16


class SAM(MaskModel):
    """Segment Anything. All four mask tokens are decoded; choosing among them is `selection.select`.

    Args:
        net: transformers' model; its attention modules and decoder eps are set to the original's.
    """

    family: ClassVar[str] = "sam"
    config_class: ClassVar[type[PreTrainedConfig]] = SamConfig
    net_class: ClassVar[type[PreTrainedModel]] = SamModel

    def __init__(self, net: Any) -> None:  # noqa: ANN401
        super().__init__()
        replace_attention(net.vision_encoder)
        _restore_norm_eps(net)
        self.net = net
        self.image_size = int(net.config.vision_config.image_size)
        self.low_res = 4 * self.image_size // int(net.config.vision_config.patch_size)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build a model with random weights from `config_dict()`."""
        settings = cls.config_class.from_dict(copy.deepcopy(config))
        # transformers draws the positional matrix with half the encoder's width; the original with 1.
        settings.vision_config.scale = 1.0
        settings.mask_decoder_config.layer_norm_eps = DECODER_NORM_EPS
        return cls(cls.net_class(settings))

    def config_dict(self) -> dict[str, Any]:
        """Transformers' configuration of `net`."""
        config: dict[str, Any] = self.net.config.to_dict()
        return config

    def encode(self, pixels_B3SS: Tensor) -> Features:
        """The image embedding of normalised square images."""
        image, _ = self._encode(pixels_B3SS)
        return Features(image)

    def _encode(self, pixels_B3SS: Tensor) -> tuple[Tensor, Tensor | None]:
        """The neck's output (B, C, h, w) and the first global block's (B, h, w, D)."""
        encoder = self.net.vision_encoder
        x_BHWD = encoder.patch_embed(pixels_B3SS).contiguous()
        if encoder.pos_embed is not None:
            x_BHWD = x_BHWD + encoder.pos_embed
        early: Tensor | None = None
        for layer in encoder.layers:
            # For prediction on the CPU they change it in place: fresh memory costs time there.
            x_BHWD = add_feed_forward(layer, add_attention(layer, x_BHWD))
            if early is None and layer.window_size == 0:
                early = x_BHWD.clone() if for_prediction(x_BHWD) else x_BHWD
        return encoder.neck(x_BHWD), early

    def decode(self, features: Features, prompts: PromptBatch) -> Decoded:
        """Decode N prompts of each image; the tokens are IoU, four masks, and HQ where there is one."""
        out_ATC, image_ACHW = self._transform(features, prompts)
        if prompts.shape[0] > 1 or not for_prediction(image_ACHW):
            return self._draw(features, out_ATC, image_ACHW, prompts.shape)
        few = self._drawn_at_once()
        groups = [slice(first, first + few) for first in range(0, len(out_ATC), few)]
        return self._draw_groups(features, out_ATC, image_ACHW, groups)

    def sketch(self, features: Features, prompts: PromptBatch) -> Sketch:
        """The scores of N prompts of one image; upscaling, most of the work, is left for later."""
        out_ATC, image_ACHW = self._transform(features, prompts)

        def draw(rows_K: Tensor) -> Decoded:
            few = self._drawn_at_once() if for_prediction(image_ACHW) else len(rows_K)
            return self._draw_groups(features, out_ATC, image_ACHW, rows_K.split(few))

        return Sketch(self.net.mask_decoder.iou_prediction_head(out_ATC[None, :, 0]), draw)

    def output_tokens(self) -> Tensor:
        """IoU and four masks."""
        decoder = self.net.mask_decoder
        return torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])

    def _transform(self, features: Features, prompts: PromptBatch) -> tuple[Tensor, Tensor]:
        """The decoder's transformer: the output tokens (A, T, C) and the image (A, C, h, w)."""
        decoder = self.net.mask_decoder
        images, count = prompts.shape
        sparse_ATC, dense_ACHW = prompts.embedded or embed_prompts(self.net, prompts)
        output_ATC, dense_ACHW = self.with_task(prompts, dense_ACHW)
        tokens_ATC = torch.cat([output_ATC.expand(images * count, -1, -1), sparse_ATC], dim=1)
        image_XCHW, memo = features.image, features.memo if prompts.masks is None else None
        if images > 1:  # One image is shared by all its prompts as it is.
            image_XCHW = per_prompt(image_XCHW, count)
        source_XCHW = image_XCHW + dense_ACHW
        position = image_positions(self.net, *source_XCHW.shape[-2:])
        out_ATC, image_ACHW = run_two_way(
            decoder.transformer, tokens_ATC, source_XCHW, position, prompts.guidance, memo
        )
        return out_ATC[:, : output_ATC.shape[-2]], image_ACHW

    def _drawn_at_once(self) -> int:
        """Of how many prompts masks are drawn at once, for prediction on a CPU."""
        return max(1, DRAWN_CELLS // self.low_res**2)

    def _draw_groups(
        self, features: Features, out_ATC: Tensor, image_ACHW: Tensor, groups: Sequence[slice | Tensor]
    ) -> Decoded:
        """Masks and scores of groups of prompts of one image, one group after the other."""
        chosen = ((out_ATC[rows], image_ACHW[rows]) for rows in groups)
        return Decoded.of_groups([self._draw(features, out, image, (1, len(out))) for out, image in chosen])

    def _draw(
        self, features: Features, out_ATC: Tensor, image_ACHW: Tensor, shape: tuple[int, int]
    ) -> Decoded:
        """Masks and scores of (B, N) = `shape` prompts from what the transformer gave."""
        return self._of_cells(out_ATC, upscale(self.net.mask_decoder, image_ACHW), shape)

    def _of_cells(self, out_ATC: Tensor, cells_Ahw44C: Tensor, shape: tuple[int, int]) -> Decoded:
        """SAM's masks and scores, with the image upscaled already."""
        decoder = self.net.mask_decoder
        kernels = [mlp(out_ATC[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)]
        kernels_AMC = torch.stack(kernels, dim=1)
        masks_AMP = kernels_AMC @ cells_Ahw44C.flatten(1, 4).transpose(1, 2)
        masks_AMHW = arrange(masks_AMP.reshape(*masks_AMP.shape[:2], *cells_Ahw44C.shape[1:5]))
        iou_AM = decoder.iou_prediction_head(out_ATC[:, 0])
        # Not `unflatten`, whose sizes an exported graph keeps.
        return Decoded(*(part.reshape(*shape, *part.shape[1:]) for part in (masks_AMHW, iou_AM, out_ATC)))


def _restore_norm_eps(net: Any) -> None:  # noqa: ANN401
    """Give the decoder's transformer the original's eps, in its modules and in the config that is saved."""
    net.config.mask_decoder_config.layer_norm_eps = DECODER_NORM_EPS
    for module in net.mask_decoder.transformer.modules():
        if type(module) is nn.LayerNorm:
            module.eps = DECODER_NORM_EPS


def encode_positions(matrix_2D: Tensor, xy: Tensor) -> Tensor:
    """Random Fourier features (…, C) of positions (…, 2) in [0, 1], in float32 whatever autocast says."""
    with torch.autocast(xy.device.type, enabled=False):
        angles = 2 * torch.pi * ((2 * xy.float() - 1) @ matrix_2D.float())
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def image_positions(net: Any, height: int, width: int) -> Tensor:  # noqa: ANN401
    """(1, C, H, W) encoding of the centres of the embedding's cells."""
    matrix = net.shared_image_embedding.positional_embedding
    rows = (torch.arange(height, device=matrix.device) + 0.5) / height
    columns = (torch.arange(width, device=matrix.device) + 0.5) / width
    xy = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    return encode_positions(matrix, xy).permute(2, 0, 1)[None].to(matrix.dtype)


def embed_prompts(net: Any, prompts: PromptBatch) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """SAM's prompt encoder: tokens (A, T, C), T may be 0, and a dense map (A or 1, C, h, w).

    Points and corners are shifted by half a pixel to its centre; a "not a point" token is appended to
    points when there is no box; without a mask the dense map is one learned vector.
    """
    encoder = net.prompt_encoder
    batch = prompts.shape[0] * prompts.shape[1]
    no_point_1C = encoder.not_a_point_embed.weight
    tokens = [no_point_1C.new_zeros(batch, 0, no_point_1C.shape[1])]
    if prompts.points is not None and prompts.labels is not None:
        tokens.append(_embed_points(encoder, prompts.points.flatten(0, 1), prompts.labels.flatten(0, 1)))
        if prompts.boxes is None:
            tokens.append(no_point_1C.expand(batch, 1, -1))
    if prompts.boxes is not None:
        corners_A22 = prompts.boxes.view(batch, 2, 2)
        kinds_2C = torch.cat([encoder.point_embed[2].weight, encoder.point_embed[3].weight])
        tokens.append(_embed_pixels(encoder, corners_A22) + kinds_2C)
    if prompts.masks is not None:
        dense = encoder.mask_embed(prompts.masks.flatten(0, 1)[:, None])
    else:
        dense = encoder.no_mask_embed.weight[:, :, None, None]
    return torch.cat(tokens, dim=1), dense


def _embed_points(encoder: Any, points_AP2: Tensor, labels_AP: Tensor) -> Tensor:  # noqa: ANN401
    background, foreground = encoder.point_embed[0].weight, encoder.point_embed[1].weight
    labels = labels_AP[..., None]
    tokens = _embed_pixels(encoder, points_AP2) + torch.where(labels == 1, foreground, background)
    return torch.where(labels < 0, encoder.not_a_point_embed.weight, tokens)


def _embed_pixels(encoder: Any, xy: Tensor) -> Tensor:  # noqa: ANN401
    matrix = encoder.shared_embedding.positional_embedding
    return encode_positions(matrix, (xy.float() + 0.5) / encoder.input_image_size).to(matrix.dtype)


def upscale(decoder: Any, image_AChw: Tensor) -> Tensor:  # noqa: ANN401
    """SAM's two transposed convolutions: (A, C, h, w) → (A, h, w, 4, 4, C / 8), as `arrange` reads it.

    Their windows of 2 × 2 do not overlap, so each is a matrix product of a cell's channels. What a cell
    becomes stays together, its channels last: no map is moved in memory until there are masks.
    """
    norm = decoder.upscale_layer_norm
    cells_AhwC = image_AChw.permute(0, 2, 3, 1)
    up_Ahw4C = _spread(decoder.upscale_conv1, cells_AhwC)
    up_Ahw4C = gelu_of(F.layer_norm(up_Ahw4C, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
    return gelu_of(_spread(decoder.upscale_conv2, up_Ahw4C))


def _spread(convolution: nn.ConvTranspose2d, cells: Tensor) -> Tensor:
    """(…, C) → (…, 4, c): each cell's four, row by row, of a transposed convolution by 2 with stride 2."""
    weight_4cC = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
    assert convolution.bias is not None
    spread: Tensor = F.linear(cells, weight_4cC, convolution.bias.repeat(4)).unflatten(-1, (4, -1))
    return spread


def arrange(maps_AMhw44: Tensor) -> Tensor:
    """Lay out what cells were spread to twice: (A, M, h, w, 4, 4) → (A, M, 4h, 4w)."""
    parts: Tensor = maps_AMhw44.unflatten(5, (2, 2)).unflatten(4, (2, 2))
    return parts.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5, 7).flatten(2, 4)


def arrange_channels(cells_Ahw44C: Tensor) -> Tensor:
    """The same with the channels last in memory: (A, h, w, 4, 4, C) → (A, C, 4h, 4w)."""
    parts: Tensor = cells_Ahw44C.unflatten(4, (2, 2)).unflatten(3, (2, 2))
    return parts.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3).permute(0, 3, 1, 2)


def apply_kernels(kernels_AMC: Tensor, maps_ACHW: Tensor) -> Tensor:
    """Each mask is the dot product of its kernel with the map: (A, M, H, W)."""
    return (kernels_AMC @ maps_ACHW.flatten(2)).view(*kernels_AMC.shape[:2], *maps_ACHW.shape[-2:])
