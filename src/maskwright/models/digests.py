"""Short hashes of a model's weights, by which files and embeddings say which model they belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def weights_digest(model: nn.Module) -> str:
    """A short hash of the first numbers of every tensor: cheap, and different after any training."""
    return state_digest(model.state_dict())


def state_digest(state: Mapping[str, Tensor]) -> str:
    """The `weights_digest` of a model with this state dict."""
    with torch.no_grad():
        heads = [tensor.flatten()[:16].float() for tensor in state.values()]
        sample = torch.cat(heads).cpu().numpy().tobytes()
    return hashlib.sha256(sample).hexdigest()[:12]


def whole_digest(model: nn.Module) -> str:
    """A short hash of every number of a model: half a second a gigabyte, and different after any change."""
    total = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()[:12]
