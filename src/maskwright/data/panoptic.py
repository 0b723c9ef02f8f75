"""Panoptic maps in COCO's form, and COCONut, which relabels COCO's and Objects365's photos with such maps.

A map is a PNG whose colours are the segments' numbers: R + 256 G + 65536 B, with 0 for nothing. A JSON file
may tell each segment's class, and whether it is a crowd. Source: COCO's data format; COCONut (Deng et al.,
CVPR 2024) and its release.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from maskwright.data.coco import read_tables
from maskwright.data.colours import read_codes
from maskwright.data.dataset import Problem, SampleError
from maskwright.data.files import Pair, first_folder, list_below, require_folders
from maskwright.data.labels import LabelPairs
from maskwright.data.segments import present_labels
from maskwright.errors import DatasetError
from maskwright.io.inputs import IMAGE_SUFFIXES
from maskwright.io.masks import LabelMap
from maskwright.types import Sample

TABLES: Mapping[str, Sequence[str]] = MappingProxyType(
    {"annotations": ("file_name", "segments_info"), "categories": ("id", "name")}
)
_NUMBER = re.compile(r"\d+$")


@dataclass(frozen=True)
class Layout:
    """Where a set's files lie in its folder.

    Args:
        images: folders of photos, all that are there.
        maps: folders of maps, the first that is there.
        tables: JSON files, the first that is there; there need be none.
        numbered: photos and maps belong together by the number at the end of their names.
    """

    images: tuple[str, ...]
    maps: tuple[str, ...]
    tables: tuple[str, ...]
    numbered: bool = False

    @property
    def tree(self) -> str:
        """The expected folder, for people."""
        images, *others = (f"{name}/" for name in self.images)
        maps, *places = (f"{name}/" for name in self.maps)
        also = f"and {', '.join(others)}, " if others else ""
        photo, stem = "000000000009.jpg", "000000000009"
        if self.numbered:
            photo, stem = "train/patch0/objects365_v1_00000009.jpg", "objects365_v1_00000009"
        return (
            f"  FOLDER/\n"
            f"    {images}{photo} …      {also}with folders below; elsewhere: images=DIR,DIR\n"
            f"    {maps}{stem}.png …      or in {', '.join(places)}; elsewhere: maps=DIR\n"
            f"    {self.tables[0]}      the segments' classes, if it is there; elsewhere: annotations=FILE"
        )


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "panoptic": Layout(
            ("images",), ("panoptic", "masks"), ("panoptic.json", "annotations/panoptic.json")
        ),
        "coconut-s": Layout(
            ("train2017",),
            ("coconut_s", "panoptic_train2017"),
            ("coconut_s.json", "annotations/panoptic_train2017.json"),
        ),
        "coconut-b": Layout(
            ("unlabeled2017", "train2017"),
            ("coconut_b/panoptic_train2017", "coconut_b", "panoptic_train2017"),
            ("coconut_b.json", "annotations/panoptic_train2017.json"),
        ),
        "coconut-l": Layout(
            ("objects365", "Objects365"),
            ("object365_train_panseg", "panoptic_object365"),
            ("coconut_l.json", "annotations/coconut_l.json"),
            numbered=True,
        ),
        "coconut-cocoval": Layout(
            ("val2017",),
            ("relabeled_coco_val", "panoptic_val2017"),
            ("relabeled_coco_val.json", "annotations/panoptic_val2017.json"),
        ),
    }
)


@dataclass(frozen=True)
class _Segment:
    category: str
    crowd: bool


class Panoptic(LabelPairs):
    """Photos with a map of segments each.

    A sample's ids are the segments' numbers; its categories are their names where there is a JSON file.
    Photos without a map are no items, for the maps are of a part of larger sets.

    Args:
        kind: one of `LAYOUTS`.
        root: the folder.
        images: folders of photos inside `root`, in place of the usual ones.
        maps: folder of the maps.
        annotations: the JSON file; empty, to do without one that is there.
        crowd: "keep" or "skip" segments marked `iscrowd`.

    Raises:
        DatasetError: a folder is missing, or the JSON file is no table of segments.
    """

    def __init__(
        self,
        kind: str,
        root: Path,
        *,
        images: Sequence[str] = (),
        maps: str | None = None,
        annotations: str | None = None,
        crowd: Literal["keep", "skip"] = "keep",
    ) -> None:
        layout = LAYOUTS[kind]
        photos = tuple(images) or tuple(name for name in layout.images if (root / name).is_dir())
        folder = maps or first_folder(root, layout.maps)
        require_folders(kind, root, [*(photos or layout.images[:1]), folder], layout.tree)
        self.skip = crowd == "skip"
        key = _number if layout.numbered else _stem
        files = list_below(root / folder, [".png"])
        pairs, problems = _pair(files, [root / name for name in photos], key)
        if annotations is None:
            annotations = next((name for name in layout.tables if (root / name).is_file()), "")
        self.file = root / annotations if annotations else None
        self.segments = _read_segments(self.file) if self.file else {}
        if self.file:
            problems += _unmatched(self.file, self.segments, files)
            pairs = [pair for pair in pairs if pair.mask.name in self.segments]
        super().__init__(pairs, problems)

    def labels(self, index: int) -> LabelMap:
        """The (H, W) map of the segments' numbers, 0 where there is none.

        Raises:
            SampleError: also when the map has segments that the JSON file does not list.
        """
        path = self.pairs[index].mask
        labels = read_codes(path)
        if self.file is None:
            return labels
        known = self.segments[path.name]
        unlisted = [number for number in present_labels(labels) if number and number not in known]
        if unlisted:
            listed = ", ".join(map(str, unlisted[:5]))
            message = f"has segments that {self.file.name} does not list: {listed}; leave the file out with"
            raise SampleError("malformed_mask", path, f"{message} annotations=")
        crowds = [number for number, segment in known.items() if segment.crowd] if self.skip else []
        return np.where(np.isin(labels, crowds), 0, labels) if crowds else labels

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        sample = super().read(index)
        known = self.segments.get(self.pairs[index].mask.name)
        names = tuple(known[number].category for number in sample.ids) if known is not None else None
        return replace(sample, categories=names, partition=bool(sample.masks.any(axis=0).all()))


def _stem(path: Path) -> str:
    return path.stem


def _number(path: Path) -> str:
    """The number at the end of a name, so that 00420917.png belongs to objects365_v1_00420917.jpg."""
    found = _NUMBER.search(path.stem)
    return str(int(found[0])) if found else path.stem


def _pair(
    maps: Sequence[Path], folders: Sequence[Path], key: Callable[[Path], str]
) -> tuple[list[Pair], list[Problem]]:
    photos: dict[str, list[Path]] = {}
    for folder in folders:
        for path in list_below(folder, IMAGE_SUFFIXES):
            photos.setdefault(key(path), []).append(path)
    pairs: list[Pair] = []
    problems: list[Problem] = []
    seen: dict[str, Path] = {}
    for path in maps:
        name = key(path)
        found = photos.get(name, [])
        if name in seen:
            problems.append(Problem("ambiguous", str(path), f"is of the same photo as {seen[name]}"))
        elif len(found) == 1:
            pairs.append(Pair(found[0], path))
        else:
            places = ", ".join(str(photo) for photo in found)
            message = f"belongs to several photos: {places}" if found else "belongs to no image"
            problems.append(Problem("ambiguous" if found else "missing_image", str(path), message))
        seen.setdefault(name, path)
    return pairs, problems


def _read_segments(file: Path) -> dict[str, dict[int, _Segment]]:
    """The segments of each map, by the map's file name."""
    content = read_tables(file, TABLES)
    names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    # Millions of segments share few classes: one object a class keeps the table small.
    kinds = {(key, crowd): _Segment(name, crowd) for key, name in names.items() for crowd in (False, True)}
    result: dict[str, dict[int, _Segment]] = {}
    for entry in content["annotations"]:
        try:
            result[Path(str(entry["file_name"])).name] = {
                int(segment["id"]): kinds[segment["category_id"], bool(segment.get("iscrowd"))]
                for segment in entry["segments_info"]
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = (
                f"a segment of {entry['file_name']!a} lacks its id or a category that is listed ({error})"
            )
            raise DatasetError(f"{file}: {message}.") from error
    return result


def _unmatched(
    file: Path, segments: Mapping[str, Mapping[int, _Segment]], maps: Sequence[Path]
) -> list[Problem]:
    """Maps that a JSON file does not list, and maps it lists that are not there."""
    there = {path.name for path in maps}
    return [
        *(
            Problem("missing_segments", str(path), f"is not listed in {file.name}")
            for path in maps
            if path.name not in segments
        ),
        *(
            Problem("missing_mask", f"{file}: {name}", "is listed, but there is no such file")
            for name in sorted(segments)
            if name not in there
        ),
    ]
