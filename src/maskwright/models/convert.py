"""Write a checkpoint of any layout as a transformers folder: `config.json` and `model.safetensors`.

transformers' own `from_pretrained` reads it. The two-way transformer's layer norms have the original's eps
in the written configuration, so that SAM gives the original's numbers there too. (Its SAM-HQ masks do not:
its decoder, as of 5.17 to 5.23, leaves out image features. Use ours for those.)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from maskwright.errors import InputError
from maskwright.io.files import write_text
from maskwright.io.weights import write_safetensors
from maskwright.models.checkpoint import NET, TRANSFORMERS_FAMILIES, Checkpoint
from maskwright.models.keys import PROMPT_POSITION
from maskwright.models.registry import check_state, net_class, skeleton
from maskwright.models.task_prompts import PREFIX


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
    if checkpoint.family not in TRANSFORMERS_FAMILIES:
        raise InputError(
            f"{source} is of family {checkpoint.family}, which transformers does not have; "
            f"only {', '.join(sorted(TRANSFORMERS_FAMILIES))} can be converted."
        )
    if checkpoint.task_prompts is not None:
        if not drop_task_prompts:
            raise InputError(
                f"{source} has task prompts, which a transformers folder cannot hold: keep the Maskwright "
                "checkpoint, or write the rest of the model, which then knows no tasks, with "
                "--drop-task-prompts."
            )
        kept = {key: value for key, value in checkpoint.state.items() if not key.startswith(PREFIX)}
        checkpoint = replace(checkpoint, state=kept, task_prompts=None)
    check_state(skeleton(checkpoint, source), checkpoint, source)
    config_class, model_class = net_class(checkpoint.family)
    config = config_class(**checkpoint.config)
    config.architectures = [model_class.__name__]
    state = {key.removeprefix(NET): value for key, value in checkpoint.state.items()}
    if checkpoint.family != "sam2":
        # There the prompt encoder's positional matrix is the image's own, which transformers writes once.
        del state[PROMPT_POSITION]
    weights, settings = folder / "model.safetensors", folder / "config.json"
    # The configuration last: a folder without it is refused, never read half.
    write_safetensors(weights, state, {"format": "pt"})
    write_text(settings, config.to_json_string())
    return [weights, settings]
