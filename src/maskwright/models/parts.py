"""Which weights of a family are its image encoder, its HQ layers, and which the rest, its decoder.

A file may hold one of the three parts alone; `on_base` puts it on a whole model of the same architecture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from maskwright.errors import InputError, WeightsError
from maskwright.models.keys import listing

if TYPE_CHECKING:
    from maskwright.models.checkpoint import Checkpoint

Part = Literal["encoder", "decoder", "hq"]
PART_NAMES: tuple[Part, ...] = ("encoder", "decoder", "hq")
# Modules and parameters that SAM-HQ adds to SAM's mask decoder, by the start of their names.
HQ_PREFIXES = tuple(
    f"net.mask_decoder.{name}"
    for name in (
        "hq_token.",
        "hq_mask_mlp.",
        "compress_vit_",
        "encoder_conv",
        "encoder_norm.",
        "mask_conv",
        "mask_norm.",
    )
)
# The family that a SAM with HQ layers belongs to.
HQ_OF = {"sam": "sam_hq", "mobile_sam": "mobile_sam_hq"}
# What tells SAM-HQ's configuration from that of the SAM inside it.
HQ_SETTINGS = frozenset({"model_type", "vit_dim"})

Value = TypeVar("Value")


@dataclass(frozen=True)
class Parts:
    """Starts of parameter names.

    Args:
        encoder: what `encode` runs, apart from the HQ layers.
        hq: what the HQ token adds.
        prompts: the prompt encoder; what none of the three names is the mask decoder.
        blocks: the encoder's transformer blocks; a number follows.
        free: settings of the architecture on which no weight depends.
    """

    encoder: tuple[str, ...]
    hq: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ("net.prompt_encoder.",)
    blocks: str = "net.vision_encoder.layers."
    free: frozenset[str] = frozenset()


PARTS = {
    "sam": Parts(("net.vision_encoder.",)),
    "sam_hq": Parts(("net.vision_encoder.",), HQ_PREFIXES),
    "mobile_sam": Parts(("net.vision_encoder.",)),
    "mobile_sam_hq": Parts(("net.vision_encoder.",), HQ_PREFIXES),
    "sam2": Parts(
        ("net.vision_encoder.", "net.no_memory_embedding", "net.mask_decoder.conv_s"),
        blocks="net.vision_encoder.backbone.blocks.",
    ),
    "nano": Parts(
        ("encoder.",),
        ("decoder.hq_kernel.", "decoder.hq_mix."),
        ("prompts.",),
        blocks="encoder.blocks.",
        free=frozenset({"image_size", "refinements"}),
    ),
}


def part_of(family: str, name: str) -> Part:
    """The part to which a weight belongs; positions and task prompts go with the decoder."""
    parts = PARTS[family]
    if name.startswith(parts.encoder):
        return "encoder"
    return "hq" if parts.hq and name.startswith(parts.hq) else "decoder"


def plain_family(family: str) -> str:
    """The family without HQ layers that one with them is made of; the same for all others."""
    return next((plain for plain, with_hq in HQ_OF.items() if with_hq == family), family)


def only(family: str, part: Part, state: Mapping[str, Value]) -> dict[str, Value]:
    """The entries of a state dict that belong to a part."""
    return {name: value for name, value in state.items() if part_of(family, name) == part}


def part_names(family: str) -> tuple[Part, ...]:
    """The parts that a family has."""
    return PART_NAMES if PARTS[family].hq else PART_NAMES[:2]


def on_base(path: Path, part: Part, held: Checkpoint, base: Checkpoint | None) -> Checkpoint:
    """Put a file that holds one part on a whole model.

    Encoder and decoder take the place of the base's and may come from a SAM-HQ to a SAM and back. HQ layers
    replace those of a SAM-HQ, or make one of a SAM.

    Raises:
        WeightsError: there is no base.
        InputError: the base is of another architecture; what differs is named.
    """
    what = f"{part if part != 'hq' else 'HQ layers'} of a {held.family}"
    if base is None:
        raise WeightsError(
            f"{path}: holds only the {what}; give the model to which it belongs as base= (--base)."
        )
    grows = part == "hq" and held.family == HQ_OF.get(base.family)
    if plain_family(held.family) != plain_family(base.family):
        raise InputError(f"{path}: the {what} does not go on a {base.family}; give another base.")
    differing = sorted(set(_differing(held.config, base.config, "")) - PARTS[base.family].free)
    if differing:
        raise InputError(
            f"{path}: the {what} of another architecture: the base has another {listing(differing)}."
        )
    kept = {name: value for name, value in base.state.items() if part_of(base.family, name) != part}
    whole = held if part == "hq" else base
    return replace(
        base,
        family=whole.family,
        config=whole.config,
        state=kept | held.state,
        layout=f"{part} on a base" + (", which becomes a SAM-HQ" if grows else ""),
        task_prompts=held.task_prompts if part == "decoder" else base.task_prompts,
    )


def _differing(left: Mapping[str, Any], right: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Names of the settings that both have and that differ."""
    common: Iterable[str] = left.keys() & right.keys() - HQ_SETTINGS
    for key in common:
        if isinstance(left[key], Mapping) and isinstance(right[key], Mapping):
            yield from _differing(left[key], right[key], f"{prefix}{key}.")
        elif left[key] != right[key]:
            yield f"{prefix}{key}"
