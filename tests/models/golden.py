"""What the golden files of SAM and SAM-HQ share: their prompts, and how an output is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

TOLERANCE = 1e-4


def golden(root: Path, name: str) -> dict[str, Tensor]:
    """The reference tensors of one model."""
    path = root / f"{name}.safetensors"
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def prompts(height: int, width: int) -> dict[str, dict[str, Any]]:
    """The four prompts, in pixels of the original image."""
    h, w = height, width
    box = [0.2 * w, 0.25 * h, 0.75 * w, 0.9 * h]
    return {
        "point": {"points": [[0.45 * w, 0.55 * h]]},
        "points": {"points": [[0.45 * w, 0.55 * h], [0.9 * w, 0.1 * h]], "labels": [1, 0]},
        "box": {"boxes": box},
        "box_point": {"boxes": box, "points": [[0.5 * w, 0.5 * h]]},
    }


def assert_close(actual: Tensor, expected: Tensor, what: str) -> None:
    """Every value within 1e-4 of the largest reference value."""
    assert actual.shape == expected.shape, (what, actual.shape, expected.shape)
    error = float((actual - expected).abs().max() / expected.abs().max())
    assert np.isfinite(error), what
    assert error <= TOLERANCE, f"{what}: {error:.2e}"
