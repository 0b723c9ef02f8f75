"""Parts of objects in ImageNet's photos: PartImageNet++ and SPIN.

Both name a photo after its class in WordNet, n01440764_10026, and leave it where ImageNet has it:
n01440764/n01440764_10026.JPEG. PartImageNet++ (Li et al., ECCV 2024) has one JSON file a class, in COCO's
form; SPIN (Myers-Dean et al., ECCV 2024) one map a photo.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from maskwright.data.coco import TABLES, packed_mask, read_tables
from maskwright.data.colours import read_codes
from maskwright.data.dataset import Dataset, Problem
from maskwright.data.files import Pair, check_same_size, list_below, list_files, require_folders
from maskwright.data.labels import LabelPairs
from maskwright.data.outlines import Shapes
from maskwright.errors import DatasetError, FileError
from maskwright.io.files import confine
from maskwright.io.images import read_image
from maskwright.io.masks import LabelMap
from maskwright.io.rle import decode_all
from maskwright.types import Sample

_PHOTOS = """\
    ImageNet/n01440764/n01440764_10026.JPEG …    or ImageNet/train/…, train/…; elsewhere: images=DIR"""
PARTS_TREE = f"""\
  FOLDER/
    json/n01440764.json …                        a file a class
{_PHOTOS}"""
SPIN_TREE = f"""\
  FOLDER/
    spin_splits/train/n01440764_10026.png …      or val/, test/
{_PHOTOS}"""

PARTS_SPLITS = ("train", "val")
SPIN_SPLITS = ("train", "val", "test")
_FOLDERS = ("ImageNet/train", "ImageNet", "train")


def photo_folder(kind: str, root: Path, images: str | None, tree: str) -> Path:
    """The folder that holds ImageNet's folders of classes.

    Raises:
        DatasetError: there is none.
    """
    name = images or next((name for name in _FOLDERS if (root / name).is_dir()), "ImageNet")
    require_folders(kind, root, [name], tree)
    return root / name


def photo_path(folder: Path, name: str) -> Path:
    """Where ImageNet keeps a photo, such as n01440764_10026.JPEG, or n01440764_10026 for short.

    Raises:
        FileError: the name leads out of the folder.
    """
    base = PurePosixPath(name.replace("\\", "/")).name
    base = base if PurePosixPath(base).suffix else f"{base}.JPEG"
    return confine(folder, f"{base.partition('_')[0]}/{base}")


@dataclass(frozen=True, eq=False)
class _Photo:
    file: Path
    path: Path
    entry: Mapping[str, Any]


class PartImageNetPP(Dataset):
    """The photos of all classes, a mask a part; ids are the annotations', categories the parts' names.

    Of each class, the last tenth of its photos (by their ids) is for validation: ten of a hundred.

    Args:
        root: the folder.
        split: "train" or "val".
        images: folder of ImageNet's classes inside `root`.
    """

    def __init__(self, root: Path, *, split: str = "train", images: str | None = None) -> None:
        require_folders("partimagenetpp", root, ["json"], PARTS_TREE)
        folder = photo_folder("partimagenetpp", root, images, PARTS_TREE)
        problems: list[Problem] = []
        # The annotations of a thousand classes do not fit in memory: each file is parsed again when needed.
        files = list_files(root / "json", [".json"])
        self.photos = [photo for file in files for photo in _photos(file, folder, split, problems)]
        self._parsed: tuple[Path, _Class] | None = None
        super().__init__(problems)

    def __len__(self) -> int:
        return len(self.photos)

    def image_path(self, index: int) -> Path:
        """File of the photo of item `index`."""
        return self.photos[index].path

    def mask_path(self, index: int) -> Path:
        """The JSON file of the class of item `index`."""
        return self.photos[index].file

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        photo = self.photos[index]
        image = read_image(photo.path)
        size = (int(photo.entry["height"]), int(photo.entry["width"]))
        check_same_size(Pair(photo.path, photo.file), image, size)
        parts = self._parts(photo)
        return Sample(
            image,
            decode_all((packed_mask(photo.file, part, size) for part in parts), size),
            tuple(int(part["id"]) for part in parts),
            f"{photo.file}[{photo.entry['file_name']}]",
            categories=tuple(self._class(photo.file).names[part["category_id"]] for part in parts),
        )

    def shapes(self, index: int) -> Shapes:
        """The parts of item `index`, packed."""
        photo = self.photos[index]
        size = (int(photo.entry["height"]), int(photo.entry["width"]))
        return Shapes(size, (packed_mask(photo.file, part, size) for part in self._parts(photo)))

    def _parts(self, photo: _Photo) -> Sequence[Mapping[str, Any]]:
        return self._class(photo.file).parts[photo.entry["id"]]

    def _class(self, file: Path) -> _Class:
        parsed = self._parsed
        if parsed is None or parsed[0] != file:
            parsed = self._parsed = (file, _read_class(file, []))
        return parsed[1]


@dataclass(frozen=True, eq=False)
class _Class:
    """What a JSON file holds: its photos in the order of their ids, the parts of each, the parts' names."""

    images: Sequence[Mapping[str, Any]]
    parts: Mapping[Any, Sequence[Mapping[str, Any]]]
    names: Mapping[Any, str]


def _read_class(file: Path, problems: list[Problem]) -> _Class:
    needed = {**TABLES, "images": ("id", "file_name", "height", "width")}
    content = read_tables(file, needed)
    names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    parts: dict[Any, list[Mapping[str, Any]]] = {entry["id"]: [] for entry in content["images"]}
    for entry in content["annotations"]:
        where = f"{file}: annotation {entry['id']}"
        if entry["image_id"] not in parts:
            message = f"belongs to image {entry['image_id']}, which is not listed"
            problems.append(Problem("missing_image", where, message))
        elif entry["category_id"] not in names:
            message = f"is of category {entry['category_id']}, which is not listed"
            problems.append(Problem("unknown_category", where, message))
        elif entry.get("segmentation") and not entry.get("iscrowd"):
            parts[entry["image_id"]].append(entry)
    for table in ("images", "annotations"):
        odd = [entry["id"] for entry in content[table] if not isinstance(entry["id"], int)]
        if odd:
            raise DatasetError(f"{file}: {table} has the id {odd[0]!a}, which is no number.")
    images = sorted(content["images"], key=lambda entry: int(entry["id"]))
    return _Class(images, parts, names)


def _photos(file: Path, folder: Path, split: str, problems: list[Problem]) -> Iterator[_Photo]:
    images = _read_class(file, problems).images
    first = len(images) - max(1, len(images) // 10)
    for entry in images[:first] if split == "train" else images[first:]:
        try:
            path = photo_path(folder, str(entry["file_name"]))
        except FileError as error:
            raise DatasetError(f"{file}: image {entry['id']}: {error}") from error
        if path.is_file():
            yield _Photo(file, path, entry)
        else:
            message = f"is listed in {file.name}, but there is no such file"
            problems.append(Problem("missing_image", str(path), message))


class SPIN(LabelPairs):
    """Photos with a map of parts and of parts of parts each; a number is one of them, 0 is none.

    Args:
        root: the folder.
        split: "train", "val" or "test".
        images: folder of ImageNet's classes inside `root`.
    """

    def __init__(self, root: Path, *, split: str = "train", images: str | None = None) -> None:
        maps = (
            f"spin_splits/{split}"
            if (root / "spin_splits").is_dir() or not (root / split).is_dir()
            else split
        )
        require_folders("spin", root, [maps], SPIN_TREE)
        folder = photo_folder("spin", root, images, SPIN_TREE)
        pairs: list[Pair] = []
        problems: list[Problem] = []
        for path in list_below(root / maps, [".png"]):
            photo = photo_path(folder, path.stem)
            if photo.is_file():
                pairs.append(Pair(photo, path))
            else:
                problems.append(
                    Problem("missing_image", str(path), f"belongs to {photo}, which is not there")
                )
        super().__init__(pairs, problems, mode="classes")

    def labels(self, index: int) -> LabelMap:
        """The (H, W) map of parts; of a coloured one, a colour is a part."""
        return read_codes(self.pairs[index].mask)
