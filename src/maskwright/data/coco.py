"""COCO instances: one JSON file with polygons or run-length masks for a folder of photos."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from maskwright.data.dataset import Dataset, Problem, SampleError
from maskwright.data.files import Pair, check_same_size, require_folders
from maskwright.data.outlines import Shapes
from maskwright.errors import DatasetError, FileError, MaskError
from maskwright.io.files import confine, read_json
from maskwright.io.images import read_image
from maskwright.io.polygons import rasterise_coco
from maskwright.io.rle import RLE, decode_all
from maskwright.types import Sample

TREE = """\
  FOLDER/
    annotations/instances_NAME.json      or any other JSON: annotations=FILE
    NAME/ or images/                     the photos, as the JSON names them; another folder: images=DIR"""

TABLES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "images": ("id", "file_name", "height", "width"),
        "annotations": ("id", "image_id", "category_id"),
        "categories": ("id", "name"),
    }
)


class COCOInstances(Dataset):
    """The photos a COCO file lists, each with its annotated objects (photos without any are items too).

    A sample's ids are the annotations' ids and its categories their names. Annotations without a
    segmentation have no mask; crowd regions have one only when asked for.

    Args:
        annotations: JSON file inside `root`; by default the only `instances*.json` (or the only JSON file)
            in `annotations/` or in `root` itself.
        images: folder of the photos inside `root`; by default what follows `instances_` in the file's name,
            or else `images`.
        crowd: "skip" or "keep" regions marked `iscrowd`.
        min_area: leave out objects whose `area` in the file is smaller, in pixels.
    """

    kind, tree, pattern = "coco", TREE, "instances*"
    tables = TABLES

    def __init__(
        self,
        root: Path,
        *,
        annotations: str | None = None,
        images: str | None = None,
        crowd: Literal["skip", "keep"] = "skip",
        min_area: float = 0.0,
    ) -> None:
        require_folders(self.kind, root, [], self.tree)
        self.file = root / annotations if annotations else self._find_annotations(root)
        self.folder = root / (self._guess_images(root) if images is None else images)
        require_folders(self.kind, root, [str(self.folder.relative_to(root))], self.tree)
        content = read_tables(self.file, self.tables)
        self.categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        self.images = content["images"]
        self.min_area = min_area
        self._names = [self._photo_name(entry) for entry in self.images]
        self._paths = [self._photo(entry, name) for entry, name in zip(self.images, self._names, strict=True)]
        self._of_image: dict[Any, list[Mapping[str, Any]]] = {entry["id"]: [] for entry in self.images}
        problems = [
            Problem("missing_image", str(path), f"is listed in {self.file.name}, but there is no such file")
            for path in self._paths
            if not path.is_file()
        ]
        for entry in content["annotations"]:
            self._sort_in(entry, problems, keep_crowd=crowd == "keep")
        super().__init__(problems)

    def _sort_in(self, entry: Mapping[str, Any], problems: list[Problem], *, keep_crowd: bool) -> None:
        where = f"{self.file}: annotation {entry['id']}"
        if entry["image_id"] not in self._of_image:
            message = f"belongs to image {entry['image_id']}, which is not listed"
            problems.append(Problem("missing_image", where, message))
        elif entry["category_id"] not in self.categories:
            message = f"is of category {entry['category_id']}, which is not listed"
            problems.append(Problem("unknown_category", where, message))
        elif entry.get("segmentation") and (keep_crowd or not entry.get("iscrowd")):
            if not self.min_area or _area(where, entry) >= self.min_area:
                self._of_image[entry["image_id"]].append(entry)

    def _find_annotations(self, root: Path) -> Path:
        found = [path for folder in (root / "annotations", root) for path in sorted(folder.glob("*.json"))]
        chosen = [path for path in found if path.match(self.pattern)] or found
        if len(chosen) != 1:
            listed = ", ".join(str(path.relative_to(root)) for path in chosen) or "none"
            raise DatasetError(
                f"{root}: say which JSON file it is with annotations=FILE; found {listed}.\n{self.tree}"
            )
        return chosen[0]

    def _guess_images(self, root: Path) -> str:
        name = self.file.stem.removeprefix("instances_")
        return name if (root / name).is_dir() else "images"

    def _photo_name(self, entry: Mapping[str, Any]) -> str:
        """The path of a photo inside the folder of photos."""
        return str(entry["file_name"])

    def _photo(self, entry: Mapping[str, Any], name: str) -> Path:
        try:
            return confine(self.folder, name)
        except FileError as error:
            raise DatasetError(f"{self.file}: image {entry['id']}: {error}") from error

    def __len__(self) -> int:
        return len(self.images)

    def image_path(self, index: int) -> Path:
        """File of the photo of item `index`."""
        return self._paths[index]

    def mask_path(self, index: int) -> Path:
        """The JSON file, which holds all masks."""
        return self.file

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        entry = self.images[index]
        image = read_image(self._paths[index])
        size = (int(entry["height"]), int(entry["width"]))
        check_same_size(Pair(self._paths[index], self.file), image, size)
        objects = self._of_image[entry["id"]]
        return Sample(
            image,
            decode_all((packed_mask(self.file, annotation, size) for annotation in objects), size),
            tuple(annotation["id"] for annotation in objects),
            f"{self.file}[{self._names[index]}]",
            categories=tuple(self.categories[annotation["category_id"]] for annotation in objects),
        )

    def shapes(self, index: int) -> Shapes:
        """The objects of item `index`, packed."""
        entry = self.images[index]
        size = (int(entry["height"]), int(entry["width"]))
        objects = self._of_image[entry["id"]]
        return Shapes(size, (packed_mask(self.file, annotation, size) for annotation in objects))


def packed_mask(file: Path, annotation: Mapping[str, Any], size: tuple[int, int]) -> RLE:
    """The mask of an annotation of a file, for a photo of this height and width.

    Raises:
        SampleError: it is malformed.
    """
    try:
        return rasterise_coco(annotation["segmentation"], size)
    except MaskError as error:
        raise SampleError("malformed_mask", f"{file}: annotation {annotation['id']}", str(error)) from error


def read_tables(
    path: Path, needed: Mapping[str, Sequence[str]] = TABLES, optional: Collection[str] = ()
) -> dict[str, list[dict[str, Any]]]:
    """Read the tables of a COCO file, each entry with the keys it must have.

    Args:
        path: the JSON file.
        needed: the tables' names, each with the keys of its entries.
        optional: those of them that may be missing; they are then empty.

    Raises:
        DatasetError: naming the file, and the table or the entry.
    """
    content = read_json(path)
    result = {}
    for table, keys in needed.items():
        entries = content.get(table, [] if table in optional else None) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise DatasetError(f"{path} has no list {table!r}, so it is not a COCO instances file.")
        for number, entry in enumerate(entries):
            missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
            if missing:
                raise DatasetError(f"{path}: {table}[{number}] lacks {', '.join(missing)}.")
            wrong = [key for key in keys if not _plausible(key, entry[key])]
            if wrong:
                message = f"has a {wrong[0]} that cannot be one: {entry[wrong[0]]!a:.40}"
                raise DatasetError(f"{path}: {table}[{number}] {message}.")
        result[table] = entries
    return result


def _plausible(key: str, value: Any) -> bool:  # noqa: ANN401
    """Whether a side is a whole number from 1, and an id something that can be looked up."""
    if key in {"height", "width"}:
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 and value % 1 == 0
        )
    return isinstance(value, int | str) if key.endswith("id") else True


def _area(where: str, entry: Mapping[str, Any]) -> float:
    area = entry.get("area")
    if not isinstance(area, int | float) or isinstance(area, bool):
        raise DatasetError(f"{where} has no area, so min_area cannot choose by it.")
    return area
