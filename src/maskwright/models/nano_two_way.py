"""nano's two-way transformer and small networks: SAM's (Kirillov et al. 2023, appendix A), in our own words.

Names of parameters and arguments are those of transformers' modules, so that what works on SAM's decoder
(`models.guidance`, `models.two_way`) works on nano's, without the seconds that importing transformers takes.

Axes: A prompts, T tokens, L = h·w cells of the image, C channels, E heads, D channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYERS = 2
NORM_EPS = 1e-5


class Attention(nn.Module):
    """Attention whose heads share `inner` channels."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        if inner % heads:
            raise ValueError(f"{heads} heads do not divide {inner} channels")
        self.num_attention_heads = heads
        self.scaling = (inner // heads) ** -0.5
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, None]:
        """What each query (A, 1, ·, C) sees of the values; nothing stands for the weights."""
        projections = (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        query, key, value = (self._heads(part) for part in projections)
        # Written out: backward the fused kernel is slower where tokens are few.
        scores = (query @ key.transpose(-2, -1)) * self.scaling
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
        return self.out_proj((weights @ value).transpose(2, 3).flatten(3)), None

    def _heads(self, part_A1TC: Tensor) -> Tensor:
        heads_A1ETD: Tensor = part_A1TC.unflatten(-1, (self.num_attention_heads, -1)).transpose(2, 3)
        return heads_A1ETD


class MLP(nn.Module):
    """A hidden layer with ReLU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, C) to the same shape."""
        result: Tensor = self.lin2(F.relu(self.lin1(x)))
        return result


class TwoWayBlock(nn.Module):
    """The tokens look at each other and at the image, and the image looks at them."""

    def __init__(self, width: int, heads: int, hidden: int, is_first: bool) -> None:
        super().__init__()
        # The first tokens are their own positions.
        self.skip_first_layer_pe = is_first
        self.self_attn = Attention(width, width, heads)
        self.layer_norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.cross_attn_token_to_image = Attention(width, width // 2, heads)
        self.layer_norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = MLP(width, hidden)
        self.layer_norm3 = nn.LayerNorm(width, eps=NORM_EPS)
        self.layer_norm4 = nn.LayerNorm(width, eps=NORM_EPS)
        self.cross_attn_image_to_token = Attention(width, width // 2, heads)

    def forward(
        self, queries: Tensor, keys: Tensor, query_point_embedding: Tensor, key_point_embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (A, 1, T, C) and image (A, 1, L, C), changed; both with their positions."""
        if self.skip_first_layer_pe:
            queries = self.self_attn(queries, queries, queries)[0]
        else:
            placed = queries + query_point_embedding
            queries = queries + self.self_attn(placed, placed, queries)[0]
        queries = self.layer_norm1(queries)
        image = keys + key_point_embedding
        seen = self.cross_attn_token_to_image(queries + query_point_embedding, image, keys)[0]
        queries = self.layer_norm2(queries + seen)
        queries = self.layer_norm3(queries + self.mlp(queries))
        back = self.cross_attn_image_to_token(image, queries + query_point_embedding, queries)[0]
        return queries, self.layer_norm4(keys + back)


class TwoWayTransformer(nn.Module):
    """Two such blocks, and a last look at the image."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(width, heads, hidden, not i) for i in range(LAYERS))
        self.final_attn_token_to_image = Attention(width, width // 2, heads)
        self.layer_norm_final_attn = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(
        self,
        point_embeddings: Tensor,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        attention_similarity: None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run it.

        Args:
            point_embeddings: (A, 1, T, C) the tokens.
            image_embeddings: (A, C, h, w).
            image_positional_embeddings: (1 or A, C, h, w) encoding of the image's positions.
            attention_similarity: none; who steers attention runs the layers (`models.guidance`).

        Returns:
            The tokens (A, 1, T, C) and the image (A, 1, L, C).
        """
        assert attention_similarity is None
        maps = (image_embeddings, image_positional_embeddings)
        image, position = (part.flatten(2).transpose(1, 2)[:, None] for part in maps)
        queries = point_embeddings
        for layer in self.layers:
            queries, image = layer(queries, image, point_embeddings, position)
        seen = self.final_attn_token_to_image(queries + point_embeddings, image + position, image)[0]
        return self.layer_norm_final_attn(queries + seen), image


class FeedForward(nn.Module):
    """Three layers with ReLU between them."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(width, width)
        self.proj_out = nn.Linear(width, out)
        self.layers = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, C) to (…, out)."""
        for layer in (self.proj_in, *self.layers):
            x = F.relu(layer(x))
        result: Tensor = self.proj_out(x)
        return result
