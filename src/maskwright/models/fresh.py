"""A model of a known architecture with random weights, to be trained from nothing, at any input size."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from maskwright.errors import InputError
from maskwright.models.base import MaskModel
from maskwright.models.checkpoint import TRANSFORMERS_FAMILIES
from maskwright.models.registry import family_class, read

# SAM's published encoders (Kirillov et al. 2023): width, blocks, heads, blocks with global attention. They
# are here so that no weights need to be fetched to be thrown away.
_ENCODERS = {
    "vit-b": (768, 12, 12, (2, 5, 8, 11)),
    "vit-l": (1024, 24, 16, (5, 11, 17, 23)),
    "vit-h": (1280, 32, 16, (7, 15, 23, 31)),
}
# Every encoder's patches and windows divide inputs of such a size.
STEP = 32


def fresh_model(
    name_or_path: str | Path,
    *,
    base: str | Path | None = None,
    num_heads: int | None = None,
    image_size: int | None = None,
) -> MaskModel:
    """Make a model like a named or stored one, its weights drawn from torch's global random state.

    Args:
        name_or_path: gives the architecture; of SAM and SAM-HQ by name, no file is needed.
        base: for files that hold a part: the model they go on.
        num_heads: attention heads of the decoder, where the file does not tell.
        image_size: side of the square input in pixels, a multiple of 32; None: the architecture's own.

    Raises:
        InputError: the size is no multiple of 32.
        MaskwrightError: as `registry.load`.
    """
    if image_size is not None and (image_size < 2 * STEP or image_size % STEP):
        raise InputError(f"input size {image_size}: must be a multiple of {STEP} from {2 * STEP} on.")
    known = _named(str(name_or_path))
    if known is None:
        checkpoint = read(name_or_path, base=base, num_heads=num_heads)
        known = checkpoint.family, checkpoint.config
    family, config = known
    model: MaskModel = family_class(family, str(name_or_path)).from_config(
        _resized(family, config, image_size)
    )
    if family in TRANSFORMERS_FAMILIES:
        # As the originals begin: transformers would draw all, output tokens too, from a narrow normal.
        for module in model.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return model


def _named(name: str) -> tuple[str, dict[str, Any]] | None:
    """Family and configuration of a published SAM or SAM-HQ."""
    start, _, size = name.partition("-vit-")
    encoder = _ENCODERS.get(f"vit-{size}")
    if start not in ("sam", "sam-hq") or encoder is None:
        return None
    width, depth, heads, global_blocks = encoder
    vision = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "global_attn_indexes": list(global_blocks),
        "mlp_dim": 4 * width,
    }
    decoder = {"vit_dim": width} if start == "sam-hq" else {}
    config = {"vision_config": vision, "prompt_encoder_config": {}, "mask_decoder_config": decoder}
    return start.replace("-", "_"), config


def _resized(family: str, config: dict[str, Any], side: int | None) -> dict[str, Any]:
    if side is None:
        return config
    config = copy.deepcopy(config)
    if "vision_config" not in config:
        return config | {"image_size": side}
    vision, prompt = config["vision_config"], config["prompt_encoder_config"]
    prompt["image_size"] = side
    prompt.pop("image_embedding_size", None)  # follows from the two
    if family == "sam2":
        vision["backbone_config"]["image_size"] = [side, side]
        vision["backbone_feature_sizes"] = [[side // stride] * 2 for stride in (4, 8, 16)]
    else:
        vision["image_size"] = side
    return config
