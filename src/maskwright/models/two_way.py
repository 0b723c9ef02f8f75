"""SAM's two-way transformer where few tokens meet a large image: the projections are done on the tokens.

Each prompt has a handful of tokens, and its image thousands of cells. So a projection of the image is moved
to the tokens wherever algebra allows it; with a layer's q, k, v and o, tokens t and the image's cells x:

* tokens look at the image: (q t) · (k x) = (kᵀ q t) · x, and Σ w (v x) = v Σ w x;
* the image looks at tokens: (q x) · (k t) = x · (qᵀ k t), and o Σ w (v t) = Σ w (o v t).

Before the first layer has changed it, the image is the same for all prompts, and so is the encoding of
positions at any time: both are projected once (`Memo`), and each head reads only its own channels of them.
The results are those of the plain form but for rounding.

Axes: A prompts, X = A or 1 (all prompts share it), T tokens, E heads, D channels of a head, R = E · T, C
channels, L cells of the image.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Memo = dict[tuple[int, str, bool], Tensor]
"""What one image gives for all prompts, by layer, name, and whether more than positions is in it."""


def is_worthwhile(transformer: Any, tokens: int) -> bool:  # noqa: ANN401
    """Whether the tokens are fewer than the channels of a head."""
    attention = transformer.final_attn_token_to_image
    return bool(tokens <= attention.q_proj.out_features // attention.num_attention_heads)


def run_on_tokens(
    transformer: Any,  # noqa: ANN401
    tokens_ATC: Tensor,
    image_XLC: Tensor,
    position_LC: Tensor,
    memo: Memo,
) -> tuple[Tensor, Tensor]:
    """Run the transformer of SAM, SAM 2 or nano.

    Args:
        transformer: transformers' module, or nano's.
        tokens_ATC: of the prompts.
        image_XLC: X is 1 where all prompts share it.
        position_LC: encoding of the image's positions.
        memo: of this image and these weights; filled here.

    Returns:
        The tokens (A, T, C) and the image (A, L, C).
    """
    queries, image = tokens_ATC, image_XLC
    for number, layer in enumerate(transformer.layers):
        # Later images are each prompt's own, also where there is one prompt only.
        shared = image if number == 0 and len(image) == 1 else None
        places = _Places(memo, number, shared, position_LC)
        if layer.skip_first_layer_pe:
            queries = _attend(layer.self_attn, queries, queries)
        else:
            queries = queries + _attend(layer.self_attn, queries + tokens_ATC, queries)
        queries = layer.layer_norm1(queries)
        seen = _look(layer.cross_attn_token_to_image, queries + tokens_ATC, image, places)
        queries = layer.layer_norm2(queries + seen)
        queries = layer.layer_norm3(queries + layer.mlp(queries))
        image = _write(layer.cross_attn_image_to_token, queries + tokens_ATC, queries, image, places)
        image = layer.layer_norm4(image)
    places = _Places(memo, len(transformer.layers), None, position_LC)
    seen = _look(transformer.final_attn_token_to_image, queries + tokens_ATC, image, places)
    return transformer.layer_norm_final_attn(queries + seen), image


class _Places:
    """What a layer projects once for all prompts: the positions, with the image where that is shared."""

    def __init__(self, memo: Memo, number: int, shared_1LC: Tensor | None, position_LC: Tensor) -> None:
        self.memo = memo
        self.number = number
        self.shared = shared_1LC
        self.position = position_LC

    def projected(self, name: str, projection: nn.Linear, heads: int, position: bool = True) -> Tensor:
        """(E, L, D) the projection of the positions and of the shared image, or of that alone."""
        key = self.number, name, self.shared is not None
        if key not in self.memo:
            parts = [self.position] if position else []
            parts += [] if self.shared is None else [self.shared[0]]
            projected = projection(sum(parts)).unflatten(-1, (heads, -1)).transpose(0, 1)
            self.memo[key] = projected.contiguous()
        return self.memo[key]


def _attend(attention: Any, query_ATC: Tensor, value_ATC: Tensor) -> Tensor:  # noqa: ANN401
    """Attention among the tokens, whose keys are their queries' inputs."""
    pairs = (
        (attention.q_proj, query_ATC),
        (attention.k_proj, query_ATC),
        (attention.v_proj, value_ATC),
    )
    query, key, value = (_heads(project(part), attention) for project, part in pairs)
    return _joined(F.scaled_dot_product_attention(query, key, value), attention)


def _look(attention: Any, query_ATC: Tensor, image_XLC: Tensor, places: _Places) -> Tensor:  # noqa: ANN401
    """The tokens look at the image: (A, T, C)."""
    query_AETD = _heads(attention.q_proj(query_ATC), attention) * attention.scaling
    count, heads, tokens, _ = query_AETD.shape
    if places.shared is not None:
        key_ELD = places.projected("key", attention.k_proj, heads)
        value_ELD = places.projected("value", attention.v_proj, heads, position=False)
        # The tokens of all prompts are queries of one and the same image.
        query_END = query_AETD.transpose(0, 1).flatten(1, 2)
        out_END = F.scaled_dot_product_attention(query_END[None], key_ELD[None], value_ELD[None], scale=1.0)
        return _joined(out_END[0].unflatten(1, (count, tokens)).transpose(0, 1), attention)
    place_ELD = places.projected("key", attention.k_proj, heads)
    weights_ARL = _scores(query_AETD, attention.k_proj, image_XLC, place_ELD).softmax(dim=-1)
    pooled_AETC = (weights_ARL @ image_XLC).unflatten(1, (heads, tokens))
    project = attention.v_proj
    out_AETD = torch.einsum("aetc,edc->aetd", pooled_AETC, project.weight.unflatten(0, (heads, -1)))
    return _joined(out_AETD + project.bias.view(heads, 1, -1), attention)


def _write(
    attention: Any,  # noqa: ANN401
    query_ATC: Tensor,
    value_ATC: Tensor,
    image_XLC: Tensor,
    places: _Places,
) -> Tensor:
    """The image looks at the tokens and adds what it sees: (A, L, C)."""
    key_AETD = _heads(attention.k_proj(query_ATC), attention) * attention.scaling
    value_AETD = _heads(attention.v_proj(value_ATC), attention)
    count, heads = key_AETD.shape[:2]
    place_ELD = places.projected("query", attention.q_proj, heads)
    if places.shared is not None:
        scores_ARL = _placed(key_AETD, place_ELD)
    else:
        scores_ARL = _scores(key_AETD, attention.q_proj, image_XLC, place_ELD)
    weights_ARL = scores_ARL.unflatten(1, (heads, -1)).softmax(dim=2).flatten(1, 2)
    project = _output(attention)
    values_AETC = torch.einsum("aetd,ced->aetc", value_AETD, project.weight.unflatten(1, (heads, -1)))
    # A head's weights sum to one, so the bias can be spread over the heads' values.
    values_ARC = (values_AETC + project.bias / heads).flatten(1, 2)
    image_ALC = image_XLC.expand(count, -1, -1)
    return torch.baddbmm(
        image_ALC.to(values_ARC.dtype), weights_ARL.transpose(1, 2).to(values_ARC), values_ARC
    )


def _scores(tokens_AETD: Tensor, projection: nn.Linear, image_ALC: Tensor, place_ELD: Tensor) -> Tensor:
    """(A, R, L): products of the tokens with the projection of image and places, formed on the tokens."""
    weight_EDC = projection.weight.unflatten(0, (tokens_AETD.shape[1], -1))
    tokens_ARC = torch.einsum("aetd,edc->aetc", tokens_AETD, weight_EDC).flatten(1, 2)
    image_ACL = image_ALC.transpose(1, 2).to(tokens_ARC)
    return torch.baddbmm(_placed(tokens_AETD, place_ELD), tokens_ARC, image_ACL)


def _placed(tokens_AETD: Tensor, place_ELD: Tensor) -> Tensor:
    """(A, R, L): products of the tokens with what all prompts share."""
    scores_ENL = tokens_AETD.transpose(0, 1).flatten(1, 2) @ place_ELD.transpose(1, 2)
    scores_EATL: Tensor = scores_ENL.unflatten(1, (len(tokens_AETD), -1))
    return scores_EATL.transpose(0, 1).flatten(1, 2)


def _heads(values_ATC: Tensor, attention: Any) -> Tensor:  # noqa: ANN401
    """(A, E, T, D)."""
    values_ATED: Tensor = values_ATC.unflatten(-1, (attention.num_attention_heads, -1))
    return values_ATED.transpose(1, 2)


def _joined(values_AETD: Tensor, attention: Any) -> Tensor:  # noqa: ANN401
    """(A, T, C): the heads' values together, through the last projection."""
    result: Tensor = _output(attention)(values_AETD.transpose(1, 2).flatten(2))
    return result


def _output(attention: Any) -> nn.Linear:  # noqa: ANN401
    """The last projection, under its name in SAM 2 or in SAM."""
    project: nn.Linear = attention.o_proj if hasattr(attention, "o_proj") else attention.out_proj
    return project
