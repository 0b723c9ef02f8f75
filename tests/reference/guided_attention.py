"""A slow, obvious version of the guided two-way transformer: one token at a time, in float64.

From the paper's equations and the released code's additions; weights come from a transformers module.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def array(parameter: Any) -> Array:
    values: Array = parameter.detach().double().numpy()
    return values


def linear(module: Any, x: Array) -> Array:
    return np.asarray(x @ array(module.weight).T + array(module.bias))


def norm(module: Any, x: Array) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + module.eps)
    return np.asarray(scaled * array(module.weight) + array(module.bias))


def mlp(module: Any, x: Array) -> Array:
    """SAM's two layers, or SAM 2's list of layers, with ReLU between."""
    if hasattr(module, "lin1"):
        return linear(module.lin2, np.maximum(linear(module.lin1, x), 0))
    hidden = np.maximum(linear(module.proj_in, x), 0)
    for layer in module.layers:
        hidden = np.maximum(linear(layer, hidden), 0)
    return linear(module.proj_out, hidden)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


def attention(
    module: Any, query: Array, key: Array, value: Array, guidance: Array | None = None, mode: str = ""
) -> Array:
    """Queries (T, C) look at keys (L, C); guidance (L,) steers where."""
    q, k, v = (
        linear(layer, x)
        for layer, x in ((module.q_proj, query), (module.k_proj, key), (module.v_proj, value))
    )
    heads = module.num_attention_heads
    width = q.shape[1] // heads
    out = np.zeros_like(q)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for token in range(len(q)):
            logits = np.array([q[token, part] @ k[cell, part] for cell in range(len(k))]) / np.sqrt(width)
            if guidance is None:
                weights = softmax(logits)
            elif mode == "official":
                weights = softmax(softmax(logits) + guidance)
            else:
                weights = softmax(logits + guidance)
            out[token, part] = weights @ v[:, part]
    return linear(module.o_proj if hasattr(module, "o_proj") else module.out_proj, out)


def transform(
    module: Any, tokens: Array, image: Array, position: Array, guidance: Array, target: Array, mode: str
) -> tuple[Array, Array]:
    """Tokens (T, C) and image (L, C) after the guided transformer."""
    # The release adds in place to the tensor that is the positional encoding of the queries as well.
    encoding = tokens + target
    queries, keys = encoding.copy(), image
    for number, layer in enumerate(module.layers):
        if number == 0:
            queries = attention(layer.self_attn, queries, queries, queries)
        else:
            queries = queries + target
            seen = queries + encoding
            queries = queries + attention(layer.self_attn, seen, seen, queries)
        queries = norm(layer.layer_norm1, queries)
        cross = attention(
            layer.cross_attn_token_to_image, queries + encoding, keys + position, keys, guidance, mode
        )
        queries = norm(layer.layer_norm2, queries + cross)
        queries = norm(layer.layer_norm3, queries + mlp(layer.mlp, queries))
        back = attention(layer.cross_attn_image_to_token, keys + position, queries + encoding, queries)
        keys = norm(layer.layer_norm4, keys + back)
    asked = queries + encoding + target
    last = attention(module.final_attn_token_to_image, asked, keys + position, keys)
    return norm(module.layer_norm_final_attn, queries + last), keys
