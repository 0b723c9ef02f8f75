"""Write a checkpoint of any layout as a transformers folder, or as a file of the original layout.

transformers' own `from_pretrained` reads the folder, which has `config.json` and `model.safetensors`. The
two-way transformer's layer norms have the original's eps in the written configuration, so that SAM gives the
original's numbers there too. (Its SAM-HQ masks do not: its decoder, as of 5.17 to 5.23, leaves out image
features. Use ours for those.)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedConfig
from transformers.models.segformer.configuration_segformer import SegformerConfig

from maskwright.errors import InputError
from maskwright.io.files import write_text
from maskwright.io.weights import write_pytorch, write_safetensors
from maskwright.models.boundary_files import build_boundary
from maskwright.models.checkpoint import NET, TRANSFORMERS_FAMILIES, Checkpoint
from maskwright.models.keys import (
    MOBILE_SAM_RULES,
    PROMPT_POSITION,
    SAM_RULES,
    SEGFORMER_RULES,
    Rules,
    original,
)
from maskwright.models.registry import check_state, net_class, skeleton
from maskwright.models.segformer import SegFormer
from maskwright.models.task_prompts import PREFIX

# Families whose original layout holds just what the model has.
ORIGINAL_RULES: dict[str, Rules] = {
    "sam": SAM_RULES,
    "sam_hq": SAM_RULES,
    "mobile_sam": MOBILE_SAM_RULES,
    "mobile_sam_hq": MOBILE_SAM_RULES,
}


def write_transformers(
    checkpoint: Checkpoint, folder: Path, source: str, *, drop_task_prompts: bool = False
) -> list[Path]:
    """Write the folder and return its files; each appears whole or not at all.

    Args:
        checkpoint: what `models.registry.read` gave.
        folder: made if need be; files of the same names are replaced.
        source: where the checkpoint came from, for messages.
        drop_task_prompts: write the rest of a model that has some; it is then as if no task were given.

    Raises:
        InputError: the family has no transformers class, or the model has task prompts, for which such a
            folder has no place.
        WeightsError: keys or shapes do not fit.
        FileError: the folder cannot be written.
    """
    if checkpoint.family == SegFormer.family:
        return _write_segformer(checkpoint, folder, source)
    if checkpoint.family not in TRANSFORMERS_FAMILIES:
        raise InputError(
            f"{source} is of family {checkpoint.family}, which transformers does not have; "
            f"only {', '.join(sorted({*TRANSFORMERS_FAMILIES, SegFormer.family}))} can be converted."
        )
    checkpoint = _without_tasks(checkpoint, source, "a transformers folder", drop_task_prompts)
    check_state(skeleton(checkpoint, source), checkpoint, source)
    config_class, model_class = net_class(checkpoint.family)
    config = config_class(**checkpoint.config)
    config.architectures = [model_class.__name__]
    state = {key.removeprefix(NET): value for key, value in checkpoint.state.items()}
    if checkpoint.family != "sam2":
        # There the prompt encoder's positional matrix is the image's own, which transformers writes once.
        del state[PROMPT_POSITION]
    return _write_folder(folder, state, config)


def _write_segformer(checkpoint: Checkpoint, folder: Path, source: str) -> list[Path]:
    """With the names that transformers' files of SegFormer have, so that older releases open them, too."""
    model = build_boundary(checkpoint, source)
    config = SegformerConfig.from_dict(model.config_dict())
    config.architectures = [type(model.get_submodule("net")).__name__]
    state = {original(key.removeprefix(NET), SEGFORMER_RULES): v for key, v in checkpoint.state.items()}
    return _write_folder(folder, state, config)


def _write_folder(folder: Path, state: dict[str, Tensor], config: PreTrainedConfig) -> list[Path]:
    weights, settings = folder / "model.safetensors", folder / "config.json"
    # The configuration last: a folder without it is refused, never read half.
    write_safetensors(weights, state, {"format": "pt"})
    write_text(settings, config.to_json_string())
    return [weights, settings]


def write_original(
    checkpoint: Checkpoint, path: Path, source: str, *, drop_task_prompts: bool = False
) -> Path:
    """Write a file with the keys of the original project, for use there; numbers and types stay as they are.

    Args:
        checkpoint: what `models.registry.read` gave.
        path: a `.pth`, `.pt` or `.safetensors` file; it appears whole or not at all.
        source: where the checkpoint came from, for messages.
        drop_task_prompts: as for `write_transformers`.

    Raises:
        InputError: the family has no original layout, or its layout has more than the model (SAM 2's memory),
            the model has task prompts, or the path has another ending.
        WeightsError: keys or shapes do not fit.
        FileError: the file cannot be written.
    """
    if checkpoint.family not in ORIGINAL_RULES:
        why = (
            "whose original layout also has the modules for video, which are not kept here"
            if checkpoint.family == "sam2"
            else "whose own checkpoint is the original"
        )
        raise InputError(
            f"{source} is of family {checkpoint.family}, {why}; "
            f"only {', '.join(ORIGINAL_RULES)} can be written so."
        )
    if path.suffix not in {".pth", ".pt", ".safetensors"}:
        raise InputError(f"{path}: name the file .pth, .pt or .safetensors.")
    checkpoint = _without_tasks(checkpoint, source, "the original layout", drop_task_prompts)
    check_state(skeleton(checkpoint, source), checkpoint, source)
    names = {key: key.removeprefix(NET) for key in checkpoint.state}
    rules = ORIGINAL_RULES[checkpoint.family]
    state = {
        original(name, rules): checkpoint.state[key] for key, name in names.items() if name != PROMPT_POSITION
    }
    if path.suffix == ".safetensors":
        write_safetensors(path, state, {"format": "pt"})
    else:
        write_pytorch(path, state)
    return path


def _without_tasks(checkpoint: Checkpoint, source: str, target: str, drop: bool) -> Checkpoint:
    """The checkpoint without task prompts, for which the target has no place."""
    if checkpoint.task_prompts is None:
        return checkpoint
    if not drop:
        raise InputError(
            f"{source} has task prompts, which {target} cannot hold: keep the Maskwright checkpoint, or "
            "write the rest of the model, which then knows no tasks, with --drop-task-prompts."
        )
    kept = {key: value for key, value in checkpoint.state.items() if not key.startswith(PREFIX)}
    return replace(checkpoint, state=kept, task_prompts=None)
