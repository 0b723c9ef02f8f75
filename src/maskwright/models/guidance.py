"""PerSAM's guidance of a decoder by a target (Zhang et al. 2023, PerSAM, section 3.2), for every family.

Two things enter the decoder's two-way transformer: where the target probably is steers the attention from
tokens to the image (target-guided attention), and the target's embedding is added to the tokens
(target-semantic prompting).

Axes: A = images × prompts, X = A or 1, N prompts, T tokens, C channels, L = h·w cells, E heads, D channels
of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor

from maskwright.choices import GuidanceMode as GuidanceMode
from maskwright.models.packed import is_traced
from maskwright.models.two_way import Memo, is_worthwhile, run_on_tokens

GUIDANCE_MODES: tuple[GuidanceMode, ...] = get_args(GuidanceMode)


@dataclass(frozen=True, eq=False)
class Guidance:
    """What steers the decoder, for each prompt.

    Args:
        attention: (N, h, w) in the frame of the image embedding, padding included; larger where the target
            is.
        target: (N, C) embedding of the target.
        mode: "official", as PerSAM's release does it: the attention's probabilities get `attention` added and
            go through a second softmax, which leaves them nearly uniform. "bias": `attention` is added to the
            logits before the one softmax, so that without contrast in it nothing changes.
    """

    attention: Tensor
    target: Tensor
    mode: GuidanceMode

    def map(self, fn: Callable[[Tensor], Tensor]) -> Guidance:
        """Apply a function to both tensors."""
        return replace(self, attention=fn(self.attention), target=fn(self.target))


def run_two_way(
    transformer: Any,  # noqa: ANN401
    tokens_ATC: Tensor,
    image_XChw: Tensor,
    position_1Chw: Tensor,
    guidance: Guidance | None = None,
    memo: Memo | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the two-way transformer of SAM, SAM 2 or nano, guided or not.

    Without guidance and gradients the work is done on the tokens (`models.two_way`), if they are few;
    otherwise as the transformer itself has it.

    Args:
        transformer: transformers' module, or nano's.
        tokens_ATC: of the prompts.
        image_XChw: X is A, or 1 where all prompts share it.
        position_1Chw: encoding of the image's positions.
        guidance: PerSAM's.
        memo: of this image and these weights; None keeps nothing.

    Returns:
        The tokens (A, T, C) and the image (A, C, h, w), stored as (A, h, w, C).
    """
    size = image_XChw.shape[-2:]
    moved = guidance is None and not torch.is_grad_enabled() and not is_traced()
    if moved and is_worthwhile(transformer, tokens_ATC.shape[1]):
        image, position = (part.flatten(2).transpose(1, 2) for part in (image_XChw, position_1Chw))
        memo = {} if memo is None else memo
        tokens, keys = run_on_tokens(transformer, tokens_ATC, image, position[0], memo)
        return tokens, keys.transpose(1, 2).unflatten(2, size)
    image_AChw = image_XChw.expand(tokens_ATC.shape[0], -1, -1, -1)
    if guidance is None:
        tokens, keys = transformer(
            point_embeddings=tokens_ATC[:, None],
            image_embeddings=image_AChw,
            image_positional_embeddings=position_1Chw,
            attention_similarity=None,
        )
    else:
        image, position = (part.flatten(2).transpose(1, 2)[:, None] for part in (image_AChw, position_1Chw))
        tokens, keys = _guided(transformer, tokens_ATC[:, None], image, position, guidance)
    return tokens[:, 0], keys[:, 0].transpose(1, 2).unflatten(2, size)


def _guided(
    transformer: Any,  # noqa: ANN401
    tokens_A1TC: Tensor,
    image_A1LC: Tensor,
    position_11LC: Tensor,
    guidance: Guidance,
) -> tuple[Tensor, Tensor]:
    """The transformer with the target in it, as PerSAM's release has it.

    The target is added to the queries before each layer and before the last attention. The release adds in
    place, and the queries' positional encoding is the same tensor: so it holds the target, too.
    """
    target_A11C = guidance.target[:, None, None]
    position_A1TC = queries = tokens_A1TC + target_A11C
    keys = image_A1LC
    for number, layer in enumerate(transformer.layers):
        if number:
            queries = queries + target_A11C
        if layer.skip_first_layer_pe:
            queries = layer.self_attn(query=queries, key=queries, value=queries)[0]
        else:
            query = queries + position_A1TC
            queries = queries + layer.self_attn(query=query, key=query, value=queries)[0]
        queries = layer.layer_norm1(queries)
        query, key = queries + position_A1TC, keys + position_11LC
        steered = _attend(layer.cross_attn_token_to_image, query, key, keys, guidance)
        queries = layer.layer_norm2(queries + steered)
        queries = layer.layer_norm3(queries + layer.mlp(queries))
        query = queries + position_A1TC
        back = layer.cross_attn_image_to_token(query=key, key=query, value=queries)[0]
        keys = layer.layer_norm4(keys + back)
    query = queries + position_A1TC + target_A11C
    last = transformer.final_attn_token_to_image(query=query, key=keys + position_11LC, value=keys)[0]
    return transformer.layer_norm_final_attn(queries + last), keys


def _attend(
    attention: Any,  # noqa: ANN401
    query_A1TC: Tensor,
    key_A1LC: Tensor,
    value_A1LC: Tensor,
    guidance: Guidance,
) -> Tensor:
    """Attention from tokens to the image, steered (equation 5)."""
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    query_A1ETD, key_A1ELD, value_A1ELD = (
        project(part).unflatten(-1, (attention.num_attention_heads, -1)).transpose(2, 3)
        for project, part in zip(projections, (query_A1TC, key_A1LC, value_A1LC), strict=True)
    )
    weights_A1ETL = (query_A1ETD * query_A1ETD.shape[-1] ** -0.5) @ key_A1ELD.transpose(-2, -1)
    if guidance.mode == "official":
        weights_A1ETL = weights_A1ETL.softmax(dim=-1)
    weights_A1ETL = (weights_A1ETL + guidance.attention.flatten(1)[:, None, None, None]).softmax(dim=-1)
    joined_A1TC = (weights_A1ETL.to(value_A1ELD.dtype) @ value_A1ELD).transpose(2, 3).flatten(3)
    out = attention.o_proj if hasattr(attention, "o_proj") else attention.out_proj
    result: Tensor = out(joined_A1TC)
    return result
