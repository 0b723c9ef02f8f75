"""Loading a model into another runtime: an exported folder as it is, any other model exported once.

What is made of a model by its name or file is kept in `hub.models_folder()`/exported, by name, weights and
input size, and used again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from maskwright.debug import debug
from maskwright.errors import InputError
from maskwright.io.files import make_parents, shown
from maskwright.models.base import MaskModel
from maskwright.models.boundary import BoundaryModel
from maskwright.models.hub import models_folder
from maskwright.models.sessions import Backend, check_arithmetic, is_exported

if TYPE_CHECKING:
    from maskwright.models.exported import BoundaryDescription, ExportedBoundary, ExportedModel

EXPORTED = "exported"


def refuse_exported(name_or_path: str | Path) -> None:
    """Refuse a folder of graphs where weights are needed.

    Raises:
        InputError: with what to do.
    """
    if is_exported(name_or_path):
        raise InputError(
            f"{shown(name_or_path)} holds an exported model: load it with backend 'onnx' or 'openvino' "
            "(--backend), or give the model it was made of."
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

    check_arithmetic(backend, device, dtype)
    if is_exported(name_or_path):
        return open_exported(Path(name_or_path).expanduser(), backend, dtype)
    from maskwright.models.write_graphs import export_model

    model = build()
    folder = _kept(f"{title}-{model.digest()}-{model.image_size}")
    if not is_exported(folder):
        export_model(model, make_parents(folder))
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

    check_arithmetic(backend, device, dtype)
    if is_exported(name_or_path):
        return open_exported_boundary(Path(name_or_path).expanduser(), backend, dtype)
    from maskwright.models.write_graphs import export_boundary

    model, resolution, keep_aspect = build()
    trained = f"{resolution or 'native'}{'-aspect' if keep_aspect else ''}"
    folder = _kept(f"{title}-{model.digest()}-{trained}")
    if not is_exported(folder):
        export_boundary(model, make_parents(folder), resolution=resolution, keep_aspect=keep_aspect)
    return open_exported_boundary(folder, backend, dtype)


def _kept(name: str) -> Path:
    folder = models_folder() / EXPORTED / name
    debug(lambda: f"graphs are kept in {shown(folder)}")
    return folder
