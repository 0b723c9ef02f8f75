"""EntitySeg: photos cut into entities, things and stuff alike (Qi et al. 2023), about twenty a photo.

The annotations are COCO tables with run-length masks, several files to a split. Their photos come in archives
that unpack to folders of their own (`entity_01_11580/images_merge` …), which the names of photos in the
annotations need not repeat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from maskwright.data.coco import TABLES, packed_mask, read_tables
from maskwright.data.dataset import Dataset, Problem
from maskwright.data.files import Pair, check_same_size, list_below, require_folders
from maskwright.data.outlines import Shapes
from maskwright.errors import DatasetError
from maskwright.io.images import read_image
from maskwright.io.inputs import IMAGE_SUFFIXES
from maskwright.io.rle import decode_all
from maskwright.types import Sample

TREE = """\
  FOLDER/
    annotations/entity_segmentation/entityv2_010203_entity_train.json   or entityv2_01_entity_train.json …
    or entityseg_train_01.json …, in annotations/ or FOLDER; others: annotations=FILE,FILE
    images/entity_01_11580/…    the photos, in any folders below; another folder: images=DIR
or, scaled down, entityseg_train_lr.json and images_lr/"""

SPLITS = ("train", "val")
_FOLDERS = ("annotations/entity_segmentation", "annotations", ".")
# The whole split in one file, or by source of the photos, as the papers' code and the release name them.
_NAMES = (
    "entityv2_010203_entity_{}.json",
    "entityv2_0[123]_entity_{}.json",
    "entityseg_{}_0[123].json",
    "entityseg_{}_lr.json",
)


@dataclass(frozen=True, eq=False)
class _Photo:
    file: Path
    path: Path
    entry: Mapping[str, Any]
    entities: list[Mapping[str, Any]]


class EntitySeg(Dataset):
    """The photos of one or several annotation files, each with its entities (crowd regions are left out).

    A sample's ids are the annotations' ids, which may occur again in another file. Its categories are the
    classes' names where the file has them, and None where it tells no classes apart.

    Args:
        root: the folder.
        split: "train" or "val".
        annotations: files inside `root`, in place of the split's own.
        images: folder of the photos inside `root`; by default `images`, or `images_lr` for files that end in
            `_lr.json`.
    """

    def __init__(
        self, root: Path, *, split: str = "train", annotations: Sequence[str] = (), images: str | None = None
    ) -> None:
        require_folders("entityseg", root, [], TREE)
        files = [root / name for name in annotations] if annotations else _find(root, split)
        small = all(path.stem.endswith("_lr") for path in files)
        images = images or ("images_lr" if small else "images")
        require_folders("entityseg", root, [images], TREE)
        finder = _Finder(root / images)
        problems: list[Problem] = []
        self.photos = [photo for path in files for photo in _photos(path, finder, problems)]
        super().__init__(problems)

    def __len__(self) -> int:
        return len(self.photos)

    def image_path(self, index: int) -> Path:
        """File of the photo of item `index`."""
        return self.photos[index].path

    def mask_path(self, index: int) -> Path:
        """The JSON file that holds the masks of item `index`."""
        return self.photos[index].file

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        photo = self.photos[index]
        image = read_image(photo.path)
        size = (int(photo.entry["height"]), int(photo.entry["width"]))
        check_same_size(Pair(photo.path, photo.file), image, size)
        masks = decode_all([packed_mask(photo.file, entity, size) for entity in photo.entities], size)
        names = tuple(entity["class"] for entity in photo.entities)
        return Sample(
            image,
            masks,
            tuple(int(entity["id"]) for entity in photo.entities),
            f"{photo.file}[{photo.entry['file_name']}]",
            categories=None if None in names else names,
            partition=bool(masks.any(axis=0).all()),
        )

    def shapes(self, index: int) -> Shapes:
        """The entities of item `index`, packed."""
        photo = self.photos[index]
        size = (int(photo.entry["height"]), int(photo.entry["width"]))
        return Shapes(size, (packed_mask(photo.file, entity, size) for entity in photo.entities))


class _Finder:
    """Finds photos by the end of their path."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.by_name: dict[str, list[Path]] = {}
        for path in list_below(root, IMAGE_SUFFIXES):
            self.by_name.setdefault(path.name, []).append(path)

    def find(self, name: str) -> list[Path]:
        """The photos whose path ends in as much of `name` as any does."""
        parts = PurePosixPath(name.replace("\\", "/")).parts
        found = self.by_name.get(parts[-1], []) if parts else []
        for count in range(2, len(parts) + 1):
            longer = [path for path in found if path.relative_to(self.root).parts[-count:] == parts[-count:]]
            if not longer:
                break
            found = longer
        return found


def _find(root: Path, split: str) -> list[Path]:
    for folder in _FOLDERS:
        for name in _NAMES:
            found = sorted((root / folder).glob(name.format(split)))
            if found:
                return found
    raise DatasetError(f"{root} has no annotations of the split {split}. EntitySeg looks like this:\n{TREE}")


def _photos(file: Path, finder: _Finder, problems: list[Problem]) -> Iterator[_Photo]:
    content = read_tables(file, {**TABLES, "annotations": ("id", "image_id")}, optional=["categories"])
    classes = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    entities: dict[Any, list[Mapping[str, Any]]] = {entry["id"]: [] for entry in content["images"]}
    for entry in content["annotations"]:
        if entry["image_id"] not in entities:
            message = f"belongs to image {entry['image_id']}, which is not listed"
            problems.append(Problem("missing_image", f"{file}: annotation {entry['id']}", message))
        elif not entry.get("iscrowd"):
            name = _class(entry, classes)
            entities[entry["image_id"]].append(
                {"id": entry["id"], "segmentation": entry.get("segmentation"), "class": name}
            )
    for entry in content["images"]:
        name = str(entry["file_name"])
        found = finder.find(name)
        if len(found) == 1:
            yield _Photo(file, found[0], entry, entities[entry["id"]])
            continue
        listed = ", ".join(str(path) for path in found)
        message = f"is in several places: {listed}" if found else f"is not below {finder.root}"
        problems.append(Problem("ambiguous" if found else "missing_image", f"{file}: photo {name}", message))


def _class(entry: Mapping[str, Any], classes: Mapping[Any, str]) -> str | None:
    if "category_id_ori" in entry:  # the release's class, beside a category_id that is the same for all
        return str(entry["category_id_ori"])
    return classes.get(entry.get("category_id")) if len(classes) > 1 else None
