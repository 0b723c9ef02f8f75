"""The only place that opens model files.

Safetensors hold no code. PyTorch files do, so they are read by `torch.load(weights_only=True)` alone:
a file it refuses is refused for good, there is no second try. Every tensor is checked before use:
its memory must be in the file, its type must be a number, and floats must be finite.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.torch_version import TorchVersion

from maskwright.debug import debug
from maskwright.errors import FileError, WeightsError
from maskwright.io.files import atomic_path, make_folder, require_file, shown

# Older releases run code from a "weights only" file (CVE-2025-32434) or corrupt memory (CVE-2026-24747).
TORCH_FLOOR = "2.11"
# A ViT-H has 600 tensors and a header of 80 kB; what is larger is no model of ours.
HEADER_LIMIT = 16 * 2**20
FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
INTEGERS = frozenset({torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})
# Training scripts put the weights below one of these, beside an optimiser or an epoch number.
WRAPPERS = ("model", "state_dict")


@dataclass(frozen=True, eq=False)
class Weights:
    """The content of a model file: tensors by key, and what a safetensors header says about them."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)


def read_weights(path: Path) -> Weights:
    """Read a safetensors or PyTorch file; its content decides which, not its name.

    Args:
        path: a `.safetensors`, `.pth`, `.pt` or `.bin` file, or a `*.index.json` of shards.

    Raises:
        WeightsError: missing, truncated, unsafe, of an unknown kind, or with tensors that are no weights.
    """
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    kind = _kind(path)
    weights = _read_safetensors(path) if kind == "safetensors" else Weights(_read_pickle(path))
    for key, tensor in weights.tensors.items():
        _check_tensor(path, key, tensor)
    debug(lambda: f"read weights {shown(path)}: {len(weights.tensors)} tensors")
    return weights


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata in a safetensors header, without reading a tensor; empty for other files.

    Raises:
        WeightsError: the file is missing or its header is damaged.
    """
    return _header(path) if _kind(path) == "safetensors" else {}


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata; the file appears whole or not at all.

    Raises:
        FileError: the folder or the file cannot be written.
    """
    plain, storages = {}, set()
    for key, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        # The format has no shared memory: tied weights and views are written out each for itself.
        if storage.data_ptr() in storages or storage.nbytes() != tensor.numel() * tensor.element_size():
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        plain[key] = tensor
    make_folder(path.parent)
    try:
        with atomic_path(path) as part:
            save_file(plain, part, metadata=dict(metadata))
            part.chmod(0o644)
    except SafetensorError as error:
        raise WeightsError(f"cannot write {shown(path)}: {_one_line(error)}.") from error


def write_pytorch(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as PyTorch's own file, which its readers open as weights only; whole or not at all.

    Raises:
        FileError: the folder or the file cannot be written.
    """
    make_folder(path.parent)
    with atomic_path(path) as part:
        # A clone, because a view would take the whole of its storage with it.
        torch.save({key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}, part)
        part.chmod(0o644)


def sha256(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_model_json(path: Path) -> dict[str, Any]:
    """Read a small JSON object that belongs to a model (config, shard index); a key given twice is refused.

    Raises:
        WeightsError: missing, not JSON, not an object, or larger than any config.
    """
    with _open(path) as stream:
        text = stream.read(HEADER_LIMIT + 1)
    if len(text) > HEADER_LIMIT:
        raise WeightsError(
            f"{shown(path)}: a JSON file of more than {HEADER_LIMIT >> 20} MB describes no model."
        )
    return _json_object(path, text)


def _open(path: Path) -> BinaryIO:
    try:
        require_file(path)
        return path.open("rb")
    except FileError as error:
        raise WeightsError(str(error)) from error
    except OSError as error:
        raise WeightsError(f"cannot read {shown(path)}: {_one_line(error)}.") from error


def _kind(path: Path) -> str:
    with _open(path) as stream:
        head = stream.read(9)
    if head[8:9] == b"{":
        return "safetensors"
    if head[:2] == b"PK" or head[:1] == b"\x80":
        return "pickle"
    reason = "is empty" if not head else "is neither a safetensors nor a PyTorch file"
    raise WeightsError(f"{shown(path)}: {reason}; if a download was cut short, fetch it again.")


def _header(path: Path) -> dict[str, str]:
    """Check the header of a safetensors file and return its metadata; the reader checks shapes."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size - 8, HEADER_LIMIT):
            raise WeightsError(
                f"{shown(path)}: its header claims {length} bytes in a file of {size}; it is cut or damaged."
            )
        header = _json_object(path, stream.read(length))
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsError(f"{shown(path)}: its metadata must map strings to strings.")
    return metadata


def _read_safetensors(path: Path) -> Weights:
    _header(path)  # says more of a damaged file than the reader
    tensors = {}
    try:
        with safe_open(path, framework="pt") as handle:
            # Of the same open file as the tensors: a training run may put a new one in its place meanwhile.
            metadata = handle.metadata() or {}
            for key in handle.keys():
                # A clone, because the tensor is a view into the mapped file, which may change under us.
                tensors[key] = handle.get_tensor(key).clone()
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{shown(path)}: not a readable safetensors file ({_one_line(error)}).") from error
    return Weights(tensors, metadata)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    if TorchVersion(torch.__version__) < TorchVersion(TORCH_FLOOR):
        raise WeightsError(
            f"{shown(path)}: PyTorch {torch.__version__} is unsafe for such files; install {TORCH_FLOOR}."
        )
    _check_archive(path)
    try:
        # A stream, because torch.load decides by the name when it is given one.
        with path.open("rb") as stream:
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile file can raise anything
        unsafe = re.search(r"GLOBAL (\S+)", str(error))
        if unsafe:
            raise WeightsError(
                f"{shown(path)}: refused, it asks to run {unsafe[1]}; "
                "ask for a safetensors file, or save its state_dict() alone."
            ) from error
        raise WeightsError(f"{shown(path)}: not a readable PyTorch file ({_one_line(error)}).") from error
    return _state_dict(path, content)


def _check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than it holds."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError(f"{shown(path)}: a damaged archive ({_one_line(error)}).") from error
    if total > path.stat().st_size:
        raise WeightsError(
            f"{shown(path)}: refused, it would unpack to {total} bytes, more than the file holds."
        )


def _state_dict(path: Path, content: object) -> dict[str, Tensor]:
    if isinstance(content, dict):
        for name in WRAPPERS:
            if isinstance(content.get(name), dict):
                content = content[name]
                break
    if not isinstance(content, dict) or not content:
        raise WeightsError(
            f"{shown(path)}: holds a {type(content).__name__}, not a state_dict of tensors by name."
        )
    odd = [
        str(key)
        for key, value in content.items()
        if not isinstance(key, str) or not isinstance(value, Tensor)
    ]
    if odd:
        raise WeightsError(
            f"{shown(path)}: not a plain state_dict, these entries are no tensors: {', '.join(odd[:10])}."
        )
    return dict(content)


def _check_tensor(path: Path, key: str, tensor: Tensor) -> None:
    if tensor.layout != torch.strided or tensor.dtype not in FLOATS | INTEGERS:
        raise WeightsError(
            f"{shown(path)}: {key} has type {tensor.dtype} ({tensor.layout}), which is no weight type."
        )
    # An expanded view can claim any shape on a few bytes; touching it would then fill the memory.
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise WeightsError(
            f"{shown(path)}: {key} claims shape {tuple(tensor.shape)}, more than the file holds."
        )
    if tensor.dtype in FLOATS and not bool(tensor.isfinite().all()):
        raise WeightsError(
            f"{shown(path)}: {key} holds NaN or infinite values; the file is damaged or training diverged."
        )


def _read_shards(index: Path) -> Weights:
    weight_map = read_model_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f"{shown(index)}: has no weight_map.")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if name in {"", ".", ".."} or PurePosixPath(name).name != name or PureWindowsPath(name).name != name:
            raise WeightsError(f"{shown(index)}: refused, the shard {name!r} lies outside the folder.")
        if name.endswith(".index.json"):
            raise WeightsError(f"{shown(index)}: the shard {name!r} is an index itself.")
    tensors: dict[str, Tensor] = {}
    for name in names:
        shard = read_weights(index.parent / name).tensors
        listed = {key for key, where in weight_map.items() if where == name}
        if set(shard) != listed:
            odd = sorted(set(shard) ^ listed)
            raise WeightsError(
                f"{shown(index)}: {name} and the index disagree on {len(odd)} keys: {', '.join(odd[:10])}."
            )
        tensors |= shard
    return Weights(tensors)


def _json_object(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key is given twice")
        return result

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{shown(path)}: not readable as JSON ({_one_line(error)}).") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{shown(path)}: expected a JSON object, found a {type(value).__name__}.")
    return value


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
