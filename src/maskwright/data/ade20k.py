"""ADE20K (Zhou et al., IJCV 2019): the benchmark, ADEChallengeData2016, and the full set, ADE20K_2021_17_01.

The benchmark has one class map a photo: 1 to 150, and 0 for everything else. The full dataset has, beside
each photo, a JSON file with the polygon of every object and part, a mask file of each (255 is visible, 128
hidden by something), and colour-coded maps: X_seg.png of the objects, X_parts_1.png, X_parts_2.png … of parts
and their parts, with the class in red and green (red // 10 · 256 + green) and one shade of blue an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any, Literal

import numpy as np

from maskwright.data.dataset import SampleError
from maskwright.data.files import Pair, PairedFiles, check_same_size, pair_trees, require_folders
from maskwright.data.labels import LabelMaps
from maskwright.data.outlines import Patch, Shapes
from maskwright.data.segments import split_labels
from maskwright.errors import DatasetError, FileError, MaskError
from maskwright.io.decode import open_image
from maskwright.io.files import confine, read_json
from maskwright.io.images import read_image
from maskwright.io.masks import LabelMap, read_label_map
from maskwright.io.polygons import rasterise_coco
from maskwright.types import BoolArray, Image, Sample

BENCHMARK_TREE = """\
  FOLDER/                                     ADEChallengeData2016
    images/training/ADE_train_00000001.jpg          validation/… for split=val
    annotations/training/ADE_train_00000001.png"""

FULL_TREE = """\
  FOLDER/                                     ADE20K_2021_17_01, or its images/ADE
    images/ADE/training/urban/street/X.jpg          validation/… for split=val
                                     X.json, X_seg.png, X_parts_1.png …
                                     X/instance_000_X.png …"""

SPLITS = {"train": "training", "val": "validation"}

Source = Literal["instances", "polygons", "seg"]
Parts = Literal["skip", "keep", "only"]

VISIBLE = 255


def open_benchmark(root: Path, *, split: str = "train", components: bool = False) -> LabelMaps:
    """The benchmark's photos, a mask a class, or with `components` a mask a connected part of a class.

    Raises:
        DatasetError: naming the folder that is missing.
    """
    images, labels = f"images/{SPLITS[split]}", f"annotations/{SPLITS[split]}"
    require_folders("ade20k", root, [images, labels], BENCHMARK_TREE)
    return LabelMaps(root, images=images, labels=labels, mode="classes", components=components)


@dataclass(frozen=True)
class _Object:
    """An object or part, as the JSON has it: level 0 is an object, 1 its part, 2 a part of that."""

    id: int
    name: str
    level: int
    entry: Mapping[str, Any]


class ADE20KFull(PairedFiles):
    """Photos of the full dataset, a mask an object (or part), with its name as category.

    An object of which nothing is visible, or whose outline encloses nothing, has no mask.

    Args:
        split: "train" or "val".
        masks: where masks are read from. "instances": the mask files, what is visible of each object;
            "polygons": the outlines as drawn, which go on behind what hides an object; "seg": the
            colour-coded maps, in which every pixel belongs to one object of a level. Ids are the objects' in
            the JSON, except for "seg": there they count from 1.
        parts: "skip" parts of objects, "keep" them beside objects, or "only" them.
        hidden: of mask files, take what something hides as well.
    """

    def __init__(
        self,
        root: Path,
        *,
        split: str = "train",
        masks: Source = "instances",
        parts: Parts = "skip",
        hidden: bool = False,
    ) -> None:
        if hidden and masks != "instances":
            raise DatasetError(f"hidden=true is for masks=instances, not for masks={masks}.")
        below = root / "images/ADE" if (root / "images/ADE").is_dir() else root
        require_folders("ade20kfull", below, [SPLITS[split]], FULL_TREE)
        folder = below / SPLITS[split]
        super().__init__(*pair_trees(folder, folder, ".json", image_endings=[".jpg"]))
        self.masks, self.parts, self.hidden = masks, parts, hidden

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        pair = self.pairs[index]
        image = read_image(pair.image)
        objects = read_objects(pair.mask)
        if self.masks == "seg":
            masks, names = self._coded(pair, image, objects)
            ids = tuple(range(1, len(masks) + 1))
        else:
            objects = [entry for entry in objects if self._wants(entry.level)]
            masks = np.zeros((len(objects), *image.size), bool)
            for row, entry in zip(masks, objects, strict=True):
                row[:] = self._mask(pair, image, entry)
            seen: BoolArray = np.any(masks, axis=(1, 2))
            masks, objects = masks[seen], list(compress(objects, seen.tolist()))
            ids, names = tuple(entry.id for entry in objects), [entry.name for entry in objects]
        return Sample(image, masks, ids, str(pair.mask), categories=tuple(names))

    def shapes(self, index: int) -> Shapes:
        """The objects (and parts) of item `index`, one at a time; of colour-coded maps, the maps."""
        pair = self.pairs[index]
        image = read_image(pair.image)
        objects = read_objects(pair.mask)
        if self.masks == "seg":
            return Shapes(image.size, self._maps(pair, image, objects), image=image)
        wanted = (entry for entry in objects if self._wants(entry.level))
        return Shapes(image.size, (Patch.of(self._mask(pair, image, entry)) for entry in wanted), image=image)

    def _wants(self, level: int) -> bool:
        return self.parts == "keep" or (level > 0) == (self.parts == "only")

    def _mask(self, pair: Pair, image: Image, entry: _Object) -> BoolArray:
        if self.masks == "polygons":
            return _draw(pair.mask, entry, image.size)
        path = _mask_file(pair.mask, entry)
        values = read_label_map(path)
        check_same_size(Pair(pair.image, path), image, values.shape)
        return np.asarray(values > 0 if self.hidden else values == VISIBLE)

    def _coded(self, pair: Pair, image: Image, objects: list[_Object]) -> tuple[BoolArray, list[str]]:
        known = {int(entry.entry["name_ndx"]): entry.name for entry in objects if "name_ndx" in entry.entry}
        found: list[BoolArray] = [np.zeros((0, *image.size), bool)]
        names: list[str] = []
        for labels in self._maps(pair, image, objects):
            masks, codes = split_labels(labels, leave_out=(0,))
            found.append(masks)
            names += [known.get(code // 256, str(code // 256)) for code in codes]
        return np.concatenate(found), names

    def _maps(self, pair: Pair, image: Image, objects: list[_Object]) -> Iterator[LabelMap]:
        """The (H, W) map of each level that is wanted: class · 256 + shade, 0 without a class."""
        levels = {0, *(entry.level for entry in objects)}
        for level in sorted(level for level in levels if self._wants(level)):
            ending = f"_parts_{level}.png" if level else "_seg.png"
            path = pair.mask.with_name(pair.mask.stem + ending)
            classes, instances = read_coded(path)
            check_same_size(Pair(pair.image, path), image, classes.shape)
            yield np.where(classes > 0, classes * 256 + instances, 0)


def read_coded(path: Path) -> tuple[LabelMap, LabelMap]:
    """Read a colour-coded map: the (H, W) class numbers, 0 for none, and the (H, W) shades of the objects.

    Raises:
        FileError: naming the file, also when it holds no colours.
    """
    with open_image(path) as opened:
        values = opened.stored()
    if values.ndim != 3 or values.shape[2] < 3 or values.dtype != np.uint8:
        raise SampleError("malformed_mask", path, "is no colour-coded map: it has no three 8-bit channels")
    red, green, blue = (values[..., channel].astype(np.int32) for channel in range(3))
    return red // 10 * 256 + green, blue


def read_objects(path: Path) -> list[_Object]:
    """The objects and parts of a JSON file of the full dataset, in its order.

    Raises:
        FileError: naming the file, and the entry that is not as it should be.
    """
    # The files hold file names and descriptions in Latin-1.
    content = read_json(path, encoding="latin-1")
    annotation = content.get("annotation") if isinstance(content, dict) else None
    entries = annotation.get("object") if isinstance(annotation, dict) else None
    if isinstance(entries, dict):  # a single object is no list
        entries = [entries]
    if not isinstance(entries, list):
        raise SampleError("malformed_mask", path, "has no list of objects, so it is not of ADE20K")
    try:
        return [
            _Object(int(entry["id"]), str(entry["name"]), int(entry["parts"]["part_level"]), entry)
            for entry in entries
        ]
    except (KeyError, TypeError, ValueError) as error:
        message = f"has an object without id, name or part_level ({error})"
        raise SampleError("malformed_mask", path, message) from error


def _mask_file(path: Path, entry: _Object) -> Path:
    try:
        return confine(path.parent, str(entry.entry.get("instance_mask", "")))
    except FileError as error:
        raise SampleError("malformed_mask", path, f"object {entry.id}: {error}") from error


def _draw(path: Path, entry: _Object, size: tuple[int, int]) -> BoolArray:
    """Draw an object's polygon as COCO's are; fewer than three corners enclose nothing."""
    try:
        polygon = entry.entry["polygon"]
        # A list of one number is stored as that number.
        x, y = ([axis] if isinstance(axis, int | float) else axis for axis in (polygon["x"], polygon["y"]))
        points = [value for point in zip(x, y, strict=True) for value in point]
        return rasterise_coco([points], size).decode() if len(points) >= 6 else np.zeros(size, bool)
    except (KeyError, TypeError, ValueError, MaskError) as error:
        raise SampleError("malformed_mask", path, f"polygon of object {entry.id}: {error}") from error
