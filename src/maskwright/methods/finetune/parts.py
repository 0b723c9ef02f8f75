"""Which parameters of a family belong to its image encoder, and which to its HQ token."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from maskwright.errors import ConfigError
from maskwright.methods.base import ParameterGroup
from maskwright.models.base import Features, MaskModel
from maskwright.models.hq_layers import HQ_PREFIXES
from maskwright.models.sam_hq import SAMHQ


@dataclass(frozen=True)
class Parts:
    """Starts of parameter names.

    Args:
        encoder: what `encode` runs, apart from the HQ layers.
        hq: what the HQ token adds.
    """

    encoder: tuple[str, ...]
    hq: tuple[str, ...] = ()


PARTS = {
    "sam": Parts(("net.vision_encoder.",)),
    "sam_hq": Parts(("net.vision_encoder.",), HQ_PREFIXES),
    "mobile_sam": Parts(("net.vision_encoder.",)),
    "mobile_sam_hq": Parts(("net.vision_encoder.",), HQ_PREFIXES),
    "sam2": Parts(("net.vision_encoder.", "net.no_memory_embedding", "net.mask_decoder.conv_s")),
    "nano": Parts(("encoder.",), ("decoder.hq_kernel.", "decoder.hq_mix.")),
}


def learning_groups(
    model: MaskModel, train: Literal["hq", "decoder", "all"], encoder_rate: float
) -> list[ParameterGroup]:
    """The groups that learn; vectors (biases, norms, tokens) and attention's biases are spared weight decay.

    Raises:
        ConfigError: train = "hq" for a family without HQ layers.
    """
    parts = PARTS[model.family]
    # The random positions are a constant, though transformers may hold them as a parameter.
    named = {n: p for n, p in model.named_parameters() if "positional_embedding" not in n}
    encoder = {name: p for name, p in named.items() if name.startswith(parts.encoder)}
    if train == "hq":
        if not parts.hq:
            raise ConfigError(
                f'a {model.family} has no HQ layers: use train = "decoder" or "all", or start from a SAM-HQ, '
                "a SAM, a MobileSAM or nano."
            )
        return _by_decay("hq", {name: p for name, p in named.items() if name.startswith(parts.hq)}, 1.0)
    groups = _by_decay("decoder", {name: p for name, p in named.items() if name not in encoder}, 1.0)
    if train == "all":
        groups += _by_decay("encoder", encoder, encoder_rate)
    return groups


def encode_frozen(model: MaskModel, pixels_B3SS: Tensor) -> Features:
    """What the image encoder alone makes of photos: constant while it is frozen, whatever else learns."""
    return model.backbone(pixels_B3SS) if isinstance(model, SAMHQ) else model.encode(pixels_B3SS)


def encoder_signature(model: MaskModel) -> str:
    """SHA-256 of the encoder's weights and of how photos enter it."""
    parts = PARTS[model.family]
    digest = hashlib.sha256(
        f"{model.family} {model.image_size} {model.resize} {model.pixel_mean} {model.pixel_std}".encode()
    )
    for name, value in model.state_dict().items():
        if name.startswith(parts.encoder):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _by_decay(name: str, parameters: dict[str, nn.Parameter], scale: float) -> list[ParameterGroup]:
    spared = ("token", "attention_biases")
    matrices = {
        key: p for key, p in parameters.items() if p.ndim > 1 and not any(name in key for name in spared)
    }
    vectors = {key: p for key, p in parameters.items() if key not in matrices}
    return [
        group
        for group in (
            ParameterGroup(name, matrices, scale),
            ParameterGroup(f"{name} vectors", vectors, scale, weight_decay=0.0),
        )
        if group.parameters
    ]
