"""COCO instance JSON: the lossless interchange format. Masks are compressed RLE.

Written: `images` (id, file_name, height, width), `annotations` (RLE, area, box, category, score, and the
extra values under their own names), `categories`. Read: the same, any COCO instance file (polygons and
uncompressed RLE too), and lists of results as cocoapi's evaluation takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskwright.errors import FileError, InputError, MaskError
from maskwright.export.labelled import LabelledImage, category_names
from maskwright.io.files import read_json, shown, write_json
from maskwright.io.polygons import rasterise_coco
from maskwright.io.rle import RLE

_STANDARD = {"id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd", "score"}


def write_coco(labels: Sequence[LabelledImage], path: Path) -> list[str]:
    """Write one JSON file.

    Returns:
        What was lost: nothing.

    Raises:
        InputError: when an extra row has a name that COCO uses itself.
        FileError: naming the path and the reason.
    """
    names = category_names(labels)
    ids = {name: number for number, name in enumerate(names, start=1)}
    images = [
        {"id": number, "file_name": label.path, "height": label.height, "width": label.width}
        for number, label in enumerate(labels, start=1)
    ]
    annotations: list[dict[str, Any]] = []
    for number, label in enumerate(labels, start=1):
        for index in range(len(label.masks)):
            record = _annotation(label, index, ids)
            annotations.append({"id": len(annotations) + 1, "image_id": number, **record})
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    write_json(path, {"images": images, "annotations": annotations, "categories": categories}, indent=None)
    return []


def _annotation(label: LabelledImage, index: int, ids: dict[str, int]) -> dict[str, Any]:
    taken = sorted((_STANDARD - {"iscrowd"}) & set(label.extra))
    if taken:
        raise InputError(
            f"{label.path}: the extra values {taken} have names that COCO uses itself; rename them."
        )
    mask = label.masks[index]
    record: dict[str, Any] = {
        "category_id": ids[label.names[index]],
        "segmentation": mask.to_coco(),
        "area": mask.area,
        "bbox": list(mask.box),
        "iscrowd": 0,
    }
    if label.scores is not None:
        record["score"] = label.scores[index]
    return record | {name: row[index] for name, row in label.extra.items()}


def read_coco(path: Path) -> list[LabelledImage]:
    """Read a COCO instance file, or a list of results.

    Area and box are computed from the masks, never trusted. Results name no files; their images are named by
    their ids and sized by their masks. Images without annotations stay.

    Raises:
        FileError: when the file is no COCO JSON.
        MaskError: naming file and annotation, when a segmentation is malformed or refers to an unknown image.
    """
    content = read_json(path)
    try:
        if isinstance(content, list):
            return _read_results(content)
        if isinstance(content, dict) and {"images", "annotations"} <= set(content):
            return _read_instances(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise FileError(f"{shown(path)} is no proper COCO file: {missing}.") from error
    except (MaskError, InputError) as error:
        raise MaskError(f"{shown(path)}: {error}") from error
    raise FileError(f"{shown(path)} is no COCO file: it has no 'images' and 'annotations'.")


def _read_instances(content: dict[str, Any]) -> list[LabelledImage]:
    names = {record["id"]: str(record["name"]) for record in content.get("categories", [])}
    images = {record["id"]: record for record in content["images"]}
    if len(images) != len(content["images"]):
        raise ValueError("two images have the same id")
    found: dict[Any, list[tuple[RLE, dict[str, Any]]]] = {number: [] for number in images}
    for record in content["annotations"]:
        image = images.get(record["image_id"])
        if image is None:
            raise MaskError(f"annotation {record.get('id')} belongs to no image (id {record['image_id']}).")
        found[record["image_id"]].append((_mask(record, (image["height"], image["width"])), record))
    return [
        _labelled(str(image["file_name"]), (image["height"], image["width"]), found[number], names)
        for number, image in images.items()
    ]


def _read_results(content: list[Any]) -> list[LabelledImage]:
    found: dict[Any, list[tuple[RLE, dict[str, Any]]]] = {}
    for record in content:
        if "segmentation" not in record:
            raise MaskError("its results hold boxes but no masks.")
        found.setdefault(record["image_id"], []).append((RLE.from_coco(record["segmentation"]), record))
    return [_labelled(str(number), rows[0][0].size, rows, {}) for number, rows in found.items()]


def _mask(record: dict[str, Any], size: tuple[int, int]) -> RLE:
    try:
        return rasterise_coco(record["segmentation"], size)
    except MaskError as error:
        raise MaskError(f"annotation {record.get('id')}: {error}") from error


def _labelled(
    path: str, size: tuple[int, int], rows: list[tuple[RLE, dict[str, Any]]], names: dict[Any, str]
) -> LabelledImage:
    records = [record for _, record in rows]
    scored = bool(records) and all("score" in record for record in records)
    extra = {name: None for record in records for name in record if name not in _STANDARD}
    if any(record.get("iscrowd") for record in records):
        extra["iscrowd"] = None
    return LabelledImage(
        path,
        *size,
        tuple(mask for mask, _ in rows),
        tuple(float(record["score"]) for record in records) if scored else None,
        tuple(names.get(record["category_id"], str(record["category_id"])) for record in records),
        {name: tuple(record.get(name) for record in records) for name in extra},
    )
