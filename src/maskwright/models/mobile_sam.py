"""MobileSAM (Zhang et al. 2023) and Light HQ-SAM (Ke et al. 2023): SAM and SAM-HQ with a TinyViT encoder.

Prompt encoder and decoders are those of `models.sam` and `models.sam_hq`; photos enter as in SAM.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from torch import Tensor

from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.tiny_vit import TOTAL_STRIDE, TinyViT, TinyViTConfig


class MobileSAM(SAM):
    """SAM's decoder on TinyViT. The encoder knows no absolute positions, so it takes inputs of any size.

    Attributes:
        vision: sizes of the encoder.
    """

    family: ClassVar[str] = "mobile_sam"
    vision: TinyViTConfig

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build a model with random weights from `config_dict()`."""
        vision = TinyViTConfig.from_dict(config["vision_config"])
        # transformers' encoder without a block stands in until ours takes its place and its neck.
        stand_in = {
            "image_size": vision.image_size,
            "patch_size": TOTAL_STRIDE,
            "hidden_size": vision.widths[-1],
            "num_hidden_layers": 0,
            "output_channels": vision.output_channels,
            "num_pos_feats": vision.num_pos_feats,
        }
        others = {key: part for key, part in config.items() if key != "model_type"}
        model = super().from_config(others | {"vision_config": stand_in})
        model.vision = vision
        model.net.vision_encoder = TinyViT(vision, model.net.vision_encoder.neck)
        return model

    def config_dict(self) -> dict[str, Any]:
        """SAM's configuration, with TinyViT's in the place of the vision transformer's."""
        return super().config_dict() | {"model_type": self.family, "vision_config": self.vision.to_dict()}

    def _encode(self, pixels_B3SS: Tensor) -> tuple[Tensor, Tensor | None]:
        """The neck's output (B, C, h, w) and stage 1's (B, h, w, D)."""
        image, early = self.net.vision_encoder(pixels_B3SS)
        return image, early


class LightHQSAM(MobileSAM, SAMHQ):
    """SAM-HQ's decoder on TinyViT."""

    family: ClassVar[str] = "mobile_sam_hq"
