"""Attention with decomposed relative positions on the CPU, for prediction.

What costs beside the two matrix products is the way of the logits through memory: adding the bias, taking
the exponential, dividing. Here one pass over the logits of some queries of a head adds the bias and takes
the exponential; the division is left to the result, which is shorter. Each thread takes a head, so that no
two wait for each other.

Axes: B images or windows, N heads, A = B·N, H W grid, L = H·W tokens, D channels of a head, Q queries of a
tile.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from maskwright.models.packed import product

KINDS = (torch.float32, torch.bfloat16)
# Logits of a tile: beyond a core's second cache, but shorter matrices are multiplied more slowly.
TILE_ELEMENTS = 2**20
LOG2_E = 1.4426950408889634


def cpu_attention(
    query: Tensor, key: Tensor, value: Tensor, table_h: Tensor, table_w: Tensor, scale: float
) -> Tensor:
    """Softmax attention; takes and gives what `attention.folded_attention` does.

    Args:
        query: (B, N, H, W, D), float32 or bfloat16.
        key: (B, N, H, W, D).
        value: (B, N, H, W, D).
        table_h: (H, H, D) embedding of each query row relative to each key row.
        table_w: (W, W, D) the same for columns.
        scale: factor of query · key.

    Returns:
        (B, N, H, W, D).
    """
    batch, heads, height, width, depth = query.shape
    # Powers of two are cheaper than those of e.
    rows, columns = (LOG2_E * part for part in relative_logits(query, table_h, table_w))
    rows_ALH, columns_ALW = (part.float().flatten(0, 1).flatten(1, 2) for part in (rows, columns))
    query_ALD, key_ALD, value_ALD = (part.flatten(0, 1).flatten(1, 2) for part in (query, key, value))
    out_ALD = torch.empty_like(query_ALD, memory_format=torch.contiguous_format)
    inference = torch.is_inference_mode_enabled()

    def run(head: int) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            attend_head(
                query_ALD[head] * (scale * LOG2_E),
                key_ALD[head].contiguous(),
                value_ALD[head].t().contiguous(),
                (rows_ALH[head], columns_ALW[head]),
                out_ALD[head],
            )

    with ThreadPoolExecutor(torch.get_num_threads(), initializer=lambda: torch.set_num_threads(1)) as pool:
        list(pool.map(run, range(batch * heads)))
    return out_ALD.view(batch, heads, height, width, depth)


def relative_logits(query: Tensor, table_h: Tensor, table_w: Tensor) -> tuple[Tensor, Tensor]:
    """The bias of each query per key row (B, N, H, W, H) and per key column (B, N, H, W, W)."""
    rows = torch.einsum("bnhwd,hkd->bnhwk", query, table_h.to(query.dtype))
    columns = torch.einsum("bnhwd,wkd->bnhwk", query, table_w.to(query.dtype))
    return rows, columns


def attend_head(
    query_LD: Tensor, key_LD: Tensor, value_DL: Tensor, bias: tuple[Tensor, Tensor], out_LD: Tensor
) -> None:
    """Attention of one head, tile by tile, into `out_LD`; queries and bias hold logits to base 2."""
    from maskwright.models.biased_exponential import exponential_bfloat16, exponential_float32

    step = max(1, TILE_ELEMENTS // len(key_LD))
    for top in range(0, len(query_LD), step):
        tile = slice(top, top + step)
        logits_QL = product(query_LD[tile], key_LD)
        rows_QH, columns_QW = (part[tile].numpy() for part in bias)
        sums_Q = np.empty(len(logits_QL), np.float32)
        if logits_QL.dtype == torch.float32:
            exponential_float32(logits_QL.numpy(), rows_QH, columns_QW, sums_Q)
        else:
            exponential_bfloat16(logits_QL.view(torch.int16).numpy(), rows_QH, columns_QW, sums_Q)
        sums_Q1 = torch.from_numpy(sums_Q)[:, None].to(logits_QL.dtype)
        torch.div(product(logits_QL, value_DL), sums_Q1, out=out_LD[tile])
