"""Attention with decomposed relative positions in float32, by tiles of queries, in compiled loops.

What a tile of queries needs stays in a core's caches from the first product to the last: the first product
begins with the biases and keeps its largest results as they come, the exponential runs over them once, and
the second product follows. Keys are laid out as the products want them, each row of the grid filled up to
whole tiles; a bias lower than any takes what was filled in out of the sums.

A bias depends on the offset from the key to the query, of which there are 2·H - 1 and 2·W - 1: a query is
multiplied with the embedding of each, and its keys find theirs there.

Axes: B images or windows, N heads, H W grid, w width filled up, T queries of a tile, L = H·w keys,
P = L / C panels of keys, C columns of a panel, D channels of a head, d the same filled up, F offsets and
f the same filled up.
"""

from __future__ import annotations

import numpy as np

from maskwright.models.biased_exponential import LEAST, exponentials, fast
from maskwright.models.tiles import COLUMNS, ROWS, add_product, put_biased_product
from maskwright.types import FloatArray

QUERIES = 4 * ROWS  # of a tile, whose weights should fit into a core's second cache
KEYS = 256  # whose values all queries of a tile use before the next: they stay in the first cache


@fast
def attend(
    qkv_BHW3ND: FloatArray,
    rows_FD: FloatArray,
    columns_FD: FloatArray,
    scale: np.float32,
    out_BHWND: FloatArray,
) -> None:
    """Put softmax attention into `out`, all arrays in one piece.

    Args:
        qkv_BHW3ND: queries, keys and values.
        rows_FD: embedding of the offsets -(H - 1) to H - 1, divided by `scale`.
        columns_FD: the same for columns.
        scale: of the logits, as exponents of two.
        out_BHWND: where the result goes.
    """
    images, height, width, _, heads, channels = qkv_BHW3ND.shape
    wide = filled_up(width)
    row_panels, column_panels = in_panels(rows_FD), in_panels(columns_FD)
    # A tile may read beyond the last query.
    query_LD = np.zeros((height * width + ROWS, channels), np.float32)
    panels_PDC = np.zeros((height * wide // COLUMNS, channels, COLUMNS), np.float32)
    values_Ld = np.zeros((height * wide, filled_up(channels)), np.float32)
    rows_TH = np.zeros((QUERIES, height), np.float32)
    columns_Tw = np.full((QUERIES, wide), LEAST)
    # Longer than the keys, or all rows would share a few places of the cache.
    weights_TL = np.zeros((QUERIES, height * wide + COLUMNS), np.float32)
    found_Td = np.zeros((QUERIES, values_Ld.shape[1]), np.float32)
    for image in range(images):
        for head in range(heads):
            lay_out(qkv_BHW3ND, image, head, scale, query_LD, panels_PDC, values_Ld)
            for top in range(0, height * width, QUERIES):
                count = min(QUERIES, height * width - top)
                query_TD = query_LD[top : top + (count + ROWS - 1) // ROWS * ROWS]
                rows_Tf, columns_Tf = products(query_TD, row_panels), products(query_TD, column_panels)
                for t in range(count):
                    y, x = (top + t) // width, (top + t) % width
                    for key in range(height):
                        rows_TH[t, key] = rows_Tf[t, height - 1 + y - key]
                    for key in range(width):
                        columns_Tw[t, key] = columns_Tf[t, width - 1 + x - key]
                sums_T = weigh(query_TD, panels_PDC, rows_TH, columns_Tw, weights_TL)
                sum_values(weights_TL[: len(query_TD)], values_Ld, found_Td)
                for t in range(count):
                    y, x = (top + t) // width, (top + t) % width
                    for d in range(channels):
                        out_BHWND[image, y, x, head, d] = found_Td[t, d] / sums_T[t]


@fast
def filled_up(length: int) -> int:
    """The length, filled up to whole panels."""
    return (length + COLUMNS - 1) // COLUMNS * COLUMNS


@fast
def in_panels(rows_LD: FloatArray) -> FloatArray:
    """Vectors side by side in panels, (P, D, C), filled up with zeros."""
    panels_PDC = np.zeros((filled_up(len(rows_LD)) // COLUMNS, rows_LD.shape[1], COLUMNS), np.float32)
    for i in range(len(rows_LD)):
        for d in range(rows_LD.shape[1]):
            panels_PDC[i // COLUMNS, d, i % COLUMNS] = rows_LD[i, d]
    return panels_PDC


@fast
def lay_out(
    qkv_BHW3ND: FloatArray,
    image: int,
    head: int,
    scale: np.float32,
    query_LD: FloatArray,
    panels_PDC: FloatArray,
    values_Ld: FloatArray,
) -> None:
    """One head's scaled queries, its keys in panels, and its values at the places of their keys."""
    _, height, width, _, _, channels = qkv_BHW3ND.shape
    wide = filled_up(width)
    for y in range(height):
        for x in range(width):
            place = y * wide + x
            for d in range(channels):
                query_LD[y * width + x, d] = qkv_BHW3ND[image, y, x, 0, head, d] * scale
            for d in range(channels):
                panels_PDC[place // COLUMNS, d, place % COLUMNS] = qkv_BHW3ND[image, y, x, 1, head, d]
            for d in range(channels):
                values_Ld[place, d] = qkv_BHW3ND[image, y, x, 2, head, d]


@fast
def products(query_TD: FloatArray, panels_PDC: FloatArray) -> FloatArray:
    """Of each query with each vector in the panels, (T, P·C)."""
    out_TL = np.zeros((len(query_TD), len(panels_PDC) * COLUMNS), np.float32)
    for p in range(len(panels_PDC)):
        for t in range(0, len(query_TD), ROWS):
            add_product(query_TD[t:], panels_PDC[p], out_TL[t:, p * COLUMNS :])
    return out_TL


@fast
def weigh(
    query_TD: FloatArray,
    panels_PDC: FloatArray,
    rows_TH: FloatArray,
    columns_Tw: FloatArray,
    weights_TL: FloatArray,
) -> FloatArray:
    """Put powers of two of the biased logits into `weights`; gives their sums (T,)."""
    largest_TC = np.full((len(query_TD), COLUMNS), LEAST)
    across = columns_Tw.shape[1] // COLUMNS
    for p in range(len(panels_PDC)):
        y, x = p // across, p % across * COLUMNS
        for t in range(0, len(query_TD), ROWS):
            put_biased_product(
                query_TD[t:],
                panels_PDC[p],
                rows_TH[t:, y:],
                columns_Tw[t:, x:],
                weights_TL[t:, p * COLUMNS :],
                largest_TC[t:],
            )
    sums_T = np.empty(len(query_TD), np.float32)
    for t in range(len(query_TD)):
        sums_T[t] = exponentials(weights_TL[t, : len(panels_PDC) * COLUMNS], largest_TC[t].max())
    return sums_T


@fast
def sum_values(weights_TL: FloatArray, values_Ld: FloatArray, sums_Td: FloatArray) -> None:
    """Put the weighted sums of the values into `sums`."""
    sums_Td[:] = 0
    for some in range(0, len(values_Ld), KEYS):
        end = min(some + KEYS, len(values_Ld))
        for d in range(0, values_Ld.shape[1], COLUMNS):
            for t in range(0, len(weights_TL), ROWS):
                add_product(weights_TL[t:, some:end], values_Ld[some:end, d:], sums_Td[t:, d:])
