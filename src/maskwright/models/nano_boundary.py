"""nano-boundary: our own small boundary model, nano's encoder with a head that marks outlines.

The encoder has learned to tell objects apart from boxes and clicks, so a boundary model that starts from it
needs few photos with outlines. The head joins nano's stride-4 maps with the photo's own details at stride 2:
an outline need not be found coarser than it is drawn.

Axes: B images, C channels, H W input sizes, h w stride-4 sizes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.base import Features
from maskwright.models.boundary import BoundaryModel
from maskwright.models.nano import ConvBlock, NanoConfig, NanoEncoder, enlarge

NANO = NanoConfig()
STRIDE = 16
# Attention sees all of a photo, but beyond this it matters little to an outline.
REACH = 96
# Photos of its training were up to 720 px long: in larger ones it would outline every texture.
LARGEST = 800
RARE = -2.0  # logit that a new model gives everywhere: about an eighth, as outlines are rare


@dataclass(frozen=True)
class NanoBoundaryConfig:
    """Sizes of a nano boundary model.

    Args:
        stem, fine, middle, coarse, depth, heads, width, detail: as in `NanoConfig`, of which the encoder has
            these.
        head: channels of the head at stride 2; it has twice as many at stride 4.
    """

    stem: int = NANO.stem
    fine: int = NANO.fine
    middle: int = NANO.middle
    coarse: int = NANO.coarse
    depth: int = NANO.depth
    heads: int = NANO.heads
    width: int = NANO.width
    detail: int = NANO.detail
    head: int = 32

    @classmethod
    def like(cls, nano: NanoConfig) -> Self:
        """With the encoder of a nano."""
        names = {entry.name for entry in fields(cls)} & {entry.name for entry in fields(nano)}
        return cls(**{name: getattr(nano, name) for name in names})

    @property
    def encoder(self) -> NanoConfig:
        """Sizes of the encoder."""
        return NanoConfig(**{name: value for name, value in asdict(self).items() if name != "head"})


class BoundaryHead(nn.Module):
    """The encoder's maps and the photo to logits at stride 2."""

    def __init__(self, config: NanoBoundaryConfig) -> None:
        super().__init__()
        width = config.head
        self.join = nn.Conv2d(config.fine + config.detail, 2 * width, 1)
        self.mix_fine = ConvBlock(2 * width)
        self.down = nn.Conv2d(2 * width, width, 1)
        self.detail = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.mix_detail = ConvBlock(width)
        self.out = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.constant_(self.out.bias, RARE)  # type: ignore[arg-type]

    def forward(self, pixels_B3HW: Tensor, features: Features) -> Tensor:
        """Logits (B, 1, H / 2, W / 2)."""
        assert features.early is not None
        fine_BChw = torch.cat([features.early.permute(0, 3, 1, 2), features.high_res[0]], dim=1)
        fine_BChw = self.mix_fine(self.join(fine_BChw))
        detail = self.mix_detail(enlarge(self.down(fine_BChw)) + self.detail(pixels_B3HW))
        logits: Tensor = self.out(F.relu(detail))
        return logits


class NanoBoundary(BoundaryModel):
    """Nano's encoder and a boundary head; takes photos of any size, best as large as those of its training.

    Args:
        config: sizes.
    """

    family: ClassVar[str] = "nano_boundary"
    multiple = smallest = cell = STRIDE
    reach = REACH
    largest = LARGEST

    def __init__(self, config: NanoBoundaryConfig | None = None) -> None:
        super().__init__()
        self.config = config or NanoBoundaryConfig()
        self.encoder = NanoEncoder(self.config.encoder)
        self.head = BoundaryHead(self.config)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        """Logits (B, 1, H / 2, W / 2) of normalised images whose sides are multiples of 16."""
        pixels_B3HW = pixels_B3HW.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.head(pixels_B3HW, self.encoder(pixels_B3HW))
        return logits

    def config_dict(self) -> dict[str, Any]:
        """The settings from which `from_config` builds the same architecture again."""
        return asdict(self.config)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build a model with random weights from `config_dict()`."""
        return cls(NanoBoundaryConfig(**config))
