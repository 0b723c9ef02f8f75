from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from maskwright.models.mask_features import FEATURES, mask_features


def twin(logits: npt.NDArray[np.float64], score: float) -> list[float]:
    """The features of one map, pixel by pixel."""
    step = max(1, logits.shape[-1] // 64)
    values = np.clip(logits[::step, ::step].reshape(-1), -32, 32).tolist()
    chances = [1 / (1 + np.exp(-x)) for x in values]
    entropies = [-sum(q * np.log2(q) for q in (p, 1 - p) if q > 0) for p in chances]
    inside = [(x, p) for x, p in zip(values, chances, strict=True) if x > 0]
    outside = [(x, p) for x, p in zip(values, chances, strict=True) if x <= 0]
    area = max(1, len(inside))
    return [
        score,
        sum(p * h for p, h in zip(chances, entropies, strict=True)) / max(sum(chances), 1e-6),
        sum(x > 1 for x in values) / max(1, sum(x > -1 for x in values)),
        float(np.log((len(inside) + 1) / len(values))),
        sum(p for _, p in inside) / area,
        sum(p for _, p in outside) / area,
        sum(x for x, _ in inside) / area,
        sum(x for x, _ in outside) / max(1, len(outside)),
    ]


@pytest.mark.parametrize("side", [16, 130])
@pytest.mark.parametrize("shift", [0.0, -60.0, 60.0, -3.0])
def test_features_equal_their_twin(side: int, shift: float) -> None:
    rng = np.random.default_rng(side)
    logits = (rng.normal(0, 4, (2, 3, side, side)) + shift).astype(np.float32)
    scores = rng.random((2, 3)).astype(np.float32)
    found = mask_features(torch.from_numpy(logits), torch.from_numpy(scores))
    assert found.shape == (2, 3, len(FEATURES))
    assert found.isfinite().all()
    for n in range(2):
        for m in range(3):
            expected = twin(logits[n, m].astype(np.float64), float(scores[n, m]))
            assert found[n, m].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_map_is_not_changed() -> None:
    logits = torch.randn(1, 1, 8, 8)
    before = logits.clone()
    mask_features(logits, torch.ones(1, 1))
    assert torch.equal(logits, before)
