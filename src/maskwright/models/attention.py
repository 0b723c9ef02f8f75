"""Attention of SAM's image encoder without its (H·W, H·W) bias matrix.

SAM adds to each logit two decomposed relative positions (Li et al. 2022, MViTv2, section 4.1):

    logit(i, j) = scale · qᵢ·kⱼ + qᵢ·R_h[yᵢ - yⱼ] + qᵢ·R_w[xᵢ - xⱼ]

The bias depends on the query, the key's row and the key's column, and there are only H rows and W columns.
So it is itself a dot product of longer vectors, exactly:

    q' = [q, qR_h / scale, qR_w / scale]    k' = [k, onehot(y), onehot(x)]    logit = scale · q'·k'

and the fused kernels, which take no decomposed bias, need no mask at all. On the CPU without gradients,
blocks of plain matrix products are faster than the fused kernel (which wants values as long as the keys);
there the bias of a few rows of queries at a time is the product's starting value.

Axes: B images or windows, H W grid, h w window, L = H·W tokens, N heads, D channels of a head, C = N·D.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Logits held at once by the CPU path: 4 MB in float32, which stays in the processor's cache.
TILE_ELEMENTS = 2**20
# Below this many tokens (windows) the fused kernel's start-up is cheap and its tiles fit whole.
TILED_FROM_TOKENS = 1024
# Fused kernels are written for head sizes that are multiples of this.
HEAD_MULTIPLE = 8


class FoldedAttention(nn.Module):
    """Multi-head attention with decomposed relative positions, global or in windows.

    Takes over the parameters of transformers' `SamVisionAttention` under the same names, so that state
    dicts stay interchangeable. It is given the whole grid and cuts windows itself: queries, keys and values
    are computed before padding, where transformers computes them for the padding too; a padded token's
    features are zero, so its query, key and value are the bias.

    Args:
        original: the attention module to replace.
        window: side of the windows in tokens, 0 for global attention.
    """

    def __init__(self, original: nn.Module, window: int) -> None:
        super().__init__()
        self.num_attention_heads = int(original.num_attention_heads)  # type: ignore[arg-type]
        self.window = window
        self.qkv: nn.Linear = original.qkv  # type: ignore[assignment]
        self.proj: nn.Linear = original.proj  # type: ignore[assignment]
        self.scale = (self.qkv.in_features // self.num_attention_heads) ** -0.5
        if original.use_rel_pos:
            self.rel_pos_h: Tensor | None = original.rel_pos_h  # type: ignore[assignment]
            self.rel_pos_w: Tensor | None = original.rel_pos_w  # type: ignore[assignment]
        else:
            self.rel_pos_h = self.rel_pos_w = None

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, None]:
        """Map (B, H, W, C) to (B, H, W, C); the second value stands for weights that are never formed."""
        height, width = hidden_states.shape[1:3]
        qkv_BHWC = self.qkv(hidden_states)
        side = self.window or max(height, width)
        grid = (self.window, self.window) if self.window else (height, width)
        if self.window:
            qkv_BHWC = pad_map(qkv_BHWC, -height % side, -width % side, self.qkv.bias)
        rows, columns = qkv_BHWC.shape[1] // grid[0], qkv_BHWC.shape[2] // grid[1]
        heads = self.num_attention_heads
        parts = qkv_BHWC.view(-1, rows, grid[0], columns, grid[1], 3, heads, qkv_BHWC.shape[3] // heads // 3)
        # (B, rows, h, columns, w, 3, N, D) → (3, B, rows, columns, N, h, w, D) → three of (B', N, h, w, D)
        query, key, value = parts.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(1, 3)
        with torch.autocast(hidden_states.device.type, enabled=False):
            out = self._attend(query, key, value)
        out = out.view(-1, rows, columns, *out.shape[1:]).permute(0, 1, 4, 2, 5, 3, 6)
        out = out.flatten(5).flatten(3, 4).flatten(1, 2)
        return self.proj(out[:, :height, :width]), None

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, N, H, W, D) each → (B, N, H, W, D)."""
        height, width = query.shape[2:4]
        if self.rel_pos_h is None or self.rel_pos_w is None:
            query, key, value = (part.flatten(2, 3) for part in (query, key, value))
            out = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
            return out.view(*out.shape[:2], height, width, -1)
        tables = (relative_table(self.rel_pos_h, height), relative_table(self.rel_pos_w, width))
        tiled = (
            query.device.type == "cpu"
            and height * width >= TILED_FROM_TOKENS
            and not (torch.is_grad_enabled() and query.requires_grad)
        )
        attend = tiled_attention if tiled else folded_attention
        return attend(query, key, value, *tables, self.scale)


def pad_map(map_BHWC: Tensor, bottom: int, right: int, fill_C: Tensor | None) -> Tensor:
    """Add rows and columns that are `fill_C` at each place, or zero."""
    if not (bottom or right):
        return map_BHWC
    if fill_C is None:
        return F.pad(map_BHWC, (0, 0, 0, right, 0, bottom))
    batch, height, width, channels = map_BHWC.shape
    padded = fill_C.to(map_BHWC.dtype).expand(batch, height + bottom, width + right, channels).clone()
    padded[:, :height, :width] = map_BHWC
    return padded


def relative_table(rel_pos: Tensor, size: int) -> Tensor:
    """(size, size, D): the embedding of each query coordinate relative to each key coordinate.

    A table made for another size is resampled linearly, as the original does.
    """
    length = 2 * size - 1
    if len(rel_pos) != length:
        rel_pos = F.interpolate(rel_pos.t()[None], length, mode="linear")[0].t()
    coordinate = torch.arange(size, device=rel_pos.device)
    return rel_pos[coordinate[:, None] - coordinate[None] + size - 1]


def relative_logits(query: Tensor, table_h: Tensor, table_w: Tensor) -> tuple[Tensor, Tensor]:
    """The bias of each query per key row (B, N, H, W, H) and per key column (B, N, H, W, W)."""
    rows = torch.einsum("bnhwd,hkd->bnhwk", query, table_h.to(query.dtype))
    columns = torch.einsum("bnhwd,wkd->bnhwk", query, table_w.to(query.dtype))
    return rows, columns


def folded_attention(
    query: Tensor, key: Tensor, value: Tensor, table_h: Tensor, table_w: Tensor, scale: float
) -> Tensor:
    """Fold the relative positions into longer queries and keys and call the fused kernel.

    Args:
        query: (B, N, H, W, D).
        key: (B, N, H, W, D).
        value: (B, N, H, W, D).
        table_h: (H, H, D) from `relative_table`.
        table_w: (W, W, D).
        scale: factor of query · key.

    Returns:
        (B, N, H, W, D).
    """
    height, width, depth = query.shape[2:]
    # The kernel scales the whole product, so the tables are divided by the scale beforehand.
    rows, columns = relative_logits(query, table_h / scale, table_w / scale)
    extra = -(depth + height + width) % HEAD_MULTIPLE
    shape = key.shape[:-1]
    is_row = torch.eye(height, dtype=key.dtype, device=key.device)[:, None].expand(*shape, height)
    is_column = torch.eye(width, dtype=key.dtype, device=key.device).expand(*shape, width)
    fill = key.new_zeros(()).expand(*shape, extra)
    long_query = torch.cat([query, rows, columns, fill], dim=-1).flatten(2, 3)
    long_key = torch.cat([key, is_row, is_column, fill], dim=-1).flatten(2, 3)
    # Kernels want values of the same length; the zeros come out as zeros and are cut off.
    long_value = F.pad(value, (0, height + width + extra)).flatten(2, 3)
    out = F.scaled_dot_product_attention(long_query, long_key, long_value, scale=scale)
    return out[..., :depth].view(*query.shape)


def tiled_attention(
    query: Tensor, key: Tensor, value: Tensor, table_h: Tensor, table_w: Tensor, scale: float
) -> Tensor:
    """The same for the CPU without gradients, a few rows of queries of one head at a time."""
    batch, heads, height, width, depth = query.shape
    rows, columns = (part.flatten(0, 1) for part in relative_logits(query, table_h, table_w))
    query = (query * scale).flatten(0, 1)
    key_ADL = key.reshape(batch * heads, height * width, depth).transpose(1, 2)
    value_ALD = value.reshape(batch * heads, height * width, depth)
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    step = max(1, TILE_ELEMENTS // (width * height * width))
    for head in range(batch * heads):
        for top in range(0, height, step):
            tile = slice(top, top + step)
            bias = rows[head, tile, :, :, None] + columns[head, tile, :, None, :]
            some = query[head, tile].flatten(0, 1)
            logits = torch.addmm(bias.flatten(2, 3).flatten(0, 1), some, key_ADL[head])
            out[head, tile] = (logits.softmax(dim=-1) @ value_ALD[head]).view(-1, width, depth)
    return out.view(batch, heads, height, width, depth)


def replace_attention(vision_encoder: nn.Module) -> None:
    """Put `FoldedAttention` into every layer of transformers' SAM or SAM-HQ vision encoder."""
    for layer in vision_encoder.layers:  # type: ignore[union-attr]
        if not isinstance(layer.attn, FoldedAttention):
            layer.attn = FoldedAttention(layer.attn, layer.window_size)
