"""SegFormer (Xie et al. 2021) with one output: the boundary model of DirectSAM, over transformers' weights.

The parameters live in transformers' `SegformerForSemanticSegmentation` (`self.net`), so its state dicts and
`save_pretrained` serve. The encoder is its own. The decode head's forward is ours: there, a linear layer
brings the map of each stage to the head's width, each is enlarged to stride 4, and a 1×1 convolution mixes
their concatenation. Enlarging is linear and its weights add up to one, so the two linear steps may meet
before it: the convolution's block for a stage times the stage's layer, on the small map. The result is the
same but for rounding, with 18 times fewer multiplications for b0's head and 26 times fewer for b5's.

Axes: B images, C D channels, H W input sizes, h w output sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.errors import WeightsError
from maskwright.models.boundary import BoundaryModel

if TYPE_CHECKING:
    from transformers.models.segformer.modeling_segformer import SegformerForSemanticSegmentation

STAGES = 4
# Beyond this, a photo's content matters little to an outline, although attention sees all of it.
REACH = 128

_NARROW, _WIDE = [32, 64, 160, 256], [64, 128, 320, 512]
# Channels of the stages, blocks of each, channels of the head (Xie et al. 2021, table 7).
SIZES: dict[str, dict[str, Any]] = {
    name: {"hidden_sizes": hidden, "depths": depths, "decoder_hidden_size": width}
    for name, hidden, depths, width in (
        ("b0", _NARROW, [2, 2, 2, 2], 256),
        ("b1", _WIDE, [2, 2, 2, 2], 256),
        ("b2", _WIDE, [3, 4, 6, 3], 768),
        ("b3", _WIDE, [3, 4, 18, 3], 768),
        ("b4", _WIDE, [3, 8, 27, 3], 768),
        ("b5", _WIDE, [3, 6, 40, 3], 768),
    )
}
CLASSIFIER = "net.decode_head.classifier."


class SegFormer(BoundaryModel):
    """SegFormer with one output, whose logits are at stride 4.

    Args:
        net: transformers' model.
    """

    family: ClassVar[str] = "segformer"

    def __init__(self, net: SegformerForSemanticSegmentation) -> None:
        super().__init__()
        self.net = net
        strides, ratios = net.config.strides, net.config.sr_ratios
        total = [1]
        for stride in strides:
            total.append(total[-1] * stride)
        self.multiple = strides[0]
        self.cell = total[-1]
        # What attention reduces must leave at least one cell.
        self.smallest = max(step * ratio for step, ratio in zip(total[1:], ratios, strict=True))
        self.reach = REACH

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build a model with random weights from `config_dict()`, or from any of `SIZES`.

        Raises:
            WeightsError: a number of stages or of colours that no such model has.
        """
        from transformers.models.segformer.configuration_segformer import SegformerConfig
        from transformers.models.segformer.modeling_segformer import SegformerForSemanticSegmentation

        settings = SegformerConfig.from_dict(config | {"num_labels": 1, "reshape_last_stage": True})
        if (settings.num_encoder_blocks, settings.num_channels) != (STAGES, 3):
            raise WeightsError(f"a boundary model has {STAGES} stages and takes RGB, 3 channels.")
        return cls(SegformerForSemanticSegmentation(settings))

    def config_dict(self) -> dict[str, Any]:
        """Transformers' configuration of `net`."""
        config: dict[str, Any] = self.net.config.to_dict()
        return config

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        """Logits (B, 1, H / 4, W / 4), rounded up, of normalised images."""
        x, maps = pixels_B3HW, []
        for stage in self.net.segformer.stages:
            x = stage(x)
            maps.append(x)
        return self._head(maps)

    def _head(self, maps: list[Tensor]) -> Tensor:
        head = self.net.decode_head
        size = maps[0].shape[-2:]
        # The concatenation begins with the last stage.
        blocks_DC = head.linear_fuse.weight.flatten(1).chunk(len(maps), dim=1)[::-1]
        mixed: Tensor | None = None
        for map_BChw, block_DC, layer in zip(maps, blocks_DC, head.linear_projections, strict=True):
            with torch.autocast(block_DC.device.type, enabled=False):
                weight_DC, bias_D = block_DC @ layer.proj.weight, block_DC @ layer.proj.bias
            part = F.conv2d(map_BChw, weight_DC[:, :, None, None], bias_D)
            if part.shape[-2:] != size:
                part = F.interpolate(part, size, mode="bilinear", align_corners=False)
            mixed = part if mixed is None else mixed.add_(part)
        logits: Tensor = head.classifier(head.dropout(head.activation(head.batch_norm(mixed))))
        return logits
