"""The items of datasets as a plan: a name for each, unlike any other, and the group it belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maskwright.data.dataset import Dataset, Subset
from maskwright.data.mixture import Mixture
from maskwright.data.registry import open_dataset, parse_spec
from maskwright.errors import ConfigError, DatasetError, FileError
from maskwright.io.files import require_file, shown
from maskwright.labeling.plan import PlannedImage
from maskwright.methods.evaluate import spread
from maskwright.types import Sample


@dataclass(frozen=True)
class ItemChoice:
    """Which items of which datasets; every process opens them by itself.

    Args:
        specs: datasets, `KIND:FOLDER[?OPTIONS]`.
        every: take only every such item of each dataset.
        limit: at most this many items of each dataset, spread evenly over it; None takes all.

    Raises:
        ConfigError: no dataset, or a number below 1.
    """

    specs: tuple[str, ...]
    every: int = 1
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.specs:
            raise ConfigError("no dataset was given: name one with --data KIND:FOLDER.")
        if self.every < 1 or (self.limit is not None and self.limit < 1):
            raise ConfigError("--every and --limit must be at least 1.")

    def open(self) -> Items:
        """Open the datasets.

        Raises:
            DatasetError: one has not the expected layout.
        """
        return Items(self)


class Items:
    """Items of several datasets, one after the other, by their number."""

    def __init__(self, choice: ItemChoice) -> None:
        self.roots = [parse_spec(spec)[:2] for spec in choice.specs]
        parts = [_chosen(open_dataset(spec), choice) for spec in choice.specs]
        self.all = Mixture([(part, 1.0) for part in parts])

    def planned(self) -> Iterator[PlannedImage]:
        """The items with their photos; a photo that has gone fails when its turn comes."""
        for number, name in enumerate(self.names()):
            path = self.all.image_path(number).absolute()
            try:
                status = require_file(path)
                yield PlannedImage(number, name, path, status.st_size, status.st_mtime_ns)
            except FileError:
                yield PlannedImage(number, name, path, -1, None)

    def names(self) -> Iterator[str]:
        """A name for each item, in order: kind and path of its photo, numbered where a photo comes again."""
        seen: Counter[str] = Counter()
        for number in range(len(self.all)):
            base = self._base(number)
            # Several people's annotations of a photo, or frames in one file.
            yield f"{base}#{seen[base]}" if seen[base] else base
            seen[base] += 1

    def read(self, image: PlannedImage) -> Sample:
        """Decode an item.

        Raises:
            FileError: it cannot be used, or the dataset has changed since the plan was made.
        """
        dataset, place = self.locate(image)
        return dataset[place]

    def locate(self, image: PlannedImage) -> tuple[Dataset, int]:
        """The dataset that an item is from, and its place there.

        Raises:
            DatasetError: the dataset has changed since the plan was made.
        """
        number = image.number
        if number >= len(self.all) or self.all.image_path(number).absolute() != image.path:
            raise DatasetError(
                f"{shown(image.path)} is not item {number} any more: the dataset has changed since the plan "
                "was made."
            )
        return self.all.locate(number)

    def group(self, image: PlannedImage) -> str:
        """What must not be torn apart when rows are split: the item's video, or else its photo."""
        _, root = self.roots[self.all.part(image.number)]
        group = Path(self.all.group(image.number))
        # Without the kind: the same video read as two kinds of dataset must not be torn apart either.
        return group.relative_to(root).as_posix() if group.is_relative_to(root) else group.as_posix()

    def _base(self, number: int) -> str:
        """Kind and path of an item's photo: the same wherever the dataset lies."""
        kind, root = self.roots[self.all.part(number)]
        path = self.all.image_path(number)
        inside = path.is_relative_to(root)
        return f"{kind}/{path.relative_to(root).as_posix()}" if inside else f"{kind}:{path.as_posix()}"


def _chosen(dataset: Dataset, choice: ItemChoice) -> Dataset:
    places = range(0, len(dataset), choice.every)
    if choice.limit is None and choice.every == 1:
        return dataset
    return Subset(dataset, [places[k] for k in spread(len(places), choice.limit)])
