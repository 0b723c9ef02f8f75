"""Loading boundary models by name or path, strictly; saving them; starting points for training.

Published folders and hub ids of SegFormer serve as they are. As for prompted models, keys and shapes must
agree to the last one, and numbers stored as float16 are computed as float32 unless asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from maskwright.debug import debug
from maskwright.errors import InputError, WeightsError
from maskwright.io.weights import write_safetensors
from maskwright.models import boundary
from maskwright.models.backends import boundary as boundary_graph
from maskwright.models.backends import refuse_exported
from maskwright.models.boundary import BoundaryModel
from maskwright.models.boundary_detector import BoundaryDetector
from maskwright.models.checkpoint import FORMAT, VERSION, Checkpoint, read_checkpoint
from maskwright.models.hub import NAMED, NamedModel, locate
from maskwright.models.nano import Nano, NanoConfig
from maskwright.models.nano_boundary import NanoBoundary, NanoBoundaryConfig
from maskwright.models.registry import check_state, count_parameters, one_line, title
from maskwright.models.segformer import CLASSIFIER, SIZES, SegFormer
from maskwright.models.sessions import Backend
from maskwright.runtime import choose_device, choose_dtype, parse_dtype

# At which the published models were trained, unless their names say otherwise.
PUBLISHED_RESOLUTION = 1024
# Architectures of which there are no weights under this name, to be trained from nothing.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    f"segformer-{size}": ("segformer", config) for size, config in SIZES.items()
}
# Standard deviation of a new classifier's weights, as transformers draws them.
NEW_WEIGHTS = 0.02
ENCODER = "encoder."
RESOLUTION, KEEP_ASPECT, NATIVE = "resolution", "keep_aspect", "native"


def load_boundary(
    name_or_path: str | Path,
    *,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    backend: Backend = "torch",
    offline: bool = False,
) -> BoundaryDetector:
    """Load a boundary model, ready for inference.

    Args:
        name_or_path: a name (`maskwright models list`), file, folder, or hub id
            ("chendelong/DirectSAM-1800px-0424").
        device: auto, cpu, cuda, cuda:1 or mps.
        dtype: arithmetic of the forward pass, as for `registry.load`.
        backend: what runs the network: torch; or onnx or openvino, as for `registry.load`.
        offline: never use the network.

    Returns:
        The detector, with the resolution for which the model was trained: as our file says; of published
        ones, as their names say (1800px), else 1024.

    Raises:
        InputError: an unknown name, or a model for prompts.
        WeightsError: the file is refused; the message names it and says why.
        OfflineError: the model is not here and cannot be fetched.
    """
    kind, called = parse_dtype(dtype), title(name_or_path)

    def made() -> tuple[BoundaryModel, int | None, bool]:
        checkpoint = read_boundary(name_or_path, offline=offline)
        return build_boundary(checkpoint, str(name_or_path)), *trained_at(name_or_path, checkpoint)

    if backend != "torch":
        graph, told = boundary_graph(name_or_path, called, made, backend=backend, device=device, dtype=kind)
        return BoundaryDetector(graph, called, resolution=told.resolution, keep_aspect=told.keep_aspect)
    model, resolution, keep = made()
    place = choose_device(device).value
    kind = choose_dtype(kind, place)
    return BoundaryDetector(model.to(place), called, resolution=resolution, keep_aspect=keep, dtype=kind)


def read_boundary(name_or_path: str | Path, *, offline: bool = False) -> Checkpoint:
    """Read a boundary model's configuration and weights without building it; errors as in `load_boundary`."""
    named = NAMED.get(str(name_or_path))
    if named is not None and named.family not in boundary.FAMILIES:
        raise _for_prompts(str(name_or_path), named.family)
    refuse_exported(name_or_path)
    checkpoint = read_checkpoint(locate(name_or_path, offline=offline))
    if checkpoint.family not in boundary.FAMILIES:
        raise _for_prompts(str(name_or_path), checkpoint.family)
    return checkpoint


def _for_prompts(source: str, family: str) -> InputError:
    known = ", ".join(name for name, model in NAMED.items() if model.family in boundary.FAMILIES)
    return InputError(
        f"{source} is of family {family}, which answers prompts; a boundary model is needed here: {known}, "
        "or the file, folder or hub id of one."
    )


def build_boundary(checkpoint: Checkpoint, source: str) -> BoundaryModel:
    """Make the boundary model of a checkpoint, in float32 on the CPU.

    Raises:
        WeightsError: keys are missing or left over, or a shape or type does not fit; `source` is named.
    """
    outputs = _outputs(checkpoint)
    if outputs not in (None, 1):
        raise WeightsError(
            f"{source}: a segmenter of {outputs} classes, but a boundary model has one output. As a start "
            "for `maskwright train boundary` it gets a new classifier."
        )
    # Shapes alone at first: what does not fit is refused before it takes memory. Our own models are small.
    on_meta = checkpoint.family == SegFormer.family
    with torch.device("meta") if on_meta else nullcontext():
        model = _from_config(checkpoint.family, checkpoint.config, source)
    check_state(model.state_dict(), checkpoint, source)
    state = {k: v.float() if v.is_floating_point() else v for k, v in checkpoint.state.items()}
    model.load_state_dict(state, strict=True, assign=on_meta)
    debug(
        lambda: (
            f"built a {checkpoint.family} of {count_parameters(checkpoint):,} weights from {source} "
            f"({checkpoint.layout})"
        )
    )
    return model


def _outputs(checkpoint: Checkpoint) -> int | None:
    """How many outputs a SegFormer has, if its classifier is there."""
    weight = checkpoint.state.get(f"{CLASSIFIER}weight") if checkpoint.family == SegFormer.family else None
    return None if weight is None or not weight.ndim else weight.shape[0]


def _from_config(family: str, config: dict[str, Any], source: str) -> BoundaryModel:
    made = boundary.family_class(family, source)
    try:
        return made.from_config(config)
    except Exception as error:  # a configuration is from outside, and transformers has its own errors
        raise WeightsError(
            f"{source}: no {family} model has this configuration ({one_line(error)})."
        ) from error


def start_model(
    name_or_path: str | Path, *, from_scratch: bool = False, offline: bool = False
) -> BoundaryModel:
    """A model from which to train, in float32 on the CPU.

    Args:
        name_or_path: a boundary model as for `load_boundary`; or a SegFormer of any number of classes, such
            as "nvidia/segformer-b0-finetuned-cityscapes-1024-1024", whose classifier is replaced by a new one
            with one output, drawn from torch's global random state. All else must match exactly. Or a model
            of the family nano, whose encoder gets a new head.
        from_scratch: take only the architecture, with random weights; then "segformer-b0" to "segformer-b5"
            need no file.
        offline: never use the network.

    Raises:
        InputError, WeightsError, OfflineError: as for `load_boundary`.
    """
    source = str(name_or_path)
    if source in ARCHITECTURES:
        if not from_scratch:
            raise InputError(
                f"{source} is an architecture without weights: start from scratch (--from-scratch), or "
                f"from a model such as nvidia/{source}-finetuned-ade-512-512."
            )
        return _from_config(*ARCHITECTURES[source], source)
    checkpoint = _read_start(name_or_path, offline=offline)
    if checkpoint.family == Nano.family:
        checkpoint = _of_nano(checkpoint, source)
    if from_scratch:
        return _from_config(checkpoint.family, checkpoint.config, source)
    if _outputs(checkpoint) in (None, 1):
        return build_boundary(checkpoint, source)
    width = checkpoint.state[f"{CLASSIFIER}weight"].shape[1:]
    new = {
        f"{CLASSIFIER}weight": torch.empty(1, *width).normal_(std=NEW_WEIGHTS),
        f"{CLASSIFIER}bias": torch.zeros(1),
    }
    return build_boundary(replace(checkpoint, state=checkpoint.state | new), source)


def _read_start(name_or_path: str | Path, *, offline: bool) -> Checkpoint:
    checkpoint = read_checkpoint(locate(name_or_path, offline=offline))
    if checkpoint.family not in (*boundary.FAMILIES, Nano.family):
        raise _for_prompts(str(name_or_path), checkpoint.family)
    return checkpoint


def _of_nano(checkpoint: Checkpoint, source: str) -> Checkpoint:
    """A nano's encoder with a new head."""
    model = NanoBoundary(NanoBoundaryConfig.like(NanoConfig(**checkpoint.config)))
    taken = {name: value for name, value in checkpoint.state.items() if name.startswith(ENCODER)}
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith(ENCODER)}
    debug(lambda: f"{source}: {len(taken)} tensors of its encoder, and a new head of {len(kept)}")
    return replace(checkpoint, family=model.family, config=model.config_dict(), state=taken | kept)


def save_boundary(
    model: BoundaryModel,
    path: str | Path,
    *,
    resolution: int | None,
    keep_aspect: bool = False,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write our own file: one safetensors with family, configuration and resolution in its metadata.

    Args:
        model: what to save.
        path: a `.safetensors` file, or a folder that gets `model.safetensors`.
        resolution: side of the input in pixels for which the model was trained; None: images as they are.
        keep_aspect: images were brought to it with their proportions.
        metadata: more to say about the model, by names that are not used here.
        dtype: store floats in this type, such as torch.float16; as they are by default.

    Returns:
        The file.

    Raises:
        FileError: it cannot be written.
    """
    target = Path(path)
    if target.suffix != ".safetensors":
        target = target / "model.safetensors"
    state = model.state_dict()
    if dtype is not None:
        state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "family": model.family,
        "config": json.dumps(model.config_dict(), sort_keys=True),
        RESOLUTION: NATIVE if resolution is None else str(resolution),
        KEEP_ASPECT: json.dumps(keep_aspect),
    }
    more = dict(metadata or {})
    assert not header.keys() & more.keys(), header.keys() & more.keys()
    write_safetensors(target, state, header | more)
    return target


def trained_at(name_or_path: str | Path, checkpoint: Checkpoint) -> tuple[int | None, bool]:
    """A model's resolution and whether it keeps proportions: by its file, the table of names, or its name.

    Raises:
        WeightsError: what our own file says is no resolution.
    """
    told = checkpoint.metadata
    if RESOLUTION in told:
        return _stored(str(name_or_path), told[RESOLUTION]), told.get(KEEP_ASPECT) == "true"
    text = str(name_or_path)
    named = NAMED.get(text) or _by_repository(text)
    if named is not None and named.resolution is not None:
        return named.resolution, False
    found = re.search(r"(?<!\d)(\d{3,4})px", Path(text).name)
    return PUBLISHED_RESOLUTION if found is None else int(found[1]), False


def _by_repository(text: str) -> NamedModel | None:
    return next((model for model in NAMED.values() if model.repo == text), None)


def _stored(source: str, text: str) -> int | None:
    if text == NATIVE:
        return None
    if not re.fullmatch(r"[1-9]\d{0,4}", text):
        raise WeightsError(f"{source}: refused, resolution {text[:40]!r} is not a possible setting.")
    return int(text)
