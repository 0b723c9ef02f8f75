"""Turn any model file we know into a family, its configuration and its weights under our names.

A layout is recognised by the keys in the file, never by its name:

| layout | keys |
|---|---|
| Meta SAM | `image_encoder.` `prompt_encoder.` `mask_decoder.` |
| merged SAM-HQ | the same, with `mask_decoder.hf_token.` |
| MobileSAM, Light HQ-SAM | as SAM and SAM-HQ, with `image_encoder.patch_embed.seq.` |
| Meta SAM 2 / 2.1 | `image_encoder.trunk.` `sam_mask_decoder.` and memory modules, which are dropped |
| SAM decoder, SAM-HQ training file, HQ layers only | no prefix; they go on a base model |
| SegFormer of transformers | `decode_head.linear_fuse.`; the folder's `config.json` is not needed |
| transformers folder | `config.json` beside safetensors, shards or `pytorch_model.bin` |
| our own | safetensors metadata with format "maskwright", family and config; a `part` alone goes on a base |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwright.errors import InputError, WeightsError
from maskwright.io.files import shown
from maskwright.io.weights import Weights, read_metadata, read_model_json, read_weights
from maskwright.models import keys
from maskwright.models.configs import check_config, check_value
from maskwright.models.parts import HQ_OF, PART_NAMES, on_base, plain_family
from maskwright.models.sizes import (
    Tensors,
    early_width,
    mobile_sam_config,
    sam2_config,
    sam_config,
    segformer_config,
)
from maskwright.models.task_prompts import TaskPromptSettings

FORMAT, VERSION = "maskwright", "1"
TASK_PROMPTS = "task_prompts"  # beside the family's own settings in a stored configuration
NET = "net."
TRANSFORMERS_FAMILIES = frozenset({"sam", "sam_hq", "sam2"})
# Families whose weights are below `net.`, with a configuration as transformers writes it.
NET_FAMILIES = TRANSFORMERS_FAMILIES | {"mobile_sam", "mobile_sam_hq"}
# Families whose stored configuration is transformers', or looks like it.
CONFIG_FAMILIES = NET_FAMILIES | {"segformer"}
SEGFORMER_KEY = "decode_head.linear_fuse.weight"
# What only the image encoder of MobileSAM has.
TINY_VIT_KEY = "image_encoder.patch_embed.seq.0.c.weight"
FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model's content before it is built.

    Args:
        family: name of the family that can hold it.
        config: what the family's `from_config` takes.
        state: its state dict; for all but nano these are transformers' keys below `net.`, but for TinyViT's,
            which are the original's.
        layout: what kind of file it was, in words.
        assumed: sizes that no tensor tells and that were taken from the published models.
        dropped: keys left out by rule (SAM 2's memory modules).
        names: the key in the file of each key in `state`, where it differs.
        task_prompts: what task prompts are among the state, or None.
        metadata: what the header of our own file says.
    """

    family: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    layout: str
    assumed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    task_prompts: TaskPromptSettings | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def read_checkpoint(
    path: Path,
    *,
    base: Checkpoint | None = None,
    num_heads: int | None = None,
    image_size: int | None = None,
) -> Checkpoint:
    """Read a model file or folder of any known layout.

    Args:
        path: the file or folder.
        base: the model on which a decoder-only file goes.
        num_heads: attention heads of the decoder, which no original file tells; 8 in all published ones.
        image_size: input side in pixels, which files of SAM 2 and MobileSAM do not tell; 1024 in those
            published.

    Raises:
        WeightsError: unreadable, unknown or incomplete.
        InputError: an argument contradicts the file or does not apply to it.
    """
    found = _read_folder(path) if path.is_dir() else _read_file(path, base, num_heads, image_size)
    if base is not None and "base" not in found.layout:
        raise InputError(f"{path} is a complete model ({found.layout}); base= is for decoder-only files.")
    _check_given(path, found, num_heads, image_size)
    return found


def read_part(path: Path, part: str) -> tuple[Checkpoint, dict[str, str]]:
    """Read our own file that holds a part of a model, such as a mask refiner, with its metadata.

    Raises:
        WeightsError: unreadable, or something else.
    """
    weights = read_weights(path)
    if weights.metadata.get("format") != FORMAT:
        raise WeightsError(f"{path}: holds no {part} that was saved by Maskwright.")
    return _own(path, weights, part), weights.metadata


def _check_given(path: Path, found: Checkpoint, num_heads: int | None, image_size: int | None) -> None:
    """A size that was given must be the model's own; it is never ignored."""
    decoder, prompt = (
        found.config.get(part, {}) for part in ("mask_decoder_config", "prompt_encoder_config")
    )
    own_size = prompt.get("image_size", found.config.get("image_size"))
    for name, given, own in (
        ("num_heads", num_heads, decoder.get("num_attention_heads", found.config.get("decoder_heads"))),
        ("image_size", image_size, own_size),
    ):
        if given is not None and own is not None and given != own:
            raise InputError(f"{name}={given} contradicts {path}, which says {own}; leave it out.")


def _read_folder(path: Path) -> Checkpoint:
    weights_file = next((path / name for name in FOLDER_FILES if (path / name).is_file()), None)
    if weights_file is None:
        message = f"{path}: no model in this folder; expected {FOLDER_FILES[0]} (with config.json)."
        # What `maskwright train` exports.
        trained = sorted(path.glob("model/*.safetensors"))
        raise WeightsError(message + (f" Did you mean {shown(trained[0])}?" if trained else ""))
    if _is_ours(weights_file):
        return _own(weights_file, read_weights(weights_file))
    config_file = path / "config.json"
    if not config_file.is_file():
        raise WeightsError(f"{path}: {weights_file.name} has no config.json beside it.")
    family, config = check_config(config_file, read_model_json(config_file))
    state = read_weights(weights_file).tensors
    if family == "segformer":
        return _segformer(state, config, "transformers folder")
    dropped = tuple(
        key for key in state if family == "sam2" and keys.starts_with(key, keys.SAM2_VIDEO_MEMORY)
    )
    state = {key: tensor for key, tensor in state.items() if key not in set(dropped)}
    return _finish(family, config, state, "transformers folder", dropped=dropped)


def _is_ours(path: Path) -> bool:
    return not path.name.endswith(".json") and read_metadata(path).get("format") == FORMAT


def _read_file(
    path: Path, base: Checkpoint | None, num_heads: int | None, image_size: int | None
) -> Checkpoint:
    weights = read_weights(path)
    tensors = weights.tensors
    if weights.metadata.get("format") == FORMAT:
        part = next((name for name in PART_NAMES if name == weights.metadata.get("part")), None)
        held = _own(path, weights, part)
        return held if part is None else on_base(path, part, held, base)
    try:
        if any(keys.starts_with(key, ["image_encoder.trunk."]) for key in tensors):
            return _meta_sam2(tensors, num_heads, image_size)
        if TINY_VIT_KEY in tensors:
            return _mobile_sam(tensors, num_heads, image_size)
        if "image_encoder.pos_embed" in tensors:
            return _meta_sam(tensors, num_heads)
        if SEGFORMER_KEY in tensors:
            return _segformer(tensors)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(
            f"{path}: the checkpoint is incomplete, {error} is missing or misshapen."
        ) from error
    if _on_base(tensors):
        return _overlay(path, tensors, base, num_heads)
    raise WeightsError(
        f"{path}: unknown layout{_hint(tensors)}; its keys are {keys.listing(sorted(tensors))}."
    )


def _hint(tensors: Tensors) -> str:
    if any(key.startswith("vision_encoder.") for key in tensors):
        return " (transformers' keys: give the folder that holds it and its config.json)"
    return ""


def _own(path: Path, weights: Weights, part: str | None = None) -> Checkpoint:
    metadata = weights.metadata
    held = metadata.get("part")
    if held != part:
        found, wanted = ("a whole model" if name is None else f"only a {name}" for name in (held, part))
        raise WeightsError(
            f"{path}: holds {found}, not {wanted.removeprefix('only ')}; a {held or part} goes with the "
            "model it was made for (see `maskwright segment --refine`)."
        )
    if metadata.get("version") != VERSION:
        raise WeightsError(
            f"{path}: checkpoint version {metadata.get('version')!r}, but this release reads "
            f"{VERSION!r}: update Maskwright."
        )
    family = metadata.get("family", "")
    try:
        config = json.loads(metadata.get("config", ""))
    except ValueError as error:
        raise WeightsError(f"{path}: the configuration in its metadata is not JSON.") from error
    tasks = _task_prompts(path, config.pop(TASK_PROMPTS, None)) if isinstance(config, dict) else None
    if family in CONFIG_FAMILIES:
        kind, config = check_config(path, config)
        if kind != family:
            raise WeightsError(f"{path}: says family {family!r}, but its configuration is of {kind!r}.")
    elif not isinstance(config, dict):
        raise WeightsError(f"{path}: the configuration is a {type(config).__name__}, not an object.")
    else:
        for name, value in config.items():
            check_value(path, name, value)
    return Checkpoint(
        family, config, weights.tensors, "Maskwright checkpoint", task_prompts=tasks, metadata=metadata
    )


def _task_prompts(path: Path, value: object) -> TaskPromptSettings | None:
    try:
        return None if value is None else TaskPromptSettings.from_json(value)
    except InputError as error:
        raise WeightsError(f"{path}: refused, {error}") from error


def _meta_sam(tensors: Tensors, num_heads: int | None) -> Checkpoint:
    config, assumed = sam_config(tensors, num_heads)
    family, layout = ("sam_hq", "SAM-HQ, merged") if _has_hq(tensors) else ("sam", "Segment Anything (Meta)")
    state, names = _renamed(tensors, keys.SAM_RULES)
    return _finish(family, config, state, layout, assumed=assumed, names=names)


def _mobile_sam(tensors: Tensors, num_heads: int | None, image_size: int | None) -> Checkpoint:
    config, assumed = mobile_sam_config(tensors, num_heads, image_size)
    family, layout = ("mobile_sam_hq", "Light HQ-SAM") if _has_hq(tensors) else ("mobile_sam", "MobileSAM")
    state, names = _renamed(tensors, keys.MOBILE_SAM_RULES)
    return _finish(family, config, state, layout, assumed=assumed, names=names)


def _has_hq(tensors: Tensors) -> bool:
    return "mask_decoder.hf_token.weight" in tensors


def _meta_sam2(tensors: Tensors, num_heads: int | None, image_size: int | None) -> Checkpoint:
    config, assumed = sam2_config(tensors, num_heads, image_size)
    dropped = tuple(key for key in tensors if keys.starts_with(key, keys.SAM2_MEMORY))
    kept = {key: tensor for key, tensor in tensors.items() if key not in set(dropped)}
    state, names = _renamed(kept, keys.SAM2_RULES)
    # transformers holds the four point embeddings as one table.
    rows = [state.pop(f"prompt_encoder.point_embed.{i}.weight") for i in range(4)]
    state["prompt_encoder.point_embed.weight"] = torch.cat(rows)
    return _finish("sam2", config, state, "SAM 2 (Meta)", assumed=assumed, dropped=dropped, names=names)


def _segformer(
    tensors: Tensors, config: dict[str, Any] | None = None, layout: str = "SegFormer weights"
) -> Checkpoint:
    """SegFormer, with the configuration given or one read off the tensors."""
    state, names = _renamed(tensors, keys.SEGFORMER_RULES)
    assumed: tuple[str, ...] = ()
    if config is None:
        config, assumed = segformer_config(state)
    return _finish("segformer", config, state, layout, assumed=assumed, names=names)


def _on_base(tensors: Tensors) -> bool:
    return any(keys.starts_with(key, (*keys.SAM_DECODER_PARTS, *keys.HQ_PARTS)) for key in tensors)


def _overlay(path: Path, tensors: Tensors, base: Checkpoint | None, num_heads: int | None) -> Checkpoint:
    """Put a decoder-only file on a base model: a whole one replaces the base's, HQ layers are added."""
    has_hq = any(keys.starts_with(key, keys.HQ_PARTS) for key in tensors)
    has_decoder = any(keys.starts_with(key, keys.SAM_DECODER_PARTS) for key in tensors)
    layout = "SAM-HQ decoder on a base" if has_hq else "SAM decoder on a base"
    layout = layout if has_decoder else "HQ layers on a base"
    if base is None:
        raise WeightsError(
            f"{path}: a decoder without an image encoder ({layout}); "
            "give the SAM model it was trained on as base=."
        )
    plain = plain_family(base.family)
    if plain not in HQ_OF:
        raise InputError(f"{path}: its base must be SAM, SAM-HQ or MobileSAM, not {base.family}.")
    if base.task_prompts is not None:
        raise InputError(
            f"{path}: its base has task prompts, which belong to the base's own decoder; give one without."
        )
    state, names = _renamed({f"mask_decoder.{key}": value for key, value in tensors.items()}, keys.SAM_RULES)
    names = {new: old.removeprefix("mask_decoder.") for new, old in names.items()}
    kept = {key.removeprefix(NET): value for key, value in base.state.items()}
    if has_decoder:
        kept = {key: value for key, value in kept.items() if not key.startswith("mask_decoder.")}
    family = HQ_OF[plain] if has_hq else plain
    config = family_config(base.config, family)
    if num_heads is not None:
        config["mask_decoder_config"]["num_attention_heads"] = num_heads
    return _finish(family, config, kept | state, layout, assumed=base.assumed, names=names)


def family_config(config: Mapping[str, Any], family: str) -> dict[str, Any]:
    """A base's configuration for its family with or without HQ, which knows the width of the early map."""
    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    result = {part: {k: v for k, v in config[part].items() if k != "model_type"} for part in parts}
    result["mask_decoder_config"].pop("vit_dim", None)
    if family in HQ_OF.values():
        result["mask_decoder_config"]["vit_dim"] = early_width(result["vision_config"])
    return result


def _renamed(tensors: Tensors, rules: keys.Rules) -> tuple[dict[str, Tensor], dict[str, str]]:
    state, names = {}, {}
    for key, tensor in tensors.items():
        name = keys.rename(key, rules)
        state[name] = tensor
        names[name] = key
    return state, names


def _finish(
    family: str,
    config: dict[str, Any],
    state: dict[str, Tensor],
    layout: str,
    *,
    assumed: tuple[str, ...] = (),
    dropped: tuple[str, ...] = (),
    names: Mapping[str, str] | None = None,
) -> Checkpoint:
    """Fill in the positional matrix, which files hold once and transformers twice, and go below `net.`."""
    pair = (keys.SHARED_POSITION, keys.PROMPT_POSITION)
    for here, there in (pair, pair[::-1]):
        if here in state and there not in state:
            state[there] = state[here]
    state = {f"{NET}{key}": tensor for key, tensor in state.items()}
    original = {f"{NET}{new}": old for new, old in (names or {}).items()}
    return Checkpoint(family, config, state, layout, assumed, dropped, original)
