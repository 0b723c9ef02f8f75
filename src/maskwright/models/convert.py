"""Write a checkpoint of any layout as a transformers folder: `config.json` and `model.safetensors`.

transformers' own `from_pretrained` reads it. The two-way transformer's layer norms have the original's eps
in the written configuration, so that SAM gives the original's numbers there too. (Its SAM-HQ masks do not:
its decoder, as of 5.17 to 5.23, leaves out image features. Use ours for those.)
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import nn

from maskwright.errors import InputError
from maskwright.io.files import make_folder
from maskwright.models.checkpoint import NET, TRANSFORMERS_FAMILIES, Checkpoint
from maskwright.models.registry import check_state, net_class, skeleton


def write_transformers(checkpoint: Checkpoint, folder: Path, source: str) -> list[Path]:
    """Write the folder and return its files; each appears whole or not at all.

    Args:
        checkpoint: what `models.registry.read` gave.
        folder: made if need be; files of the same names are replaced.
        source: where the checkpoint came from, for messages.

    Raises:
        InputError: the family has no transformers class.
        WeightsError: keys or shapes do not fit.
        FileError: the folder cannot be written.
    """
    if checkpoint.family not in TRANSFORMERS_FAMILIES:
        raise InputError(
            f"{source} is of family {checkpoint.family}, which transformers does not have; "
            f"only {', '.join(sorted(TRANSFORMERS_FAMILIES))} can be converted."
        )
    check_state(skeleton(checkpoint, source), checkpoint, source)
    config, model = net_class(checkpoint.family)
    net: nn.Module = model(config(**checkpoint.config))
    net.load_state_dict(
        {key.removeprefix(NET): value for key, value in checkpoint.state.items()}, strict=True
    )
    make_folder(folder)
    # In the same folder, so that the renames stay on one disk.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".converting-") as part:
        net.save_pretrained(part)  # type: ignore[operator]
        files = sorted(Path(part).iterdir())
        # The configuration last: a folder without it is refused, never read half.
        files.sort(key=lambda file: file.name == "config.json")
        return [file.replace(folder / file.name) for file in files]
