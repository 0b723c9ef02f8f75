"""The state of a run as one safetensors file: nothing in it can run code, and it is replaced in one move.

Tensors: `model.*` (what learns, and buffers; frozen weights come from the base model again), `average.*`,
`optimizer.<parameter>.<slot>`. Everything else (step, random states, metrics) is JSON in the file's header.
A checkpoint is written beside the old one and renamed over it, so a kill at any moment leaves the old or
the new one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from maskwright.errors import FileError, TrainingError, WeightsError
from maskwright.io.files import atomic_path
from maskwright.io.weights import read_weights

FORMAT = "maskwright-training"
VERSION = "1"


@dataclass(frozen=True, eq=False)
class State:
    """What is needed to go on exactly.

    Args:
        step: optimiser steps done.
        tensors: by prefixed name.
        values: JSON-serialisable rest.
    """

    step: int
    tensors: dict[str, Tensor]
    values: dict[str, Any] = field(default_factory=dict)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below a prefix, without it."""
        start = f"{prefix}."
        return {
            name.removeprefix(start): value for name, value in self.tensors.items() if name.startswith(start)
        }


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put a prefix before every name."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def write_state(path: Path, state: State) -> None:
    """Save a state.

    Raises:
        TrainingError: it cannot be written (disk full, no permission); what was there before is untouched.
    """
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "state": json.dumps({"step": state.step, **state.values}),
        "sha256": _digest(state.tensors),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
    try:
        with atomic_path(path) as part:
            save_file(tensors, part, metadata=metadata)
    except (FileError, SafetensorError) as error:
        raise TrainingError(
            f"the checkpoint of step {state.step} could not be saved: {error} The one before it is "
            "untouched: make room or fix the permissions, then run the same command again to go on there."
        ) from error


def read_state(path: Path) -> State:
    """Load a state saved by `write_state`.

    Raises:
        TrainingError: the file is damaged or is no checkpoint; a run never starts over in silence.
    """
    advice = "Restore it from a backup, or choose another --out folder to start afresh."
    try:
        weights = read_weights(path)
    except WeightsError as error:
        raise TrainingError(f"the checkpoint cannot be read: {error} {advice}") from error
    if weights.metadata.get("format") != FORMAT or weights.metadata.get("version") != VERSION:
        raise TrainingError(f"{path}: not a training checkpoint of this version of Maskwright. {advice}")
    if _digest(weights.tensors) != weights.metadata["sha256"]:
        raise TrainingError(f"{path}: damaged (its content does not match its checksum). {advice}")
    values = json.loads(weights.metadata["state"])
    return State(values.pop("step"), weights.tensors, values)


def model_tensors(model: nn.Module, learning: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """What a checkpoint keeps of a model: the parameters that learn and all persistent buffers."""
    frozen = {name for name, _ in model.named_parameters()} - learning.keys()
    return {name: value.detach() for name, value in model.state_dict().items() if name not in frozen}


def load_model_tensors(
    model: nn.Module, learning: dict[str, nn.Parameter], tensors: dict[str, Tensor]
) -> None:
    """Put them back, strictly.

    Raises:
        TrainingError: names or shapes do not match the model's.
    """
    target = model_tensors(model, learning)
    _match("weights", {name: value.shape for name, value in target.items()}, tensors)
    with torch.no_grad():
        for name, value in target.items():
            value.copy_(tensors[name])


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, learning: dict[str, nn.Parameter]
) -> dict[str, Tensor]:
    """The optimiser's tensors by parameter name and slot. Parameters without state yet have no entry."""
    tensors = {}
    for name, parameter in learning.items():
        for slot, value in optimizer.state.get(parameter, {}).items():
            assert isinstance(value, Tensor), f"optimiser slot {slot!r} is no tensor"
            tensors[f"{name}.{slot}"] = value.detach()
    return tensors


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, learning: dict[str, nn.Parameter], tensors: dict[str, Tensor]
) -> None:
    """Put the optimiser's tensors back, each on its parameter's device (step counters stay on the CPU)."""
    slots: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parameter_name, _, slot = name.rpartition(".")
        slots.setdefault(parameter_name, {})[slot] = value
    unknown = slots.keys() - learning.keys()
    if unknown:
        raise TrainingError(f"the checkpoint's optimiser knows other parameters: {sorted(unknown)[:5]}.")
    for name, state in slots.items():
        parameter = learning[name]
        optimizer.state[parameter] = {
            slot: value.clone() if slot == "step" else value.to(parameter.device, copy=True)
            for slot, value in state.items()
        }


def _match(what: str, expected: dict[str, torch.Size], found: dict[str, Tensor]) -> None:
    missing, left_over = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    shapes = [name for name in expected.keys() & found.keys() if expected[name] != found[name].shape]
    if missing or left_over or shapes:
        raise TrainingError(
            f"the checkpoint's {what} do not fit the model: missing {missing[:5]}, "
            f"left over {left_over[:5]}, other shape {sorted(shapes)[:5]}."
        )


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
