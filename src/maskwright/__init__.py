"""Maskwright: masks that people can trust. The public names; importing this loads no model library."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskwright.data.registry import open_dataset as open_dataset
    from maskwright.io.images import read_image as read_image
    from maskwright.methods.everything.cut import find_everything as find_everything
    from maskwright.models.boundary_files import load_boundary as load_boundary
    from maskwright.models.registry import load as load
    from maskwright.models.registry import save as save
    from maskwright.models.segmenter import Segmenter as Segmenter
    from maskwright.types import Embedding as Embedding
    from maskwright.types import Image as Image
    from maskwright.types import Masks as Masks
    from maskwright.types import Prompts as Prompts
    from maskwright.types import Sample as Sample

__version__ = "0.1.0"

_HOMES = {
    "load": "maskwright.models.registry",
    "save": "maskwright.models.registry",
    "Segmenter": "maskwright.models.segmenter",
    "load_boundary": "maskwright.models.boundary_files",
    "find_everything": "maskwright.methods.everything.cut",
    "open_dataset": "maskwright.data.registry",
    "read_image": "maskwright.io.images",
    **dict.fromkeys(("Embedding", "Image", "Masks", "Prompts", "Sample"), "maskwright.types"),
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'maskwright' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
