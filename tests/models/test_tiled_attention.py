"""Attention in tiles equals the formula in float64, at all sizes, and touches nothing beside its results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from maskwright.models.cpu_attention import LOG2_E
from maskwright.models.tiled_attention import attend
from maskwright.models.tiles import COLUMNS, ROWS, add_product, put_biased_product

SCALE = 0.25


# Not kept: what is kept sees no change of the tiles.
@njit  # type: ignore[untyped-decorator]
def add(a: Any, b: Any, out: Any) -> None:
    add_product(a, b, out)


@njit  # type: ignore[untyped-decorator]
def put(a: Any, b: Any, rows: Any, columns: Any, out: Any, largest: Any) -> None:
    put_biased_product(a, b, rows, columns, out, largest)


def floats(generator: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return generator.standard_normal(shape).astype(np.float32)


def by_formula(
    qkv_BHW3ND: NDArray[np.float32], rows_FD: NDArray[np.float32], columns_FD: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Softmax of scale · q·k + q·R[y - y'] + q·R[x - x'], as slowly as it is written."""
    images, height, width, _, heads, channels = qkv_BHW3ND.shape
    qkv = qkv_BHW3ND.astype(np.float64)
    out = np.empty((images, height, width, heads, channels))
    y, x = np.divmod(np.arange(height * width), width)
    for image in range(images):
        for head in range(heads):
            query, key, value = qkv[image, :, :, :, head].reshape(height * width, 3, channels).swapaxes(0, 1)
            rows = rows_FD[y[:, None] - y + height - 1]
            columns = columns_FD[x[:, None] - x + width - 1]
            logits = SCALE * query @ key.T + np.einsum("qd,qkd->qk", query, rows.astype(np.float64) + columns)
            weights = np.exp(logits - logits.max(1, keepdims=True))
            weights /= weights.sum(1, keepdims=True)
            out[image, :, :, head] = (weights @ value).reshape(height, width, channels)
    return out


@pytest.mark.parametrize("strength", [0.1, 1, 30])
@pytest.mark.parametrize(
    ("images", "height", "width", "heads", "channels"),
    [
        (1, 1, 1, 1, 1),
        (2, 3, 5, 2, 8),
        (1, 5, 16, 3, 16),
        (1, 14, 14, 2, 64),
        (1, 7, 17, 1, 24),
        (1, 20, 34, 1, 80),  # keys in several blocks, a row in three panels, and a last tile that is not full
    ],
)
def test_equals_the_formula(
    images: int, height: int, width: int, heads: int, channels: int, strength: float
) -> None:
    """From nearly equal weights to one for nearly all."""
    generator = np.random.default_rng(height * width)
    qkv = floats(generator, images, height, width, 3, heads, channels)
    qkv[:, :, :, 0] *= strength
    rows, columns = (0.3 * floats(generator, 2 * size - 1, channels) for size in (height, width))
    out = np.full((images + 2, height, width, heads, channels), np.float32(7))
    attend(qkv, rows / SCALE, columns / SCALE, np.float32(SCALE * LOG2_E), out[1:-1])
    expected = by_formula(qkv, rows, columns)
    # The logits' own rounding grows with them.
    assert np.abs(out[1:-1] - expected).max() < 3e-6 * max(1, strength) * np.abs(expected).max()
    assert (out[0] == 7).all()
    assert (out[-1] == 7).all()


def test_logits_beyond_the_exponents() -> None:
    """Where one key is better by more than floats can say, it has all the weight, and nothing is NaN."""
    qkv = np.zeros((1, 2, 3, 3, 1, 16), np.float32)
    qkv[0, :, :, 0] = 100
    qkv[0, 1, 2, 1] = 100
    qkv[0, :, :, 2, 0, 0] = [[1, 2, 3], [4, 5, 6]]
    out = np.empty((1, 2, 3, 1, 16), np.float32)
    attend(qkv, np.zeros((3, 16), np.float32), np.zeros((5, 16), np.float32), np.float32(1), out)
    assert (out[..., 0] == 6).all()
    assert (out[..., 1:] == 0).all()


@pytest.mark.parametrize("depth", [1, 2, 7, 64])
def test_tile_products(depth: int) -> None:
    """Of the first rows and columns of larger arrays; the others stay as they were."""
    generator = np.random.default_rng(depth)
    a, b = floats(generator, ROWS + 3, depth), floats(generator, depth, COLUMNS + 5)
    rows, columns = floats(generator, ROWS, 2), floats(generator, ROWS, COLUMNS)
    before = floats(generator, ROWS + 2, COLUMNS + 4)
    product = a[:ROWS].astype(np.float64) @ b[:, :COLUMNS]
    added, put_in, largest = before.copy(), before.copy(), before.copy()
    add(a, b, added)
    put(a, b, rows, columns, put_in, largest)
    tile = np.s_[:ROWS, :COLUMNS]
    np.testing.assert_allclose(added[tile], before[tile] + product, atol=1e-4)
    np.testing.assert_allclose(put_in[tile], rows[:, :1] + columns + product, atol=1e-4)
    assert np.array_equal(largest[tile], np.maximum(before[tile], put_in[tile]))
    for changed in (added, put_in, largest):
        changed[tile] = before[tile]
        assert np.array_equal(changed, before)
