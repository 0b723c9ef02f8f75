"""Attention with decomposed relative positions on the CPU, for prediction.

What costs beside the two matrix products is the way of the logits through memory: adding the bias, taking
the exponential, dividing. Here one pass over the logits adds the bias and takes the exponential; the division
is left to the result, which is shorter. Each thread takes some heads, or a window, with all that belongs to
them: no two wait for each other, and what one holds stays in its cache.

The products are the processor's library's, but for float32 on an x86 without AVX-512, where they are our own:
there the library is slow on matrices as short as a head's channels, and sees nothing of what comes between.

Axes: B images or windows, N heads, G = B·N, H W grid, L = H·W tokens, D channels of a head, Q queries of a
tile.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from maskwright.models.packed import is_packing_quicker, plain_linear

# Logits at once: beyond a core's second cache, but shorter matrices are multiplied more slowly.
TILE_ELEMENTS = 2**20
LOG2_E = 1.4426950408889634
X86 = ("x86_64", "amd64")

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(run: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`run` of each item for prediction, the results in order; a thread takes the next when it is done.

    Each computes alone. The threads of torch, which wait busily for some milliseconds when they have nothing
    to do, are in the way of these: better few such calls than many.
    """
    # A mode that watches operations, as `memory` does, sees those of its own thread only.
    threads = torch.get_num_threads()
    if threads == 1 or _get_current_dispatch_mode() is not None:
        return [run(item) for item in items]
    inference, autocast = torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
    kind = torch.get_autocast_dtype("cpu")

    def predict(item: Item) -> Result:
        with torch.inference_mode(inference), torch.no_grad(), torch.autocast("cpu", kind, enabled=autocast):
            return run(item)

    return list(_pool(threads, os.getpid()).map(predict, items))


@lru_cache(maxsize=8)
def _pool(threads: int, _process: int) -> ThreadPoolExecutor:
    """So many threads, kept, each of which computes alone; of this process, as a fork takes none along.

    They all start here, because torch's number of threads is every later thread's, too, until it is set back.
    """
    started = Barrier(threads + 1)

    def begin() -> None:
        torch.get_num_threads()  # a thread takes the common number when it first asks, and keeps the next
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(threads, "maskwright")
    for _ in range(threads):
        pool.submit(begin)
    started.wait()
    torch.set_num_threads(threads)
    return pool


def relative_logits(query: Tensor, table_h: Tensor, table_w: Tensor) -> tuple[Tensor, Tensor]:
    """The bias of each query (…, H, W, D) per key row (…, H, W, H) and per key column (…, H, W, W)."""
    rows = torch.einsum("...hwd,hkd->...hwk", query, table_h.to(query.dtype))
    columns = torch.einsum("...hwd,wkd->...hwk", query, table_w.to(query.dtype))
    return rows, columns


def are_tiles_quicker(x: Tensor) -> bool:
    """Whether `attention_in_tiles` is what is quicker in the arithmetic of x; on ARM it was not measured."""
    return x.dtype == torch.float32 and platform.machine().lower() in X86 and not is_packing_quicker()


def attention_in_tiles(
    qkv_BHWA: Tensor, heads: int, offsets_h: Tensor, offsets_w: Tensor, scale: float
) -> Tensor:
    """What `cpu_attention` does, on kernels of our own, in float32.

    Args:
        qkv_BHWA: queries, keys and values, A = 3·N·D.
        heads: N.
        offsets_h: (2·H - 1, D) embedding of each offset in rows from a key to a query.
        offsets_w: (2·W - 1, D) the same for columns.
        scale: factor of query · key.

    Returns:
        (B, H, W, N·D).
    """
    from maskwright.models.tiled_attention import attend

    qkv = qkv_BHWA.contiguous().unflatten(3, (3, heads, -1))
    out_BHWND = qkv.new_empty(*qkv.shape[:3], heads, qkv.shape[5])
    rows_FD, columns_FD = ((part.float() / scale).numpy() for part in (offsets_h, offsets_w))
    attend(qkv.numpy(), rows_FD, columns_FD, np.float32(scale * LOG2_E), out_BHWND.numpy())
    result: Tensor = out_BHWND.flatten(3)
    return result


def cpu_attention(
    query: Tensor, key: Tensor, value: Tensor, table_h: Tensor, table_w: Tensor, scale: float
) -> Tensor:
    """Softmax attention; takes and gives what `attention.folded_attention` does, in float32 or bfloat16.

    It runs in the thread that calls it: who has many heads or windows shares them out by `in_threads`.

    Args:
        query: (B, N, H, W, D).
        key: (B, N, H, W, D).
        value: (B, N, H, W, D).
        table_h: (H, H, D) embedding of each query row relative to each key row.
        table_w: (W, W, D) the same for columns.
        scale: factor of query · key.

    Returns:
        (B, N, H, W, D).
    """
    tables = (LOG2_E * table.to(query.dtype) for table in (table_h, table_w))  # powers of two are cheaper
    bias = [part.float().flatten(0, 1).flatten(1, 2) for part in relative_logits(query, *tables)]
    # The kernels are slow on what does not lie in one piece.
    query_GLD, key_GLD, value_GLD = (
        part.flatten(0, 1).flatten(1, 2).contiguous() for part in (query, key, value)
    )
    value_GDL = value_GLD.transpose(1, 2)
    out_GLD = torch.empty_like(query_GLD, memory_format=torch.contiguous_format)
    heads, tokens = query_GLD.shape[:2]
    step = min(tokens, max(1, TILE_ELEMENTS // (heads * tokens)))
    # One place for the logits of all tiles: fresh memory for each costs time.
    place = query_GLD.new_empty(heads * step * tokens)
    for top in range(0, tokens, step):
        tile = slice(top, top + step)
        queries_GQD = query_GLD[:, tile] * (scale * LOG2_E)
        logits_GQL = place[: heads * queries_GQD.shape[1] * tokens].view(heads, -1, tokens)
        logits_GQL = product(queries_GQD, key_GLD, logits_GQL)
        sums_GQ = exponentiate(logits_GQL, *(part[:, tile] for part in bias))
        found_GQD = product(logits_GQL, value_GDL)
        torch.div(found_GQD, sums_GQ[..., None].to(found_GQD.dtype), out=out_GLD[:, tile])
    return out_GLD.view(query.shape)


def product(x_GQC: Tensor, rows_GNC: Tensor, place_GQN: Tensor | None = None) -> Tensor:
    """The product of x with rowsᵀ, (G, Q, N), which may be put into a place that is given."""
    # The kernels of linear layers are quicker than those of batches.
    if x_GQC.dtype == torch.float32 and len(x_GQC) == 1 and is_packing_quicker():
        return plain_linear(x_GQC[0], rows_GNC[0])[None]
    return torch.bmm(x_GQC, rows_GNC.transpose(1, 2), out=place_GQN)


def exponentiate(logits_GQL: Tensor, rows_GQH: Tensor, columns_GQW: Tensor) -> Tensor:
    """Put powers of two of the biased logits in their place; gives their sums (G, Q) in float32."""
    from maskwright.models.biased_exponential import exponential_bfloat16, exponential_float32

    rows_TH, columns_TW = (part.reshape(-1, part.shape[-1]).numpy() for part in (rows_GQH, columns_GQW))
    logits_TL = logits_GQL.flatten(0, 1)
    sums_GQ = torch.empty(logits_GQL.shape[:2], dtype=torch.float32, device="cpu")
    sums_T = sums_GQ.flatten().numpy()
    if logits_TL.dtype == torch.float32:
        exponential_float32(logits_TL.numpy(), rows_TH, columns_TW, sums_T)
    else:
        exponential_bfloat16(logits_TL.view(torch.int16).numpy(), rows_TH, columns_TW, sums_T)
    return sums_GQ
