"""Attention of SAM's image encoder without its (H·W, H·W) bias matrix.

SAM adds to each logit two decomposed relative positions (Li et al. 2022, MViTv2, section 4.1):

    logit(i, j) = scale · qᵢ·kⱼ + qᵢ·R_h[yᵢ - yⱼ] + qᵢ·R_w[xᵢ - xⱼ]

The bias depends on the query, the key's row and the key's column, and there are only H rows and W columns.
So it is itself a dot product of longer vectors, exactly:

    q' = [q, qR_h / scale, qR_w / scale]    k' = [k, onehot(y), onehot(x)]    logit = scale · q'·k'

and the fused kernels, which take no decomposed bias, need no mask at all. They want values as long as the
keys, though, which on the CPU costs more than a bias: for prediction there, `cpu_attention` is used. Graphs
for other runtimes hold the formula as it stands.

Axes: B images or windows, H W grid, h w window, L = H·W tokens, N heads, D channels of a head, C = N·D.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.cpu_attention import (
    are_tiles_quicker,
    attention_in_tiles,
    cpu_attention,
    in_threads,
    relative_logits,
)
from maskwright.models.packed import arithmetic, has_kernels, linear, plain_linear

# Windows that a thread takes at once.
WINDOWS = 2
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
        if self.window:
            out_BHWC = self._in_windows(hidden_states)
        elif type(self.qkv) is nn.Linear and has_kernels(hidden_states):
            out_BHWC = self._each_head(hidden_states)
        else:
            out_BHWC = self._attend(linear(self.qkv, hidden_states), self.num_attention_heads)
        return linear(self.proj, out_BHWC), None

    def _each_head(self, hidden_BHWC: Tensor) -> Tensor:
        """Attention within the map, before the projection, where each thread takes a head: (B, H, W, C).

        Queries, keys and values of all heads at once would take a hundred megabytes.
        """
        hidden_BHWC = hidden_BHWC.to(arithmetic(hidden_BHWC))
        out_BHWNC = torch.empty_like(hidden_BHWC).unflatten(3, (self.num_attention_heads, -1))

        def run(image_and_head: tuple[int, int]) -> None:
            image, head = image_and_head
            qkv_HWA = plain_linear(hidden_BHWC[image], *self._of_head(head))
            out_BHWNC[image, :, :, head] = self._attend(qkv_HWA[None], 1)[0]

        in_threads(run, product(range(len(hidden_BHWC)), range(self.num_attention_heads)))
        result: Tensor = out_BHWNC.flatten(3)
        return result

    def _of_head(self, head: int) -> tuple[Tensor, Tensor | None]:
        """Weight (3·D, C) and bias (3·D) that give one head's query, key and value."""
        sizes = (3, self.num_attention_heads, -1)
        bias: Tensor | None = self.qkv.bias
        weight_AC = self.qkv.weight.unflatten(0, sizes)[:, head].flatten(0, 1)
        return weight_AC, None if bias is None else bias.unflatten(0, sizes)[:, head].flatten()

    def _in_windows(self, hidden_BHWC: Tensor) -> Tensor:
        """Attention within each window, before the projection: (B, H, W, C)."""
        height, width = hidden_BHWC.shape[1:3]
        side = self.window
        qkv_BHWC = linear(self.qkv, hidden_BHWC)
        qkv_BHWC = pad_map(qkv_BHWC, -height % side, -width % side, self.qkv.bias)
        rows, columns = qkv_BHWC.shape[1] // side, qkv_BHWC.shape[2] // side
        windows = qkv_BHWC.view(-1, rows, side, columns, side, qkv_BHWC.shape[3]).transpose(2, 3)
        out = self._attend(windows.flatten(0, 2), self.num_attention_heads)
        out = out.view(-1, rows, columns, side, side, self.proj.in_features).transpose(2, 3)
        return out.flatten(3, 4).flatten(1, 2)[:, :height, :width]

    def _attend(self, qkv_BHWA: Tensor, heads: int) -> Tensor:
        """Queries, keys and values side by side, A = 3·N·D → (B, H, W, N·D), in their arithmetic."""
        height, width = qkv_BHWA.shape[1:3]
        # Not `unflatten`, whose sizes an exported graph keeps.
        parts = qkv_BHWA.reshape(*qkv_BHWA.shape[:3], 3, heads, -1)
        query, key, value = parts.permute(3, 0, 4, 1, 2, 5)
        if self.rel_pos_h is None or self.rel_pos_w is None:
            query, key, value = (part.flatten(2, 3) for part in (query, key, value))
            out = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
            return out.view(*out.shape[:2], height, width, -1).permute(0, 2, 3, 1, 4).flatten(3)
        with torch.autocast(qkv_BHWA.device.type, enabled=False):
            if has_kernels(query) and are_tiles_quicker(query):
                offsets = (relative_offsets(self.rel_pos_h, height), relative_offsets(self.rel_pos_w, width))
                return attention_in_tiles(qkv_BHWA, heads, *offsets, self.scale)
            kernel = folded_attention
            if torch.onnx.is_in_onnx_export():
                kernel = biased_attention
            elif has_kernels(query):
                kernel = cpu_attention
            tables = (relative_table(self.rel_pos_h, height), relative_table(self.rel_pos_w, width))
            return kernel(query, key, value, *tables, self.scale).permute(0, 2, 3, 1, 4).flatten(3)


def pad_map(map_BHWC: Tensor, bottom: int, right: int, fill_C: Tensor | None) -> Tensor:
    """Add rows and columns that are `fill_C` at each place, or zero."""
    if not (bottom or right):
        return map_BHWC
    if fill_C is None:
        return F.pad(map_BHWC, (0, 0, 0, right, 0, bottom))
    batch, height, width, channels = map_BHWC.shape
    fill_C = fill_C.to(map_BHWC.dtype)
    beside = fill_C.expand(batch, height, right, channels)
    below = fill_C.expand(batch, bottom, width + right, channels)
    return torch.cat([torch.cat([map_BHWC, beside], dim=2), below], dim=1)


def relative_offsets(rel_pos: Tensor, size: int) -> Tensor:
    """(2·size - 1, D): the embedding of each offset from a key to a query.

    One made for another size is resampled linearly, as the original does.
    """
    length = 2 * size - 1
    if len(rel_pos) != length:
        rel_pos = F.interpolate(rel_pos.t()[None], length, mode="linear")[0].t()
    return rel_pos


def relative_table(rel_pos: Tensor, size: int) -> Tensor:
    """(size, size, D): the embedding of each query coordinate relative to each key coordinate."""
    coordinate = torch.arange(size, device=rel_pos.device)
    return relative_offsets(rel_pos, size)[coordinate[:, None] - coordinate[None] + size - 1]


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


def biased_attention(
    query: Tensor, key: Tensor, value: Tensor, table_h: Tensor, table_w: Tensor, scale: float
) -> Tensor:
    """The same for graphs of other runtimes, with the bias matrix.

    OpenVINO fuses this form, and needs 0.4 times as long for it as for the folded one.
    """
    rows, columns = relative_logits(query, table_h, table_w)
    bias = (rows[..., :, None] + columns[..., None, :]).flatten(4).flatten(2, 3)
    key, value = key.flatten(2, 3), value.flatten(2, 3)
    out = F.scaled_dot_product_attention(query.flatten(2, 3), key, value, attn_mask=bias, scale=scale)
    return out.view(*query.shape)


def add_attention(layer: Any, x_BHWC: Tensor) -> Tensor:  # noqa: ANN401
    """`x + attn(norm(x))` of a SAM layer; for prediction on the CPU in place, some windows a thread."""
    attention = layer.attn
    if not has_kernels(x_BHWC):
        result: Tensor = x_BHWC + attention(layer.layer_norm1(x_BHWC))[0]
        return result

    def run(piece_BhwC: Tensor) -> None:
        piece_BhwC += attention(layer.layer_norm1(piece_BhwC))[0]

    if attention.window:
        in_threads(run, windows_of(x_BHWC, attention.window))
    else:
        run(x_BHWC)
    return x_BHWC


def windows_of(map_BHWC: Tensor, side: int) -> Iterator[Tensor]:
    """Views of some whole windows each: of one image, and of one band of it."""
    for band in map_BHWC.split(side, dim=1):
        for piece in band.split(WINDOWS * side, dim=2):
            yield from piece.split(1)


def replace_attention(vision_encoder: nn.Module) -> None:
    """Put `FoldedAttention` into every layer of transformers' SAM or SAM-HQ vision encoder."""
    for layer in vision_encoder.layers:  # type: ignore[union-attr]
        if not isinstance(layer.attn, FoldedAttention):
            layer.attn = FoldedAttention(layer.attn, layer.window_size)
