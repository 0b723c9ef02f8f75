"""Image encoder on a GPU.

The ViT-B and ViT-H of SAM at 1024 px in bfloat16, from normalised pixels to the embedding, with the same
random weights everywhere: autocast with us, as `load(..., dtype="bfloat16")` runs it, and transformers' own
model with cast weights and torch's fused attention, as it comes and compiled by `torch.compile`. Compiling is
in nobody's time. The limit is the rate of the GPU's matrix products, measured in the same process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from encoder import TOLERANCE, equal, operations, ours, random_model, theirs
from machine import finished
from sides import OURS, Comparison
from torch import Tensor

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PLAIN, COMPILED = "transformers", "transformers, compiled"
GOALS = {PLAIN: 1.3, COMPILED: 1.3}
VIT_H = {
    "hidden_size": 1280,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "global_attn_indexes": [7, 15, 23, 31],
    "mlp_dim": 5120,
}
SIZES = {"ViT-B": {}, "ViT-H": VIT_H}
BATCHES = (1, 4, 16)


def comparisons(quick: bool) -> Iterator[Comparison]:
    """Both sizes, one image to sixteen; nothing where there is no GPU, but for a try on the processor."""
    if DEVICE == "cpu" and not quick:
        print("no GPU here: nothing is measured")
        return
    for size, vision in SIZES.items():
        net = random_model(False, quick, vision).to(DEVICE)
        for batch in (1,) if quick else BATCHES:
            pixels = torch.randn(batch, 3, *2 * [net.config.vision_config.image_size], device=DEVICE)
            with torch.inference_mode():
                exact = net.vision_encoder(pixels)[0].cpu()
            kind = torch.bfloat16
            runs: dict[str, Callable[[], Tensor]] = {
                OURS: ours(net, pixels, kind),
                PLAIN: theirs(net, pixels, kind),
                COMPILED: theirs(net, pixels, kind, compiled=not quick),
            }
            yield Comparison(
                f"SAM {size}, batch {batch}, bfloat16",
                {side: partial(finished, run) for side, run in runs.items()},
                partial(equal, exact=exact, tolerance=TOLERANCE[kind]),
                goals=GOALS,
                operations=operations(net.config.vision_config, batch),
                arithmetic="bfloat16",
            )
