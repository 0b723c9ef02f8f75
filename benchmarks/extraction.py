"""Extraction for uncertainty heads: one encoding a photo and prompts in batches, beside the published order.

    python benchmarks/extraction.py [--model NAME|PATH]… [--photos 2] [--instances 4] [--augs]

UncertainSAM's released code encodes the photo anew for every instance and asks one prompt at a time (and the
centre click again for each measure that needs it, which is not counted here). Both sides ask the same model
(random weights of its sizes, unless a file is given) the same prompts about the same instances of the same
photos: centre, seven points, and all eight together; with --augs the eight single clicks on the four changed
photos too. The measures, which the other side lacks, are true IoUs at the photos' size, stability and
entropies. Times are CPU seconds, which other programs on the machine disturb least.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from timing import seconds
from transformers.models.sam2 import Sam2Config, Sam2Model

from maskwright.methods.uncertainty.answers import answer, proposals
from maskwright.methods.uncertainty.augment import AUGMENTATIONS, augment
from maskwright.methods.uncertainty.extract import extract
from maskwright.methods.uncertainty.instances import clicks
from maskwright.methods.uncertainty.interview import INSTANCES, ExtractSettings
from maskwright.models.fresh import fresh_model
from maskwright.models.registry import load
from maskwright.models.sam2 import SAM2
from maskwright.models.segmenter import Segmenter
from maskwright.types import BoolArray, Image, Prompts, Sample

MODELS = ("nano", "sam2.1-tiny")


def model_of(name: str) -> Segmenter:
    """A file's model, or one of random weights."""
    if Path(name).exists():
        return load(name, device="cpu", heads=None)
    if name == "sam2.1-tiny":  # transformers' defaults are its sizes
        return Segmenter(SAM2(Sam2Model(Sam2Config())), name)
    return Segmenter(fresh_model(name), name)


def scene(seed: int, size: tuple[int, int], instances: int) -> Sample:
    """A photo of noise with discs on it."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    masks: BoolArray = np.stack(
        [
            np.hypot(rows - rng.uniform(0, size[0]), columns - rng.uniform(0, size[1])) < 0.1 * min(size)
            for _ in range(instances)
        ]
    )
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    return Sample(Image(pixels, f"photo {seed}"), masks, tuple(range(instances)), f"photo {seed}")


def ours(segmenter: Segmenter, samples: list[Sample], augs: bool) -> None:
    """The extraction itself, with its IoUs at full size and its entropies."""
    settings = ExtractSettings(("center", "point", "refined"), augment=augs)
    for sample in samples:
        extract(sample.source, sample.source, sample, [segmenter], settings)


def batched(segmenter: Segmenter, samples: list[Sample], augs: bool) -> None:
    """Encoder and decoder as the extraction uses them, and nothing else."""
    for sample in samples:
        points = clicks(sample.masks, sample.ids, sample.source, 0)
        for name in AUGMENTATIONS if augs else ("identity",):
            embedding = segmenter.embed(augment(sample.image, name, 0, sample.source))
            ask = answer if name == "identity" else proposals
            for start in range(0, len(points), INSTANCES):
                group = points[start : start + INSTANCES]
                ask(segmenter, embedding, _prompts(group.reshape(-1, 1, 2)))
                if name == "identity":
                    answer(segmenter, embedding, _prompts(group))


def one_by_one(segmenter: Segmenter, samples: list[Sample], augs: bool) -> None:
    """Encoder and decoder in the published order, and nothing else."""
    for sample in samples:
        for instance in range(len(sample.ids)):
            points = clicks(sample.masks[instance : instance + 1], (instance,), sample.source, 0)[0]
            for name in AUGMENTATIONS if augs else ("identity",):
                embedding = segmenter.embed(augment(sample.image, name, 0, sample.source))
                for point in points:
                    ask = answer if name == "identity" else proposals
                    ask(segmenter, embedding, _prompts(point[None, None]))
                if name == "identity":
                    answer(segmenter, embedding, _prompts(points[None]))


def _prompts(points_NQ2: np.ndarray) -> Prompts:
    return Prompts(torch.from_numpy(points_NQ2), torch.ones(points_NQ2.shape[:2], dtype=torch.long))


def main() -> None:
    """Measure, and print tables of ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", action="append", help=f"a name's sizes, or a file; by default {', '.join(MODELS)}"
    )
    parser.add_argument("--photos", type=int, default=2)
    parser.add_argument("--instances", type=int, default=4, help="in each photo")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(480, 640), help="height and width of the photos"
    )
    parser.add_argument("--augs", action="store_true", help="the augmented photos too")
    given = parser.parse_args()
    samples = [scene(seed, tuple(given.size), given.instances) for seed in range(given.photos)]
    table = Table("model", "published order", "ours", "ratio", "ours with measures", "ratio")
    for name in given.model or MODELS:
        torch.manual_seed(0)
        segmenter = model_of(name)
        before, asked, whole = (
            seconds(partial(run, segmenter, samples, given.augs), 2) for run in (one_by_one, batched, ours)
        )
        cells = [f"{asked:.2f} s", f"{before / asked:.2f}", f"{whole:.2f} s", f"{before / whole:.2f}"]
        table.add_row(name, f"{before:.2f} s", *cells)
    print(
        f"{given.photos} photos {given.size[1]} × {given.size[0]}, {given.instances} instances each, "
        f"{'with' if given.augs else 'without'} augmentations, {torch.get_num_threads()} thread(s)"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
