"""SAM 2 and 2.1 with the memory that follows objects through a video (Ravi et al. 2024, section 4).

The video model is transformers' own, `Sam2VideoModel`; here are its sizes, read off the tensors, and the
strict loading of the files that `registry.load` reads for single images and takes without the memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.sam2_video.configuration_sam2_video import (
    Sam2VideoConfig,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel

from maskwright.errors import WeightsError
from maskwright.io.weights import read_model_json, read_weights
from maskwright.models import keys
from maskwright.models.checkpoint import FOLDER_FILES, NET, Checkpoint
from maskwright.models.configs import check_config
from maskwright.models.hub import locate
from maskwright.models.registry import check_state
from maskwright.models.sam2 import SAM2
from maskwright.models.sizes import Config, Tensors, sam2_config
from maskwright.runtime import choose_device

# transformers gives the memory's keys this width, whatever the configuration says.
_FIXED_MEMORY_WIDTH = 64
_NAMES = "memory_temporal_positional_encoding"


class SAM2Video(SAM2):
    """SAM 2's video predictor; `net` is transformers' `Sam2VideoModel`. On a single image it is `SAM2`."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SAM2Video:
        """Build a model with random weights from `config_dict()`, or what `load_video` reads off a file."""
        # Given as objects, for transformers 5.17 made a dict of the decoder's settings a prompt encoder's.
        parts = {
            "prompt_encoder_config": Sam2VideoPromptEncoderConfig(**_plain(config["prompt_encoder_config"])),
            "mask_decoder_config": Sam2VideoMaskDecoderConfig(**_plain(config["mask_decoder_config"])),
        }
        net = Sam2VideoModel(Sam2VideoConfig(**{**config, **parts}))
        width = int(net.mem_dim)
        if width != _FIXED_MEMORY_WIDTH:
            for layer in net.memory_attention.layers:
                attention = layer.cross_attn_image
                attention.k_proj, attention.v_proj = (
                    nn.Linear(width, attention.internal_dim) for _ in range(2)
                )
        return cls(net)


def load_video(
    name_or_path: str | Path,
    *,
    base: str | Path | None = None,
    num_heads: int | None = None,
    image_size: int | None = None,
    device: str = "auto",
    offline: bool = False,
) -> SAM2Video:
    """Load a SAM 2 model with its memory, ready for inference.

    Args:
        name_or_path: a name, the original `.pt` file, a transformers folder, or its hub id.
        base: must be None: SAM 2 is never a decoder alone.
        num_heads: as for `registry.load`.
        image_size: the same.
        device: the same.
        offline: the same.

    Raises:
        WeightsError: no SAM 2, one without its memory, or keys and shapes that do not fit.
        InputError: an argument contradicts the file.
        OfflineError: the model is not here and cannot be fetched.
    """
    source = str(name_or_path)
    path = locate(name_or_path, offline=offline)
    if base is not None:
        raise WeightsError(f"{source}: SAM 2 is loaded whole, without base={base}.")
    read = _read_folder(path) if path.is_dir() else _read_file(path, num_heads, image_size)
    try:
        model = SAM2Video.from_config(read.config)
    except Exception as error:  # transformers' validation has its own errors
        why = " ".join(str(error).split())[:200]
        raise WeightsError(f"{source}: no SAM 2 video model has this configuration ({why}).") from error
    check_state(model.state_dict(), read, source)
    model.load_state_dict(read.state, strict=True)
    return model.eval().to(choose_device(device).value)


def memory_config(tensors: Tensors, image_size: int) -> Config:
    """The sizes of the memory modules, read off their tensors under transformers' names.

    SAM 2.0 has neither the embedding of occluded frames nor positions of object pointers in time. What no
    tensor tells (one head, the scale of masks in the memory) is the same in all published models.
    """
    query = tensors["memory_attention.layers.0.self_attn.q_proj.weight"]
    down = [
        tensors[f"{key}.conv.weight"] for key in _numbered(tensors, "memory_encoder.mask_downsampler.layers")
    ]
    fuser = "memory_encoder.memory_fuser.layers.0"
    depthwise = tensors[f"{fuser}.depthwise_conv.weight"]
    stride = round((down[0].shape[0] / down[0].shape[1]) ** 0.5)
    return {
        "image_size": image_size,
        "num_maskmem": tensors[_NAMES].shape[0],
        "enable_occlusion_spatial_embedding": "occlusion_spatial_embedding_parameter" in tensors,
        "enable_temporal_pos_encoding_for_object_pointers": (
            "temporal_positional_encoding_projection_layer.weight" in tensors
        ),
        "memory_attention_hidden_size": query.shape[1],
        "memory_attention_downsample_rate": query.shape[1] // query.shape[0],
        "memory_attention_num_layers": len(_numbered(tensors, "memory_attention.layers")),
        "memory_attention_feed_forward_hidden_size": tensors[
            "memory_attention.layers.0.linear1.weight"
        ].shape[0],
        "memory_attention_rope_feat_sizes": [image_size // 16] * 2,
        "memory_encoder_hidden_size": tensors["memory_encoder.feature_projection.weight"].shape[0],
        "memory_encoder_output_channels": tensors["memory_encoder.projection.weight"].shape[0],
        "mask_downsampler_embed_dim": tensors["memory_encoder.mask_downsampler.final_conv.weight"].shape[0],
        "mask_downsampler_kernel_size": down[0].shape[-1],
        "mask_downsampler_padding": down[0].shape[-1] // 2,
        "mask_downsampler_stride": stride,
        "mask_downsampler_total_stride": stride ** len(down),
        "memory_fuser_num_layers": len(_numbered(tensors, "memory_encoder.memory_fuser.layers")),
        "memory_fuser_embed_dim": depthwise.shape[0],
        "memory_fuser_intermediate_dim": tensors[f"{fuser}.pointwise_conv1.weight"].shape[0],
        "memory_fuser_kernel_size": depthwise.shape[-1],
        "memory_fuser_padding": depthwise.shape[-1] // 2,
    }


def _read_file(path: Path, num_heads: int | None, image_size: int | None) -> Checkpoint:
    """An original file."""
    tensors = read_weights(path).tensors
    if not any(keys.starts_with(key, ["image_encoder.trunk."]) for key in tensors):
        raise WeightsError(
            f"{path}: no original SAM 2 file, so it has no memory of a video; give sam2.1_hiera_tiny.pt or "
            "the like, or a transformers folder of SAM 2 video."
        )
    names = {keys.rename(key, keys.SAM2_VIDEO_RULES): key for key in tensors}
    state = {name: tensors[key] for name, key in names.items()}
    try:
        config, assumed = sam2_config(tensors, num_heads, image_size)
        # transformers holds the four point embeddings as one table.
        rows = [state.pop(f"prompt_encoder.point_embed.{i}.weight") for i in range(4)]
        state["prompt_encoder.point_embed.weight"] = torch.cat(rows)
        config |= memory_config(state, config["prompt_encoder_config"]["image_size"])
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"{path}: incomplete, {error} is missing or misshapen.") from error
    return _checkpoint(config, state, "SAM 2 with its memory (Meta)", names, assumed)


def _read_folder(path: Path) -> Checkpoint:
    """A folder of transformers; a setting of the memory that its tensors do not bear out is refused."""
    file = next((path / name for name in FOLDER_FILES if (path / name).is_file()), None)
    if file is None or not (path / "config.json").is_file():
        raise WeightsError(f"{path}: no model in this folder; expected {FOLDER_FILES[0]} with config.json.")
    given = read_model_json(path / "config.json")
    family, config = check_config(path / "config.json", given)
    state = read_weights(file).tensors
    if family != "sam2" or _NAMES not in state:
        raise WeightsError(f"{path}: a {family} model without the memory of SAM 2 video.")
    try:
        memory = memory_config(state, config["prompt_encoder_config"].get("image_size", 1024))
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"{path}: incomplete, {error} is missing or misshapen.") from error
    other = [key for key in memory if key in given and given[key] != memory[key]]
    if other:
        raise WeightsError(f"{path}: {other[0]} is {given[other[0]]} in config.json, not {memory[other[0]]}.")
    return _checkpoint(config | memory, state, "transformers folder of SAM 2 video", {}, ())


def _checkpoint(
    config: Config, state: dict[str, Tensor], layout: str, names: Mapping[str, str], assumed: tuple[str, ...]
) -> Checkpoint:
    # Files hold the positional matrix once, transformers twice.
    pair = (keys.SHARED_POSITION, keys.PROMPT_POSITION)
    state |= {
        here: state[there] for here, there in (pair, pair[::-1]) if here not in state and there in state
    }
    return Checkpoint(
        "sam2",
        {key: value for key, value in config.items() if key != "model_type"},
        {f"{NET}{key}": value for key, value in state.items()},
        layout,
        assumed,
        names={f"{NET}{new}": old for new, old in names.items()},
    )


def _numbered(tensors: Tensors, prefix: str) -> list[str]:
    """The prefixes `prefix.0`, `prefix.1`, … that are there."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    found = {int(match[1]) for match in map(pattern.match, tensors) if match}
    return [f"{prefix}.{number}" for number in sorted(found)]


def _plain(part: Config) -> Config:
    return {key: value for key, value in part.items() if key != "model_type"}
