"""Look through a dataset before training on it and say what is wrong, file by file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from maskwright.data.dataset import Dataset, Problem, SampleError
from maskwright.data.registry import build_dataset
from maskwright.errors import FileError, MaskError
from maskwright.io.images import read_header
from maskwright.types import Sample

TINY_PIXELS = 10
"""Below this, HQ-SAM's ten-point prompt cannot be drawn without repeating points."""

AREA_EDGES = (0.0001, 0.001, 0.005, 0.02, 0.1, 0.3, 0.6)

Progress = Callable[[Iterable[int]], Iterable[int]]


@dataclass
class Report:
    """What a check found; `as_dict` is plain JSON.

    Args:
        spec: the dataset.
        items: number of items, readable or not.
        images: number of different photos.
        masks: number of masks that could be read.
        errors: what makes an item unusable, or a file without its partner.
        warnings: what can be read but may not be meant.
        sizes: how many photos have each "WIDTHxHEIGHT".
        masks_per_item: how many items have each number of masks.
        areas: how many masks fall into each range of the share of the image they cover.
        categories: how many masks each category has.
    """

    spec: str
    items: int = 0
    images: int = 0
    masks: int = 0
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    masks_per_item: Counter[int] = field(default_factory=Counter)
    areas: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """True when nothing stands in the way of training."""
        return self.items > 0 and not self.errors

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON, with `ok` and the number of each code of problem."""
        codes = Counter(problem.code for problem in (*self.errors, *self.warnings))
        return {
            "ok": self.ok,
            "dataset": self.spec,
            "items": self.items,
            "images": self.images,
            "masks": self.masks,
            "codes": dict(codes),
            "errors": [asdict(problem) for problem in self.errors],
            "warnings": [asdict(problem) for problem in self.warnings],
            "sizes": dict(self.sizes),
            "masks_per_item": dict(self.masks_per_item),
            "areas": dict(self.areas),
            "categories": dict(self.categories),
        }


def check_dataset(spec: str, progress: Progress = iter) -> Report:
    """Read a whole dataset and report on it; unusable files are collected, not raised.

    Args:
        spec: as for `open_dataset`.
        progress: wraps the iteration over the items, to show how far it is.

    Raises:
        DatasetError: for an unknown kind or option, or a folder without the expected tree.
    """
    dataset = build_dataset(spec)
    report = Report(spec, items=len(dataset), errors=list(dataset.unpaired))
    photos: dict[Path, None] = {}
    seen: set[str] = set()  # frames of a video file are different photos in one file
    cornered = 0
    for index in progress(range(len(dataset))):
        name = str(dataset.image_path(index))
        try:
            sample = dataset[index]
        except SampleError as error:
            report.errors.append(error.problem)
        except FileError as error:
            code = "malformed_mask" if isinstance(error, MaskError) else "unreadable"
            report.errors.append(Problem(code, _culprit(dataset, index, error), str(error)))
        else:
            name = sample.image.source
            _count(report, sample, first=name not in seen)
            report.warnings += _odd_masks(sample)
            cornered += _covers_corners(sample)
        seen.add(name)
        photos[dataset.image_path(index)] = None
    report.images = len(seen)
    report.warnings += [*_swapped(report, cornered), *_turned(photos), *_duplicates(photos)]
    return report


def _culprit(dataset: Dataset, index: int, error: FileError) -> str:
    paths = (dataset.image_path(index), dataset.mask_path(index))
    return str(next((path for path in paths if str(path) in str(error)), paths[0]))


def _count(report: Report, sample: Sample, *, first: bool) -> None:
    height, width = sample.image.size
    report.sizes[f"{width}x{height}"] += first
    report.masks += len(sample.masks)
    report.masks_per_item[len(sample.masks)] += 1
    report.categories.update(str(category) for category in sample.categories or ())
    for share in sample.masks.mean(axis=(1, 2)):
        report.areas[_area_range(float(share))] += 1


def _area_range(share: float) -> str:
    edges = (0.0, *AREA_EDGES, 1.0)
    place = int(np.searchsorted(AREA_EDGES, share, side="right"))
    return f"{edges[place]:.4g}-{edges[place + 1]:.4g}"


def _odd_masks(sample: Sample) -> Iterator[Problem]:
    """Masks that can be read, but that no prompt can be drawn from, or that are surely not meant."""
    count, pixels = len(sample.masks), sample.masks[0].size if len(sample.masks) else 0
    if not count:
        yield Problem("empty_mask", sample.source, "there is no object in it")
    areas = sample.masks.sum(axis=(1, 2))
    for code, odd, message in (
        ("empty_mask", areas == 0, "are empty"),
        ("tiny_mask", (areas > 0) & (areas < TINY_PIXELS), f"have fewer than {TINY_PIXELS} pixels"),
        ("full_mask", areas == pixels, "cover the whole image"),
    ):
        if odd.any():
            ids = [sample.ids[k] for k in np.flatnonzero(odd)]
            listed = ", ".join(map(str, ids[:10])) + (", …" if len(ids) > 10 else "")
            yield Problem(code, sample.source, f"{len(ids)} of {count} masks {message}: {listed}")
    if (
        not sample.partition
        and len({hashlib.sha256(np.packbits(mask).tobytes()).digest() for mask in sample.masks}) < count
    ):
        yield Problem("duplicate_mask", sample.source, "the same mask occurs more than once")


def _covers_corners(sample: Sample) -> bool:
    """Whether a sample's only mask covers at least three corners of the image, as backgrounds do."""
    return len(sample.masks) == 1 and int(sample.masks[0, [0, 0, -1, -1], [0, -1, 0, -1]].sum()) >= 3


def _swapped(report: Report, cornered: int) -> Iterator[Problem]:
    # One or two such items prove nothing.
    if cornered > max(2, report.masks_per_item[1] / 2):
        message = (
            f"in {cornered} of {report.masks_per_item[1]} items with one mask it covers the image's corners: "
            "are object and background swapped?"
        )
        yield Problem("swapped", report.spec, message)


def _turned(photos: Iterable[Path]) -> Iterator[Problem]:
    """Photos with an EXIF rotation that the sizes cannot tell: half turns, mirrored and square ones."""
    for path in photos:
        try:
            header = read_header(path)
        except FileError:
            continue  # reported when it was read
        if header.orientation != 1:
            message = (
                f"is turned upright by its EXIF orientation {header.orientation}; "
                "make sure that its mask was drawn on the upright photo"
            )
            yield Problem("exif_rotation", str(path), message)


def _duplicates(photos: Iterable[Path]) -> Iterator[Problem]:
    """Photos that are the same file under another name: they leak from training into validation."""
    seen: dict[bytes, Path] = {}
    for path in photos:
        try:
            digest = hashlib.sha256(path.read_bytes()).digest()
        except OSError:
            continue  # reported when it was read
        first = seen.setdefault(digest, path)
        if first is not path:
            yield Problem("duplicate_image", str(path), f"is the same photo as {first}")
