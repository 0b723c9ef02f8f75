"""Automatic masks.

A grid of clicks on one photo, from the image embedding to run lengths: our generator beside transformers'
mask-generation pipeline and Meta's `SamAutomaticMaskGenerator`, with the same weights, clicks, thresholds
and 64 clicks a batch. The embedding is computed once and shared: on all sides the encoder gives it back, so
it is in nobody's time; reading and resizing the photo is in everybody's. Weights are random. The thresholds
are quantiles of the scores and stabilities at 12 × 12 clicks: of those, a third of the candidates pass the
one, two thirds of these the other. Nothing is suppressed, so that hundreds of masks are packed and
compared: our generator gains least so, and transformers' unpacks them all at the end, as it always does.
Both peers suppress boxes by torchvision's `batched_nms`, or, where torchvision is missing, by a stand-in in
NumPy.

Before the clock runs, all sides run in float64, where all masks must be identical and all logits equal, on
average to one part in a thousand million. What is timed is float32, where random weights magnify rounding:
measured once on 8 clicks, in parts of the largest logit, every side was off the same decoder in float64 by
2e-5 on average with nano shapes (at most 6e-3) and by 2e-4 with ViT-B's (at most 3e-2). Each row says in how
many pixels masks differ for that; more than one pixel in 200, or more than 3 masks in 100 that pass a
threshold on one side only, would not be timed. Tests compare the generator with released masks, in float32,
of which at most one pixel may differ, whose logit is within rounding of the threshold.

"nano shapes" is SAM's architecture in nano's sizes (256 px, 128 channels, 4 heads); nano itself has no peer.
"decoder" is the mask decoder alone: 64 clicks, all masks drawn, which automatic masks do not need. Its limit
counts the matrix products that ours needs; that of automatic masks, which draw, measure, compare and pack
besides, no single rate tells. "with suppression" leaves out masks whose boxes overlap, as usual, and tells by
how much a run in a process of its own raises its memory, for several numbers of clicks: of masks of random
weights a single one stays, and what grows of ours is a row of numbers for each that waits. An earlier
version, whose memory grew with the clicks (57, 112 and 180 MB for 64, 256 and 1024), was 8.34 and 4.67 times
as fast as the peers with nano's shapes, in a run of its own.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import psutil
import torch
from automatic_sides import BATCH, NANO, TINY, VIT_B, Shape, Sides, Thresholds
from sides import OURS, Comparison
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from maskwright.io.rle import RLE

TRANSFORMERS, META = "transformers", "segment-anything-py"
GOAL = 3.0
TIES = 5e-3
"""Share of pixels in which equal masks may differ."""
ROUNDING, EXACT = 5e-4, 1e-9
"""Mean difference of logits in float32 and float64, in parts of the largest."""
FLIPS = 0.03
"""Share of masks that rounding may move across a threshold."""
GRIDS = (16, 32, 64)


def comparisons(quick: bool) -> Iterator[Comparison]:
    """Generation and decoder, in both shapes, and generation as usual, with its memory, in nano's."""
    for shape in (TINY,) if quick else (NANO, VIT_B):
        sides = Sides(shape)
        yield generation(sides)
        yield decoder(sides)
    yield suppression(TINY, (3, 6)) if quick else suppression(NANO, GRIDS)


def generation(sides: Sides) -> Comparison:
    """From the embedding to run lengths; nothing is suppressed."""
    points = sides.shape.clicks
    name = f"automatic masks, {sides.shape.name}, {points**2} clicks"
    return compared(name, sides, sides.thresholds(), points, lambda found: f"in float32 {same_masks(found)}")


def compared(
    name: str, sides: Sides, least: Thresholds, points: int, more: Callable[[dict[str, list[RLE]]], str]
) -> Comparison:
    """All sides on one grid; `more` tells of their masks what else there is to tell."""
    runs: dict[str, Callable[[], list[RLE]]] = {
        OURS: partial(sides.ours, least, points),
        TRANSFORMERS: partial(sides.transformers, least, points),
        META: partial(sides.meta, least, points),
    }

    def check(outputs: dict[str, list[RLE]]) -> str:
        with sides.in_double():
            assert_identical({side: run() for side, run in runs.items()})
        return f"{len(outputs[OURS])} masks, identical in float64; {more(outputs)}"

    return Comparison(name, runs, check, goals={TRANSFORMERS: GOAL, META: GOAL})


def assert_identical(outputs: dict[str, list[RLE]]) -> None:
    """All sides have the same masks to the pixel, whatever their order."""
    ours = sorted(mask.counts for mask in outputs[OURS])
    assert ours, "no mask passes the thresholds"
    for side, masks in outputs.items():
        assert sorted(mask.counts for mask in masks) == ours, f"{side}: other masks in float64"


def same_masks(outputs: dict[str, list[RLE]]) -> str:
    """Pair each side's masks with ours, whatever their order: equal scores may swap places."""
    ours = outputs[OURS]
    words = []
    for side in (TRANSFORMERS, META):
        exact = {mask.counts for mask in ours}
        others = [mask for mask in outputs[side] if mask.counts not in exact]
        known = {mask.counts for mask in outputs[side]}
        left = [mask for mask in ours if mask.counts not in known]
        pixels = [closest(mask, left) for mask in others]
        alike = [number for number in pixels if number <= TIES * np.prod(ours[0].size)]
        only_one = max(len(others), len(left)) - len(alike)
        assert only_one <= FLIPS * len(ours), f"{side}: {only_one} of {len(ours)} masks are another's only"
        told = f"{len(alike)} differ in {sum(alike)} pixels" if alike else "none differs"
        told += f", {only_one} pass a threshold on one side only" if only_one else ""
        words.append(f"{side}: {told}")
    return "; ".join(words)


def closest(mask: RLE, others: Sequence[RLE]) -> int:
    """In how many pixels a mask differs from the one of others that is most like it."""
    pixels = mask.decode()
    return min((int(np.count_nonzero(other.decode() ^ pixels)) for other in others), default=pixels.size)


@torch.no_grad()
def decoder(sides: Sides) -> Comparison:
    """The mask decoder alone: 64 clicks, all three masks drawn."""

    def check(outputs: dict[str, Tensor]) -> str:
        with sides.in_double():
            exact = same_logits({side: run() for side, run in sides.decoders().items()}, EXACT)
        rounded = same_logits(outputs, ROUNDING)
        return f"parts of the largest logit: in float64 {exact}; in float32 {rounded}"

    name = f"decoder, {sides.shape.name}, {BATCH} clicks"
    runs = sides.decoders()
    with FlopCounterMode(display=False) as counter:
        runs[OURS]()
    return Comparison(name, runs, check, operations=counter.get_total_flops())


def same_logits(outputs: dict[str, Tensor], least: float) -> str:
    """Compare logits, whose mean difference must be below `least`, in parts of the largest."""
    ours = outputs[OURS]
    scale = float(ours.abs().max())
    words = []
    for side in (TRANSFORMERS, META):
        difference = (ours - outputs[side]).abs() / scale
        mean, most = float(difference.mean()), float(difference.max())
        assert mean < least, f"{side}: {mean}"
        words.append(f"{side} {mean:.0e} on average, at most {most:.0e}")
    return "; ".join(words)


def suppression(shape: Shape, grids: Sequence[int]) -> Comparison:
    """Generation with suppression on the second grid, and what it costs in memory on all of them."""
    sides = Sides(shape)
    least = replace(sides.thresholds(), overlap=0.7)
    name = f"automatic masks with suppression, {shape.name}, {grids[1] ** 2} clicks"
    return compared(name, sides, least, grids[1], lambda _: peaks(shape, least, grids))


def peaks(shape: Shape, least: Thresholds, grids: Sequence[int]) -> str:
    """By how many MB each side's memory rises, for every grid."""
    words = []
    spawn = multiprocessing.get_context("spawn")
    for side in ("ours", "transformers", "meta"):
        rises = []
        for points in grids:
            with spawn.Pool(1) as pool:
                rises.append(pool.apply(peak, (shape, side, least, points)))
        words.append(f"{side} " + ", ".join(f"{rise:.0f}" for rise in rises))
    clicks = ", ".join(str(points**2) for points in grids)
    return f"MB for {clicks} clicks: " + "; ".join(words)


def peak(shape: Shape, side: str, least: Thresholds, points: int) -> float:
    """MB by which a run raises this process's memory at most, after a first one on few clicks."""
    run: Any = getattr(Sides(shape), side)
    run(least, 2)
    process, done = psutil.Process(), threading.Event()
    before = highest = process.memory_info().rss

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.002):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run(least, points)
    done.set()
    watcher.join()
    return float(highest - before) / 1e6
