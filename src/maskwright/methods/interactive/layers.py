"""Layer-wise decay of the learning rate: the deeper a block of the encoder lies, the less it changes.

Block i of L (from 0) learns at decay^(L - i) times the rate, what comes before the blocks (patches,
positions, nano's convolutions) at decay^(L + 1), what comes after them (neck, decoder) at the full rate: as
in BEiT (Bao et al. 2022) and ViTDet (Li et al. 2022), whose recipe SAM follows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from maskwright.methods.base import ParameterGroup
from maskwright.methods.finetune.parts import learning_groups
from maskwright.models.base import MaskModel
from maskwright.models.parts import PARTS


@dataclass(frozen=True)
class Depth:
    """Starts of parameter names: of the encoder's blocks (a number follows), and of what comes after them."""

    blocks: str
    after: tuple[str, ...]


_VIT = Depth("net.vision_encoder.layers.", ("net.vision_encoder.neck.",))
DEPTHS = {
    "sam": _VIT,
    "sam_hq": _VIT,
    # Of TinyViT the four stages.
    "mobile_sam": _VIT,
    "mobile_sam_hq": _VIT,
    "sam2": Depth(
        "net.vision_encoder.backbone.blocks.",
        ("net.vision_encoder.neck.", "net.no_memory_embedding", "net.mask_decoder."),
    ),
    "nano": Depth(
        "encoder.blocks.",
        (
            "encoder.neck.",
            "encoder.coarse_to_middle.",
            "encoder.middle_out.",
            "encoder.middle_to_fine.",
            "encoder.fine_out.",
            "encoder.fine_mix.",
        ),
    ),
}


def rate_scales(model: MaskModel, decay: float) -> dict[str, float]:
    """The factor on the learning rate of each parameter, by name."""
    depth, encoder = DEPTHS[model.family], PARTS[model.family].encoder
    names = [name for name, _ in model.named_parameters()]
    numbers = {name: _number(name, depth.blocks) for name in names if name.startswith(depth.blocks)}
    blocks = 1 + max(numbers.values())

    def exponent(name: str) -> int:
        if name in numbers:
            return blocks - numbers[name]
        return blocks + 1 if name.startswith(encoder) and not name.startswith(depth.after) else 0

    return {name: decay ** exponent(name) for name in names}


def layered_groups(model: MaskModel, decay: float) -> list[ParameterGroup]:
    """Everything learns, each block of the encoder at its own rate; vectors are spared weight decay."""
    scales = rate_scales(model, decay)
    groups = []
    for group in learning_groups(model, "all", 1.0):
        by_scale: dict[float, dict[str, nn.Parameter]] = {}
        for name, parameter in group.parameters.items():
            by_scale.setdefault(scales[name], {})[name] = parameter
        groups += [
            replace(group, name=f"{group.name} x {scale:.4g}", parameters=parameters, lr_scale=scale)
            for scale, parameters in sorted(by_scale.items())
        ]
    return groups


def _number(name: str, start: str) -> int:
    return int(name.removeprefix(start).partition(".")[0])
