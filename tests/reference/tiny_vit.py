"""TinyViT's parts in NumPy, a pixel and a head at a time, on the tensors of a state dict (keys as published).

Facts: Wu et al. 2022, section 3.2, and the released models' settings.

Axes: C D channels, H W map.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]
State = dict[str, Map]

_erf = np.vectorize(math.erf)


def below(state: State, prefix: str) -> State:
    """The tensors of one module."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def gelu(x: Map) -> Map:
    return np.asarray(x * 0.5 * (1 + _erf(x / math.sqrt(2))))


def layer_norm(state: State, x_C: Map) -> Map:
    """Of one pixel; eps 1e-5."""
    centred = x_C - x_C.mean()
    return np.asarray(centred / math.sqrt((centred**2).mean() + 1e-5) * state["weight"] + state["bias"])


def conv_norm(state: State, x_CHW: Map, stride: int = 1) -> Map:
    """Convolution, then batch norm by stored statistics, as two steps; a kernel of one input is depthwise."""
    weight = state["c.weight"]
    outputs, inputs, kernel, _ = weight.shape
    depthwise = inputs == 1 and outputs == len(x_CHW)
    padded = np.pad(x_CHW, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
    height, width = (-(-side // stride) for side in x_CHW.shape[1:])
    out = np.zeros((outputs, height, width))
    for y in range(height):
        for x in range(width):
            patch = padded[:, y * stride : y * stride + kernel, x * stride : x * stride + kernel]
            for channel in range(outputs):
                seen = patch[channel : channel + 1] if depthwise else patch
                out[channel, y, x] = (weight[channel] * seen).sum()
    for channel in range(outputs):
        spread = math.sqrt(state["bn.running_var"][channel] + 1e-5)
        out[channel] = (out[channel] - state["bn.running_mean"][channel]) / spread
        out[channel] = out[channel] * state["bn.weight"][channel] + state["bn.bias"][channel]
    return out


def bottleneck(state: State, x: Map) -> Map:
    """MBConv: the skip is added before the last GELU."""
    inner = gelu(conv_norm(below(state, "conv1."), x))
    inner = gelu(conv_norm(below(state, "conv2."), inner))
    return gelu(conv_norm(below(state, "conv3."), inner) + x)


def merging(state: State, x: Map, stride: int) -> Map:
    """To the next stage; nothing follows the last convolution."""
    inner = gelu(conv_norm(below(state, "conv1."), x))
    inner = gelu(conv_norm(below(state, "conv2."), inner, stride))
    return conv_norm(below(state, "conv3."), inner)


def attention(state: State, x_CHW: Map, heads: int, window: int) -> Map:
    """Within windows from the upper left; beyond the map are zeros, normed and attended to."""
    channels, height, width = x_CHW.shape
    rows, columns = -(-height // window), -(-width // window)
    padded = np.zeros((channels, rows * window, columns * window))
    padded[:, :height, :width] = x_CHW
    out = np.zeros_like(padded)
    places = [(y, x) for y in range(window) for x in range(window)]
    for row in range(rows):
        for column in range(columns):
            pixels = [padded[:, row * window + y, column * window + x] for y, x in places]
            answers = _attend(state, pixels, places, heads, window)
            for (y, x), answer in zip(places, answers, strict=True):
                out[:, row * window + y, column * window + x] = answer
    return out[:, :height, :width]


def _attend(
    state: State, pixels: list[Map], places: list[tuple[int, int]], heads: int, window: int
) -> list[Map]:
    """One window; each head owns 3 · D consecutive channels of qkv: its query, key and value."""
    depth = len(pixels[0]) // heads
    normed = [layer_norm(below(state, "norm."), pixel) for pixel in pixels]
    qkv = [state["qkv.weight"] @ pixel + state["qkv.bias"] for pixel in normed]
    answers = [np.zeros(0) for _ in places]
    for head in range(heads):
        own = [pixel[3 * depth * head : 3 * depth * (head + 1)] for pixel in qkv]
        query, key, value = ([pixel[i * depth : (i + 1) * depth] for pixel in own] for i in range(3))
        for here, (y, x) in enumerate(places):
            logits = []
            for there, (other_y, other_x) in enumerate(places):
                bias = state["attention_biases"][head, abs(y - other_y) * window + abs(x - other_x)]
                logits.append(query[here] @ key[there] / math.sqrt(depth) + bias)
            weights = np.exp(np.array(logits) - max(logits))
            mixed = sum(w * v for w, v in zip(weights / weights.sum(), value, strict=True))
            answers[here] = np.concatenate([answers[here], mixed])
    return [state["proj.weight"] @ answer + state["proj.bias"] for answer in answers]


def block(state: State, x_CHW: Map, heads: int, window: int) -> Map:
    """Attention with a skip, a depthwise convolution without, an MLP with one."""
    x_CHW = x_CHW + attention(below(state, "attn."), x_CHW, heads, window)
    x_CHW = conv_norm(below(state, "local_conv."), x_CHW)
    mlp = below(state, "mlp.")
    out = x_CHW.copy()
    for y in range(x_CHW.shape[1]):
        for x in range(x_CHW.shape[2]):
            normed = layer_norm(below(mlp, "norm."), x_CHW[:, y, x])
            inner = gelu(mlp["fc1.weight"] @ normed + mlp["fc1.bias"])
            out[:, y, x] += mlp["fc2.weight"] @ inner + mlp["fc2.bias"]
    return out


def layer_norm_map(weight_C: Map, bias_C: Map, x_CHW: Map) -> Map:
    """The neck's norm over channels; eps 1e-6."""
    centred = x_CHW - x_CHW.mean(axis=0)
    normed = centred / np.sqrt((centred**2).mean(axis=0) + 1e-6)
    return np.asarray(normed * weight_C[:, None, None] + bias_C[:, None, None])


def neck(state: State, x_CHW: Map) -> Map:
    """SAM's: convolutions without bias, 1 × 1 and 3 × 3, each with a norm."""
    out = np.einsum("dc,chw->dhw", state["0.weight"][:, :, 0, 0], x_CHW)
    out = layer_norm_map(state["1.weight"], state["1.bias"], out)
    padded, again = np.pad(out, ((0, 0), (1, 1), (1, 1))), np.zeros_like(out)
    for y in range(3):
        for x in range(3):
            part = padded[:, y : y + out.shape[1], x : x + out.shape[2]]
            again += np.einsum("dc,chw->dhw", state["2.weight"][:, :, y, x], part)
    return layer_norm_map(state["3.weight"], state["3.bias"], again)


def encode(
    state: State, pixels_3SS: Map, depths: list[int], heads: list[int], windows: list[int]
) -> tuple[Map, Map]:
    """The image embedding and the early map (second stage's, after its merging)."""
    x = gelu(conv_norm(below(state, "patch_embed.seq.0."), pixels_3SS, 2))
    x = conv_norm(below(state, "patch_embed.seq.2."), x, 2)
    handed_on = []
    for stage, depth in enumerate(depths):
        layer = below(state, f"layers.{stage}.")
        for number in range(depth):
            own = below(layer, f"blocks.{number}.")
            x = block(own, x, heads[stage - 1], windows[stage - 1]) if stage else bottleneck(own, x)
        if stage < len(depths) - 1:
            # The last merging keeps the sixteenth.
            x = merging(below(layer, "downsample."), x, (2, 2, 1)[stage])
        handed_on.append(x)
    return neck(below(state, "neck."), x), handed_on[1]
