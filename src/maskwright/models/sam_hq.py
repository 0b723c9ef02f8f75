"""SAM-HQ (Ke et al. 2023, section 3.2) over transformers' weights, with the decoder's forward written here.

transformers 5.17 to 5.23 drop the image features that the two-way transformer returns and upscale the
encoder's instead (`point_embedding, iou_token_out = self.transformer(…)` in `SamHQMaskDecoder.forward`), so
their SAM-HQ masks are wrong while the scores are right. Here the returned features are used, as published.

Axes as in `models.sam`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, SamHQConfig, SamHQModel

from maskwright.models.base import Decoded, Features, per_prompt
from maskwright.models.packed import gelu_of
from maskwright.models.sam import SAM, apply_kernels, arrange_channels, upscale


class SAMHQ(SAM):
    """SAM with the HQ token, whose mask is formed on fused early, late and mask features.

    `Features.early` is the first global-attention block's output and `Features.high_res[0]` the fused HQ map
    (B, C / 8, H, W), made once per image. To train the fusion layers on cached images, cache
    `backbone(pixels)`: `decode` fuses whenever the map is missing.
    """

    family: ClassVar[str] = "sam_hq"
    has_hq: ClassVar[bool] = True
    config_class: ClassVar[type[PreTrainedConfig]] = SamHQConfig
    net_class: ClassVar[type[PreTrainedModel]] = SamHQModel

    def encode(self, pixels_B3SS: Tensor) -> Features:
        """The image embedding, the early map and the fused HQ map of normalised square images."""
        return self.fuse(self.backbone(pixels_B3SS))

    def backbone(self, pixels_B3SS: Tensor) -> Features:
        """Image embedding and early map, no HQ map yet."""
        image, early = self._encode(pixels_B3SS)
        return Features(image, early)

    def fuse(self, features: Features) -> Features:
        """Add the HQ map: the upscaled image embedding plus the upscaled early map."""
        assert features.early is not None, "SAM-HQ's features need the early map"
        decoder = self.net.mask_decoder
        late = F.gelu(decoder.encoder_norm(decoder.encoder_conv1(features.image)))
        early = decoder.compress_vit_conv1(features.early.permute(0, 3, 1, 2))
        early = F.gelu(decoder.compress_vit_norm(early))
        fused = decoder.encoder_conv2(late) + decoder.compress_vit_conv2(early)
        return replace(features, high_res=(fused,))

    def _draw_groups(
        self, features: Features, out_ATC: Tensor, image_ACHW: Tensor, groups: Sequence[slice | Tensor]
    ) -> Decoded:
        """As SAM's, with maps that are fused once for all groups."""
        features = features if features.high_res else self.fuse(features)
        return super()._draw_groups(features, out_ATC, image_ACHW, groups)

    def _draw(
        self, features: Features, out_ATC: Tensor, image_ACHW: Tensor, shape: tuple[int, int]
    ) -> Decoded:
        """SAM's masks, and the HQ token's on the fused maps."""
        if not features.high_res:
            features = self.fuse(features)
        cells_Ahw44C = upscale(self.net.mask_decoder, image_ACHW)
        decoded = self._of_cells(out_ATC, cells_Ahw44C, shape)
        # The channels of a pixel stay together in memory, as convolutions like it.
        upscaled_ACHW = arrange_channels(cells_Ahw44C)
        return replace(decoded, hq=self._hq_masks(features.high_res[0], upscaled_ACHW, decoded.tokens))

    def output_tokens(self) -> Tensor:
        """IoU, four masks and HQ."""
        return torch.cat([super().output_tokens(), self.net.mask_decoder.hq_token.weight])

    def _hq_masks(self, fused_BCHW: Tensor, upscaled_ACHW: Tensor, tokens_BNTC: Tensor) -> Tensor:
        decoder = self.net.mask_decoder
        images, count = tokens_BNTC.shape[:2]
        maps = gelu_of(decoder.mask_norm(decoder.mask_conv1(upscaled_ACHW)))
        maps = decoder.mask_conv2(maps) + per_prompt(fused_BCHW, count)
        kernels_A1C = decoder.hq_mask_mlp(tokens_BNTC[:, :, -1:].flatten(0, 1))
        masks_A1HW = apply_kernels(kernels_A1C, maps)
        return masks_A1HW.view(images, count, *masks_A1HW.shape[1:])
