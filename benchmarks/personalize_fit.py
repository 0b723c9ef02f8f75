"""PerSAM-F's fit on decoded-once logits beside the released loop, which decodes at each of its 1000 steps.

    python benchmarks/personalize_fit.py [--model NAME|PATH]… [--decodings 20] [--size 480 640]

Both fit the same weights on the same model (random weights; by default SAM ViT-B's sizes, and nano's) and the
same features. Ours is the whole of it: one decoding, the logits at the fit's size, 1000 steps. The loop is
measured over `--decodings` steps and extrapolated: at "photo" size as released, and at our fit's size, which
leaves the decoding alone. Time is CPU time, which other programs on the machine disturb least.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from timing import seconds
from torch import Tensor

from maskwright.losses.masks import dice, focal
from maskwright.methods.personalize.cascade import scales_of
from maskwright.methods.personalize.scales import EPSILON, FIT_SIDE, RATE, STEPS, fit_resolution, fit_scales
from maskwright.models.fresh import fresh_model
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, Embedding, Prompts

MODELS = ("sam-vit-b", "sam-hq-vit-b", "nano")
CLICK = Prompts(torch.tensor([[[100.0, 100.0]]]), torch.ones(1, 1, dtype=torch.long))


def ours(segmenter: Segmenter, embedding: Embedding, mask: BoolArray) -> None:
    """One decoding, then all steps."""
    scales = scales_of(segmenter.decode_all(embedding, CLICK, multimask=True), "sum")[0]
    fit_scales(*fit_resolution(scales, embedding.geometry, mask))


def loop(segmenter: Segmenter, embedding: Embedding, mask: BoolArray, steps: int, small: bool) -> None:
    """The released loop, some of its steps: decode, losses, gradients, optimiser and schedule."""
    scales = scales_of(segmenter.decode_all(embedding, CLICK, multimask=True), "sum")[0]
    others = torch.full((len(scales) - 1,), 1 / len(scales), requires_grad=True)
    optimizer = torch.optim.AdamW([others], lr=RATE, eps=EPSILON)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(steps):
        scales = scales_of(segmenter.decode_all(embedding, CLICK, multimask=True), "sum")[0]
        logits, target = _sized(scales, embedding, mask, small)
        mixed = (torch.cat([1 - others.sum(0, keepdim=True), others]) @ logits)[None]
        loss = dice(mixed, target) + focal(mixed, target)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        schedule.step()


def _sized(scales_Shw: Tensor, embedding: Embedding, mask: BoolArray, small: bool) -> tuple[Tensor, Tensor]:
    if small:
        logits, target = fit_resolution(scales_Shw, embedding.geometry, mask)
        return torch.from_numpy(logits), torch.from_numpy(target)[None]
    return embedding.geometry.to_image(scales_Shw).flatten(1), torch.from_numpy(mask).flatten()[None]


def main() -> None:
    """Measure, and print a table of ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", action="append", help=f"its sizes are taken; by default {', '.join(MODELS)}"
    )
    parser.add_argument("--decodings", type=int, default=20, help="steps of the loop that are measured")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), help="height and width of the photo")
    given = parser.parse_args()
    table = Table("model", f"ours, {STEPS} steps", "loop, photo size", "ratio", "loop, fit's size", "ratio")
    photo = np.random.default_rng(0).integers(0, 256, (*given.size, 3), dtype=np.uint8)
    mask = np.zeros(given.size, np.bool_)
    mask[given.size[0] // 4 : given.size[0] // 2, given.size[1] // 4 : given.size[1] // 2] = True
    for name in given.model or MODELS:
        torch.manual_seed(0)
        segmenter = Segmenter(fresh_model(name), name)
        task = segmenter, segmenter.embed(photo), mask
        fitted = seconds(partial(ours, *task), 3)
        row = [name, f"{fitted:.3f} s"]
        for small in (False, True):
            looped = seconds(partial(loop, *task, given.decodings, small), 1) * STEPS / given.decodings
            row += [f"{looped:.1f} s", f"{looped / fitted:.0f}"]
        table.add_row(*row)
    print(
        f"photo {given.size[1]} × {given.size[0]}, fit on at most {FIT_SIDE} × {FIT_SIDE}, "
        f"{torch.get_num_threads()} thread(s)"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
