"""Rows of the benchmark of training that compare reading data with using them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from plain_reading import MapReader, PairDataset, from_archives, from_npz, from_png
from sides import OURS, Comparison
from training_files import Files
from training_shape import Shape
from training_steps import GivenModel, GivenSUM, Training

from maskwright.methods.base import ItemKey
from maskwright.models.sam_hq import SAMHQ
from maskwright.types import BoolArray

STEP = "the step"
PLAIN = "plain Dataset"
OVERLAP, APART = 0.85, 0.03
"""Masks must have this IoU, and values may differ by this share of their range in the mean: each way to
resize takes another mean along outlines, of which small masks have most."""

RELEASED = (
    "The release takes the nearest of a label's 4.4 × 4.4 pixels for each of the input's; ours takes means "
    "over them, of labels and refined masks, and checks the sums of every PNG."
)


def file_reading(model: SAMHQ, root: Path, shape: Shape) -> Iterator[Comparison]:
    """Human masks: what a batch costs beside the quickest step there is, on photos that are in the cache."""
    indices = range(shape.batch)
    cached = Training(GivenModel(model, f"pairs:{root}", augment="none", cache="memory"))
    ready = cached.batch(indices)
    step = partial(cached.step, ready)
    work = f"a batch of {shape.batch} photos of {shape.size[1]} × {shape.size[0]}"
    for kind, data in (("JPEG and PNG files", f"pairs:{root}"), ("Parquet shards", f"parquet:{root}/shards")):
        jitter = Training(GivenModel(model, data))
        yield Comparison(
            f"{shape}: {work}, {kind}, recipe hq",
            {OURS: partial(jitter.batch, indices), STEP: step},
            lambda _: "not compared",
            goals={STEP: 1.0},
        )
    mirrored = Training(GivenModel(model, f"pairs:{root}", augment="flip"))
    plain = PairDataset(root, shape.side, [mirror(mirrored, index) for index in indices])
    yield Comparison(
        f"{shape}: {work}, JPEG and PNG files, mirrored at random",
        {OURS: partial(mirrored.batch, indices), PLAIN: partial(plain.batch, shape.batch), STEP: step},
        same_pairs,
        goals={PLAIN: 1.0, STEP: 1.0},
    )


def mirror(training: Training, index: int) -> bool:
    """Whether our loader mirrors a photo: its first random number tells."""
    return bool(ItemKey(index, 0, training.method.settings.seed).rng().random() < 0.5)


def same_pairs(outputs: dict[str, Any]) -> str:
    """Ours and the plain Dataset's pixels and masks."""
    ours, plain = outputs[OURS], outputs[PLAIN]
    apart = float((ours.pixels - plain["pixels"]).abs().mean()) / 4  # normalised pixels lie in about -2…2
    overlaps = [iou(*pair) for pair in zip(ours.masks[:, 0].numpy(), plain["mask"].numpy(), strict=True)]
    return judged(min(overlaps), apart)


def map_reading(model: SAMHQ, files: Files, shape: Shape) -> Iterator[Comparison]:
    """Machine-made masks with their uncertainty, as SUM learns from them."""
    stem = files.name(0)
    photo, folder = files.root / "images" / f"{stem}.jpg", files.root / "maps" / stem
    labels, refined = (files.root / part / f"{stem}.tar" for part in ("tar", "tar_refined"))
    usual: dict[str, dict[str, Callable[..., Any]]] = {
        "a refined set of ours": {
            "PNG, Pillow": partial(from_png, folder, shape.masks),
            "NPZ, NumPy": partial(from_npz, folder, shape.masks),
        },
        "SUM's archives": {"as released": partial(from_archives, labels, refined)},
    }
    sets = {
        "a refined set of ours": f"labelled:{files.root}/set",
        "SUM's archives": f"sumtar:{files.root}/tar?images=../images&maps=../tar_refined",
    }
    for kind, data in sets.items():
        ours = Training(
            GivenSUM(
                model, f"pairs:{files.root}", data, max_masks=shape.masks, prompts=["box"], min_ratio=0.0,
                min_refine_ratio=0.0,
            )
        )  # fmt: skip
        first = [shape.batch]  # behind the human photos
        ready = ours.batch(first)
        readers = {name: MapReader(photo, shape.side, read) for name, read in usual[kind].items()}
        yield Comparison(
            f"{shape}: a photo with {shape.masks} soft masks and their uncertainty, {kind}",
            {OURS: partial(ours.batch, first), **readers, STEP: partial(ours.step, ready)},
            same_maps,
            goals=dict.fromkeys((*readers, STEP), 1.0),
            note=RELEASED if "as released" in readers else "",
        )


def same_maps(outputs: dict[str, Any]) -> str:
    """Our masks and certainties and each reader's; ours come in another order."""
    objects = outputs[OURS].asked[0].objects
    ours, certain = objects.masks.numpy(), objects.certainty.numpy()
    overlaps, apart = [], []
    for name, output in outputs.items():
        if name in (OURS, STEP):
            continue
        _, masks, certainty, _ = output
        for mask, values in zip(masks.numpy(), certainty.numpy(), strict=True):
            found = [iou(mask, one) for one in ours]
            best = int(np.argmax(found))
            overlaps.append(found[best])
            # Beyond the photo ours is certain of nothing and theirs of all, and neither counts.
            inside = certain[best] > 0
            apart.append(np.abs(certain[best].astype(float) - values)[inside].mean() / 255)
    return judged(min(overlaps), max(apart))


def iou(one: BoolArray, other: BoolArray) -> float:
    """Overlap of two masks."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def judged(overlap: float, apart: float) -> str:
    """What is said of outputs that are alike; others are refused."""
    if overlap < OVERLAP or apart > APART:
        raise ValueError(f"the outputs differ: IoU {overlap:.3f}, {apart:.3f} apart in the mean")
    return f"masks overlap by {overlap:.3f} or more, values are {apart:.1%} apart"
