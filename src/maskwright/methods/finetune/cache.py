"""Image embeddings that are computed once: in memory, or on the disk as safetensors.

An embedding is found by a hash of the photo's pixels as they enter the model and of the model's encoder, so
that another photo, another preprocessing or other weights never find it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from maskwright.errors import FileError
from maskwright.io.files import make_folder, write_bytes
from maskwright.methods.finetune.parts import encoder_signature
from maskwright.models.base import Features, MaskModel

# With less than this part of the machine's memory free, no further embedding is kept in it.
FREE_MEMORY = 0.25


class EmbeddingCache:
    """Keeps the encoder's output of single photos on the CPU.

    Args:
        signature: of the model; part of every key.
        folder: where to keep them, or None for memory, as long as a quarter of it is free.
    """

    def __init__(self, signature: str, folder: Path | None) -> None:
        self.signature = signature
        self.folder = None if folder is None else make_folder(folder)
        self.kept: dict[str, Features] = {}
        self.computed = 0

    def features(self, pixels_B3SS: Tensor, encode: Callable[[Tensor], Features]) -> Features:
        """The features of a batch; what is not known yet is encoded, one photo at a time.

        One at a time, because in a batch the last bits depend on the batch.
        """
        single = [self._one(pixels[None], encode) for pixels in pixels_B3SS]
        first = single[0]
        return Features(
            torch.cat([one.image for one in single]).to(pixels_B3SS.device),
            None if first.early is None else _stack([one.early for one in single], pixels_B3SS.device),
            tuple(
                torch.cat(level).to(pixels_B3SS.device)
                for level in zip(*(one.high_res for one in single), strict=True)
            ),
        )

    def _one(self, pixels_13SS: Tensor, encode: Callable[[Tensor], Features]) -> Features:
        key = self._key(pixels_13SS)
        found = self._find(key)
        if found is None:
            self.computed += 1
            # Without autocast, so that the arithmetic of a run is no part of the key.
            with torch.no_grad(), torch.autocast(pixels_13SS.device.type, enabled=False):
                found = encode(pixels_13SS).map(lambda part: part.detach().float().cpu())
            self._keep(key, found)
        return found

    def _key(self, pixels: Tensor) -> str:
        digest = hashlib.sha256(self.signature.encode())
        digest.update(pixels.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def _find(self, key: str) -> Features | None:
        if self.folder is None:
            return self.kept.get(key)
        try:
            tensors = load((self.folder / f"{key}.safetensors").read_bytes())
        except (FileNotFoundError, SafetensorError):
            return None  # not there, or damaged: it is computed (again)
        levels = sorted(name for name in tensors if name.startswith("high_res."))
        return Features(tensors["image"], tensors.get("early"), tuple(tensors[name] for name in levels))

    def _keep(self, key: str, features: Features) -> None:
        if self.folder is None:
            memory = psutil.virtual_memory()
            if memory.available > FREE_MEMORY * memory.total:
                self.kept[key] = features
            return
        tensors = {"image": features.image}
        if features.early is not None:
            tensors["early"] = features.early
        tensors.update({f"high_res.{i}": level for i, level in enumerate(features.high_res)})
        data = save({name: value.contiguous() for name, value in tensors.items()})
        try:
            write_bytes(self.folder / f"{key}.safetensors", data)
        except FileError as error:
            raise FileError(f'{error} Free some space, or use cache = "off".') from error


def open_cache(
    how: Literal["auto", "off", "memory", "disk"], model: MaskModel, folder: Path | None
) -> EmbeddingCache | None:
    """The cache of a model's embeddings that the settings ask for: in memory, or on the disk in `folder`."""
    if how == "off":
        return None
    assert how != "disk" or folder is not None
    return EmbeddingCache(encoder_signature(model), folder if how == "disk" else None)


def encoded(model: MaskModel, pixels_B3SS: Tensor, cache: EmbeddingCache | None) -> Features:
    """What the image encoder alone makes of photos, from a cache where there is one."""
    if cache is None:
        return model.backbone(pixels_B3SS)
    return cache.features(pixels_B3SS, model.backbone)


def _stack(parts: list[Tensor | None], device: torch.device) -> Tensor:
    return torch.cat([part for part in parts if part is not None]).to(device)
