"""What of a model learns: a part of it, without what is frozen by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from maskwright.errors import ConfigError, suggestion
from maskwright.methods.base import ParameterGroup
from maskwright.models.base import MaskModel
from maskwright.models.parts import PARTS, part_of

# Names that a user can freeze beside patterns of parameter names.
FREEZABLE = ("encoder", "encoder.blocks.A-B", "prompt_encoder", "decoder", "hq")


def learning_groups(
    model: MaskModel,
    train: Literal["hq", "decoder", "all"],
    encoder_rate: float,
    freeze: Sequence[str] = (),
) -> list[ParameterGroup]:
    """The groups that learn; vectors (biases, norms, tokens) and attention's biases are spared weight decay.

    Args:
        model: what learns.
        train: which part of it.
        encoder_rate: factor on the image encoder's learning rate.
        freeze: what of that part does not learn; see `named_parameters`.

    Raises:
        ConfigError: train = "hq" for a family without HQ layers, a frozen name that names nothing, or
            nothing is left to learn.
    """
    parts = PARTS[model.family]
    # The random positions are a constant, though transformers may hold them as a parameter.
    named = {n: p for n, p in model.named_parameters() if "positional_embedding" not in n}
    frozen = {name for what in freeze for name in named_parameters(model.family, what, named.keys())}
    named = {name: parameter for name, parameter in named.items() if name not in frozen}
    encoder = {name: p for name, p in named.items() if name.startswith(parts.encoder)}
    if train == "hq":
        if not parts.hq:
            raise ConfigError(
                f'a {model.family} has no HQ layers: use train = "decoder" or "all", or start from a SAM-HQ, '
                "a SAM, a MobileSAM or nano."
            )
        groups = _by_decay("hq", {name: p for name, p in named.items() if name.startswith(parts.hq)}, 1.0)
    else:
        groups = _by_decay("decoder", {name: p for name, p in named.items() if name not in encoder}, 1.0)
    if train == "all":
        groups += _by_decay("encoder", encoder, encoder_rate)
    if not groups:
        raise ConfigError(f'nothing is left to learn: train = "{train}", frozen are {", ".join(freeze)}.')
    return groups


def named_parameters(family: str, what: str, names: Collection[str]) -> set[str]:
    """The parameters that a word or pattern names.

    Args:
        family: of the model.
        what: encoder, encoder.blocks.3 or encoder.blocks.0-5 (counted from 0, both ends included),
            prompt_encoder, decoder (the mask decoder without HQ layers), hq, or a pattern of parameter names
            with *, as `maskwright models memory --depth 9` lists them.
        names: of all parameters that could be meant.

    Raises:
        ConfigError: none of them is.
    """
    parts = PARTS[family]
    blocks = re.fullmatch(r"encoder\.blocks\.(\d+)(?:-(\d+))?", what)
    if blocks is not None:
        first, last = int(blocks[1]), int(blocks[2] or blocks[1])
        starts = tuple(f"{parts.blocks}{number}." for number in range(first, last + 1))
        found = {name for name in names if starts and name.startswith(starts)}
    elif what == "prompt_encoder":
        found = {name for name in names if name.startswith(parts.prompts)}
    elif what in ("encoder", "decoder", "hq"):
        found = {n for n in names if part_of(family, n) == what and not n.startswith(parts.prompts)}
    else:
        found = {name for name in names if fnmatchcase(name, what)}
    if not found:
        known = f"use {', '.join(FREEZABLE)}, or a pattern of parameter names with *"
        raise ConfigError(
            f"freeze: {what!r} names nothing in this {family}; {known}.{suggestion(what, FREEZABLE)}"
        )
    return found


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
