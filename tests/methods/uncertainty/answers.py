"""Masks with expected values that a test chooses."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from maskwright.types import Geometry, Masks


def answered(
    rows: Sequence[Sequence[dict[str, float]]],
    logits: torch.Tensor | None = None,
    size: tuple[int, int] = (16, 16),
) -> Masks:
    """N prompts' M masks; `rows[n][m]` holds "quality" and the gaps, `logits` (N, M, 16, 16)."""
    shape = (len(rows), len(rows[0]))
    names = rows[0][0]
    extras = {name: torch.tensor([[cell[name] for cell in row] for row in rows]) for name in names}
    low_res = torch.full((*shape, 16, 16), -5.0) if logits is None else logits
    return Masks(low_res, torch.rand(shape), Geometry(size, max(size)), extras=extras)
