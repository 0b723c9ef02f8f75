"""One-shot tasks: of each object some reference photos, and others in which it is to be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maskwright.data.dataset import Dataset
from maskwright.errors import DatasetError


@dataclass(frozen=True, eq=False)
class OneShot:
    """One object.

    Args:
        name: of the object: the folder of its photos.
        data: the dataset.
        references: places in it of the photos from which the object is learned.
        tests: places of the photos in which it is looked for.
    """

    name: str
    data: Dataset
    references: tuple[int, ...]
    tests: tuple[int, ...]


def one_shots(data: Dataset, references: Sequence[str] = (), every: int = 1) -> list[OneShot]:
    """Cut a dataset with a folder an object (PerSeg) or a sequence (DAVIS) into one-shot tasks.

    Args:
        data: the dataset.
        references: stems of the reference photos' names, such as "00", the whole stem and not a part of it;
            by default the first photo of each object.
        every: of the photos after the first only every so many-th is tested: 5 for neighbouring frames.

    Raises:
        DatasetError: an object has no such reference, or nothing is left to test.
    """
    folders: dict[str, list[int]] = {}
    for index in range(len(data)):
        folders.setdefault(data.image_path(index).parent.name, []).append(index)
    return [_one(name, data, places, references, every) for name, places in folders.items()]


def _one(name: str, data: Dataset, places: list[int], references: Sequence[str], every: int) -> OneShot:
    stems = {data.image_path(index).stem: index for index in places}
    missing = [stem for stem in references if stem not in stems]
    if missing:
        raise DatasetError(f"{name} has no photo {missing[0]!r}; it has {', '.join(stems)}.")
    chosen = tuple(stems[stem] for stem in references) or (places[0],)
    tests = tuple(index for number, index in enumerate(places) if number % every == 0 and index not in chosen)
    if not tests:
        raise DatasetError(f"{name} has {len(places)} photos: none is left in which to look for the object.")
    return OneShot(name, data, chosen, tests)
