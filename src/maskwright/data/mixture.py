"""Several datasets as one, in set proportions, and splits that keep all items of a photo together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskwright.data.dataset import Contours, Dataset, Subset
from maskwright.data.outlines import Shapes
from maskwright.errors import ConfigError
from maskwright.io.masks import LabelMap
from maskwright.types import Sample

Indices = npt.NDArray[np.int64]


class Mixture(Dataset):
    """Datasets one after the other, with a weight each: how often `draw` takes from it.

    Args:
        parts: (dataset, weight) pairs; weights need not sum to one.

    Raises:
        ConfigError: for no part, an empty one, or a weight that is not above zero.
    """

    def __init__(self, parts: Sequence[tuple[Dataset, float]]) -> None:
        if not parts or any(len(dataset) == 0 or not 0 < weight < np.inf for dataset, weight in parts):
            lengths = [(len(dataset), weight) for dataset, weight in parts]
            raise ConfigError(
                f"a mixture needs datasets that are not empty, with weights above 0: {lengths}."
            )
        super().__init__(problem for dataset, _ in parts for problem in dataset.unpaired)
        self.datasets = [dataset for dataset, _ in parts]
        total = sum(weight for _, weight in parts)
        self.shares = [weight / total for _, weight in parts]
        self.offsets = list(accumulate((len(dataset) for dataset in self.datasets), initial=0))

    def __len__(self) -> int:
        return self.offsets[-1]

    def part(self, index: int) -> int:
        """Number of the dataset that item `index` belongs to."""
        return int(np.searchsorted(self.offsets, index, side="right")) - 1

    def locate(self, index: int) -> tuple[Dataset, int]:
        """The dataset that item `index` belongs to, and its place there."""
        part = self.part(index)
        return self.datasets[part], index - self.offsets[part]

    def image_path(self, index: int) -> Path:
        """File of the photo of item `index`."""
        dataset, place = self.locate(index)
        return dataset.image_path(place)

    def mask_path(self, index: int) -> Path:
        """File that holds the annotation of item `index`."""
        dataset, place = self.locate(index)
        return dataset.mask_path(place)

    def group(self, index: int) -> str:
        """What item `index` must not be parted from."""
        dataset, place = self.locate(index)
        return dataset.group(place)

    def probe(self, index: int) -> None:
        """Look at the photo of item `index`."""
        dataset, place = self.locate(index)
        dataset.probe(place)

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        dataset, place = self.locate(index)
        return dataset.read(place)

    def shapes(self, index: int) -> Shapes:
        """The regions of item `index`."""
        dataset, place = self.locate(index)
        return dataset.shapes(place)

    def contours(self, index: int) -> Contours | None:
        """The boundaries of item `index`."""
        dataset, place = self.locate(index)
        return dataset.contours(place)

    def segmentations(self, index: int) -> list[LabelMap] | None:
        """All annotators' label maps of item `index`."""
        dataset, place = self.locate(index)
        return dataset.segmentations(place)

    def draw(self, count: int, rng: np.random.Generator) -> Indices:
        """`count` items in random order, from each dataset its share (rounded to whole items).

        Within a dataset no item comes twice before all have come.
        """
        ends = np.rint(np.cumsum([0.0, *self.shares]) * count).astype(int)
        drawn = [
            offset + _cycle(len(dataset), amount, rng)
            for dataset, offset, amount in zip(self.datasets, self.offsets, np.diff(ends), strict=False)
        ]
        return rng.permutation(np.concatenate(drawn))


def origin(dataset: Dataset, index: int) -> tuple[Dataset, int]:
    """The reader that an item comes from, behind mixtures and subsets, and its place there."""
    while True:
        if isinstance(dataset, Mixture):
            dataset, index = dataset.locate(index)
        elif isinstance(dataset, Subset):
            index, dataset = dataset.indices[index], dataset.dataset
        else:
            return dataset, index


def split_by_image(dataset: Dataset, fraction: float, seed: int = 0) -> tuple[Subset, Subset]:
    """Split at random into (rest, `fraction` of the photos); items of one photo stay together.

    Both parts keep the dataset's order, and each has at least one photo.

    Raises:
        ConfigError: for a fraction outside (0, 1), or fewer than two photos.
    """
    owners = _photos(dataset)
    photos = list(dict.fromkeys(owners))
    if not 0 < fraction < 1:
        raise ConfigError(f"cannot split {len(photos)} photos at fraction {fraction}; it must be in (0, 1).")
    if len(photos) < 2:
        raise ConfigError(
            f"cannot split {len(photos)} photos: add some, give others for validation (--val), or train "
            "without it (--val-share 0)."
        )
    count = min(max(1, round(fraction * len(photos))), len(photos) - 1)
    chosen = {photos[k] for k in np.random.default_rng(seed).permutation(len(photos))[:count]}
    taken = [photo in chosen for photo in owners]
    rest, part = ([k for k, inside in enumerate(taken) if inside is wanted] for wanted in (False, True))
    return Subset(dataset, rest), Subset(dataset, part)


def fold_by_image(dataset: Dataset, number: int, parts: int, seed: int = 0) -> Subset:
    """Part `number` (from 1) of `parts` equal random parts of the photos; negative: all the others.

    Items of one photo stay together, the dataset's order is kept, and the parts of one seed share no photo.

    Raises:
        ConfigError: there are fewer photos than parts.
    """
    return _fold(dataset, _photos(dataset), "photos", number, parts, seed)


def fold_by_group(dataset: Dataset, number: int, parts: int, seed: int = 0) -> Subset:
    """As `fold_by_image`, but what has one `group` stays together: the frames of a video.

    Raises:
        ConfigError: there are fewer groups than parts.
    """
    return _fold(dataset, [dataset.group(k) for k in range(len(dataset))], "videos", number, parts, seed)


def _photos(dataset: Dataset) -> list[tuple[Path, str]]:
    """The photo of each item; of a file that holds many photos, group by group."""
    return [(dataset.image_path(k), dataset.group(k)) for k in range(len(dataset))]


def _fold(
    dataset: Dataset, owners: Sequence[Hashable], what: str, number: int, parts: int, seed: int
) -> Subset:
    distinct = list(dict.fromkeys(owners))
    if len(distinct) < parts:
        raise ConfigError(f"cannot cut {len(distinct)} {what} into {parts} parts.")
    order = np.random.default_rng(seed).permutation(len(distinct))
    chosen = {distinct[k] for k in order[abs(number) - 1 :: parts]}
    wanted = number > 0
    return Subset(dataset, [k for k, owner in enumerate(owners) if (owner in chosen) is wanted])


def _cycle(length: int, count: int, rng: np.random.Generator) -> Indices:
    rounds = [rng.permutation(length) for _ in range(-(-count // length))]
    return np.concatenate([np.zeros(0, np.int64), *rounds])[:count]
