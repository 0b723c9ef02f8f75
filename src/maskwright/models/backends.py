"""Loading a model into another runtime: an exported folder as it is, any other model exported once.

What is made of a model by its name or file is kept in `hub.models_folder()`/exported, by name, weights and
settings, and used again. Any number of processes may do so at once.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from maskwright.debug import debug
from maskwright.errors import FileError, InputError
from maskwright.io.files import make_folder, reason, shown
from maskwright.models.base import MaskModel
from maskwright.models.boundary import BoundaryModel
from maskwright.models.digests import whole_digest
from maskwright.models.hub import NAMED, models_folder
from maskwright.models.sessions import Backend, check_backend, is_exported

if TYPE_CHECKING:
    from maskwright.models.exported import BoundaryDescription, ExportedBoundary, ExportedModel

EXPORTED = "exported"


def holds_graphs(name_or_path: str | Path) -> bool:
    """Whether this is a folder that `maskwright export` wrote; a known name is not, whatever lies here."""
    return str(name_or_path) not in NAMED and is_exported(name_or_path)


def refuse_exported(name_or_path: str | Path) -> None:
    """Refuse a folder of graphs, or one graph, where weights are needed.

    Raises:
        InputError: with what to do.
    """
    path = Path(name_or_path).expanduser()
    if holds_graphs(name_or_path):
        raise InputError(
            f"{shown(path)} holds an exported model, which has no weights: load it with backend 'onnx' or "
            "'openvino' (--backend), or give the model it was made of."
        )
    if path.suffix in (".onnx", ".xml"):
        raise InputError(
            f"{shown(path)} is a graph, not weights: give the folder that `maskwright export` wrote, "
            "with backend 'onnx' or 'openvino' (--backend), or the model it was made of."
        )


def refuse_settings(name_or_path: str | Path, **settings: object) -> None:
    """Refuse settings of the weights for a folder of graphs, in which they are fixed.

    Raises:
        InputError: naming them.
    """
    given = [name for name, value in settings.items() if value is not None]
    if given and holds_graphs(name_or_path):
        raise InputError(
            f"{shown(name_or_path)} holds an exported model, in which {', '.join(given)} cannot be chosen: "
            "leave it out, or export the model with it."
        )


def prompted(
    name_or_path: str | Path,
    title: str,
    build: Callable[[], MaskModel],
    *,
    backend: Backend,
    device: str,
    dtype: torch.dtype,
) -> ExportedModel:
    """A model for prompts in another runtime.

    Args:
        name_or_path: of the model, or a folder that `maskwright export` wrote.
        title: what to call it.
        build: makes the model of anything but such a folder.
        backend: the runtime.
        device: auto or cpu.
        dtype: arithmetic; ONNX Runtime's is float32.

    Raises:
        InputError: the runtime is not installed, or cannot do this.
        WeightsError: a file is refused.
    """
    from maskwright.models.exported import open_exported

    check_backend(backend, device, dtype)
    if holds_graphs(name_or_path):
        return open_exported(Path(name_or_path).expanduser(), backend, dtype)
    from maskwright.models.write_graphs import export_model

    model = build()
    folder = _kept(title, model, {}, lambda to: export_model(model, to))
    return open_exported(folder, backend, dtype)


def boundary(
    name_or_path: str | Path,
    title: str,
    build: Callable[[], tuple[BoundaryModel, int | None, bool]],
    *,
    backend: Backend,
    device: str,
    dtype: torch.dtype,
) -> tuple[ExportedBoundary, BoundaryDescription]:
    """A boundary model in another runtime; as `prompted`, but that `build` also tells how it was trained."""
    from maskwright.models.exported import open_exported_boundary

    check_backend(backend, device, dtype)
    if holds_graphs(name_or_path):
        return open_exported_boundary(Path(name_or_path).expanduser(), backend, dtype)
    from maskwright.models.write_graphs import export_boundary

    model, resolution, keep_aspect = build()
    trained: dict[str, Any] = {"resolution": resolution, "keep_aspect": keep_aspect}
    folder = _kept(title, model, trained, lambda to: export_boundary(model, to, **trained))
    return open_exported_boundary(folder, backend, dtype)


def _kept(
    title: str,
    model: MaskModel | BoundaryModel,
    trained: dict[str, Any],
    export: Callable[[Path], object],
) -> Path:
    """The folder of a model's graphs, which are written if they are not there; nobody finds half of them."""
    from maskwright.models.exported import VERSION

    known = [VERSION, whole_digest(model), model.config_dict(), trained]
    key = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:12]
    folder = models_folder() / EXPORTED / f"{title}-{key}"
    if not is_exported(folder):
        with tempfile.TemporaryDirectory(dir=make_folder(folder.parent), prefix=".maskwright-") as kept:
            made = Path(kept) / folder.name
            export(made)
            try:
                made.rename(folder)
            except OSError as error:
                # Another process may have been faster.
                if not is_exported(folder):
                    raise FileError(f"cannot make the folder {shown(folder)}: {reason(error)}.") from error
    debug(lambda: f"graphs are kept in {shown(folder)}")
    return folder
