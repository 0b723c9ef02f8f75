"""Training HQ-SAM, and what it reads.

A step is one of the recipe `hq` on ready batches, from the photos' pixels to the changed weights; divide the
photos of a batch by its seconds for samples a second. The plain loop is the published recipe on the model of
the package segment-anything-hq with the same weights, batches, prompts and points of the loss, and a plain
DataLoader (`benchmarks/plain_hqsam.py`); the losses of the first steps are compared. With the embedding
cache, which wants a recipe without jitter, photos that were seen before are not encoded again; "without the
cache" is our own training, too.

Then the data. "the step" is the training step that takes the batch, for photos and human masks the cheapest
of them, which finds its embeddings cached: above 1, preparing a batch in the
training process itself, on one core, takes less time than using it, so that one worker is always ahead. A
plain Dataset does the same work with Pillow and OpenCV, on the same photos and with the same crops.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from plain_hqsam import PlainTraining
from sides import OURS, Comparison
from training_data import file_reading, map_reading
from training_files import write_files
from training_shape import Shape
from training_steps import GivenModel, Training, random_model

from maskwright.models.sam_hq import SAMHQ

PLAIN = "plain loop"
EQUAL = 1e-4
"""Losses may differ by this much: the encoders' sums are taken in another order."""


# Half the usual side, so that steps are short: the harder for the data to keep up with.
FULL = Shape("ViT-B", side=512, batch=2, size=(1500, 2250), masks=8)
QUICK = Shape("tiny", side=128, batch=2, size=(150, 225), masks=4)


def comparisons(quick: bool) -> Iterator[Comparison]:
    """Steps first, then the data that they take."""
    shape = QUICK if quick else FULL
    model = random_model(shape.side, tiny=quick)
    with TemporaryDirectory() as folder:
        files = write_files(Path(folder) / "files", shape.size, shape.batch, shape.masks)
        yield published_step(model, files.root, shape)
        yield cached_step(model, files.root, shape)
        yield from file_reading(model, files.root, shape)
        yield from map_reading(model, files, shape)


def published_step(model: SAMHQ, root: Path, shape: Shape) -> Comparison:
    """The recipe as published: crops change with every epoch, so every photo is encoded in every step."""
    ours = Training(GivenModel(model, f"pairs:{root}"))
    plain = PlainTraining(model, ours.method.settings.optimizer.lr)
    items = ours.items(range(shape.batch))
    return Comparison(
        f"{shape}: a step on {shape.batch} photos, recipe hq",
        {OURS: lambda: ours.epoch(items, shape.batch), PLAIN: lambda: plain.epoch(items, shape.batch)},
        same_losses,
        goals={PLAIN: 1.0},
    )


def cached_step(model: SAMHQ, root: Path, shape: Shape) -> Comparison:
    """Without jitter the embedding of a photo stays the same."""
    cached = Training(GivenModel(model, f"pairs:{root}", augment="none", cache="memory"))
    without = Training(GivenModel(model, f"pairs:{root}", augment="none", cache="off"))
    plain = PlainTraining(model, cached.method.settings.optimizer.lr)
    items = cached.items(range(1))
    return Comparison(
        f"{shape}: a step on a photo that was seen before, no augmentation",
        {
            OURS: lambda: cached.epoch(items, 1),
            "without the cache": lambda: without.epoch(items, 1),
            PLAIN: lambda: plain.epoch(items, 1),
        },
        same_losses,
        goals={"without the cache": 1.5, PLAIN: 1.5},
    )


def same_losses(outputs: dict[str, list[float]]) -> str:
    """The losses of the first steps are ours within `EQUAL`."""
    ours = outputs[OURS]
    apart = max(abs(one - own) for losses in outputs.values() for one, own in zip(losses, ours, strict=True))
    if apart > EQUAL:
        raise ValueError(f"losses differ: {outputs}")
    return f"losses differ by at most {apart:.0e}" if apart else "equal losses"
