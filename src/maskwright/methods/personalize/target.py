"""What is known of an object to look for: learned from references once, saved as a small file, used anywhere.

Axes: R references, K parts, F cells of the object, S mask scales, C D channels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from maskwright.errors import WeightsError
from maskwright.io.files import require_file, shown
from maskwright.io.weights import read_weights, write_safetensors
from maskwright.methods.personalize.config import PersonalizeSettings

TENSORS = ("embedding", "center", "vectors", "object")
FORMAT, VERSION = "maskwright-target", 1


@dataclass(frozen=True, eq=False)
class Target:
    """An object to look for, in the terms of one model.

    Args:
        name: of the object.
        model: digest of the weights of the model.
        localizer: signature (name and digest) of the model whose features say where the object is; None: the
            model itself.
        settings: with which it was learned.
        embedding: (C,) mean of the model's features over the object.
        center: (D,) from where features are compared to find the object, in the localizer's terms.
        vectors: (R, D) what is looked for, one vector a reference, or one for all, seen from `center`.
        parts: for 1, 2, … parts, (K, D) what is looked for in their place, from `center`; none unless the
            method is "parts" or "match".
        object: (F, D) features of the object as they are, with which what is found is compared.
        scales: (S,) weights of the mask scales, or None unless the method is "persam-f".
        threshold: similarity below which the object is absent; -1 where none is known.
    """

    name: str
    model: str
    localizer: str | None
    settings: PersonalizeSettings
    embedding: Tensor
    center: Tensor
    vectors: Tensor
    parts: tuple[Tensor, ...]
    object: Tensor
    scales: Tensor | None
    threshold: float

    @property
    def digest(self) -> str:
        """Short hash of all that decides what is found."""
        content = hashlib.sha256(f"{self.model} {self.localizer} {self.settings!r} {self.threshold}".encode())
        for tensor in self._tensors().values():
            content.update(tensor.contiguous().numpy().tobytes())
        return content.hexdigest()[:12]

    def _tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {name: getattr(self, name) for name in TENSORS}
        tensors |= {f"parts.{len(part)}": part for part in self.parts}
        return tensors if self.scales is None else tensors | {"scales": self.scales}

    def save(self, path: Path) -> Path:
        """Write one small safetensors file.

        Raises:
            FileError: it cannot be written.
        """
        metadata = {
            "format": FORMAT,
            "version": str(VERSION),
            "name": self.name,
            "model": self.model,
            "localizer": json.dumps(self.localizer),
            "settings": self.settings.model_dump_json(),
            "threshold": repr(self.threshold),
        }
        write_safetensors(path, self._tensors(), metadata)
        return path

    @classmethod
    def load(cls, path: Path) -> Target:
        """Read what `save` wrote.

        Raises:
            FileError: there is no such file.
            WeightsError: it is no target, damaged, or of a later version.
        """
        require_file(path)
        weights = read_weights(path)
        metadata = weights.metadata
        if metadata.get("format") != FORMAT:
            raise WeightsError(
                f"{shown(path)} is no personalised object; `maskwright personalize … --save FILE` makes one."
            )
        version = metadata.get("version", "")
        if version != str(VERSION):
            message = f"was written by another version (format {version}, not {VERSION}): update Maskwright"
            raise WeightsError(f"{shown(path)} {message}.")
        try:
            return _read(weights.tensors, metadata)
        except (KeyError, ValueError) as error:
            raise WeightsError(f"{shown(path)} is damaged: {error}. Learn the object again.") from error


def _read(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Target:
    parts = sorted((key for key in tensors if key.startswith("parts.")), key=lambda key: int(key[6:]))
    settings = PersonalizeSettings.model_validate_json(metadata["settings"])
    embedding, center, vectors, cells = (tensors[name].float() for name in TENSORS)
    rows = [vectors, cells, *(tensors[key] for key in parts)]
    fits = embedding.ndim == center.ndim == 1 and all(part.shape[1:] == center.shape for part in rows)
    scales = tensors["scales"].float() if settings.method == "persam-f" else None
    flat = scales is None or scales.ndim == 1
    if not fits or not flat or not all(len(part) for part in rows):
        raise ValueError("its tensors have other shapes than those of an object")
    localizer: Any = json.loads(metadata["localizer"])
    if not isinstance(localizer, str | None):
        raise ValueError("its localizer has no name")
    threshold = float(metadata["threshold"])
    if bool(parts) != (settings.method in ("parts", "match")) or not -2 <= threshold <= 1:
        raise ValueError(f"its parts or its threshold {threshold} are none of method {settings.method!r}")
    return Target(
        metadata["name"],
        metadata["model"],
        localizer,
        settings,
        embedding,
        center,
        vectors,
        tuple(tensors[key].float() for key in parts),
        cells,
        scales,
        threshold,
    )
