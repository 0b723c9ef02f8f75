"""Small datasets in every layout the readers know, made by code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io
from PIL import Image

SIZE = (24, 32)
"""Height and width of all photos."""


def photo(seed: int = 0, size: tuple[int, int] = SIZE) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def rectangle(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = SIZE) -> npt.NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def label_map(size: tuple[int, int] = SIZE) -> npt.NDArray[np.uint8]:
    """Label 1 in two parts, label 3 in one, 2 on a border strip, 0 elsewhere."""
    labels = np.zeros(size, np.uint8)
    labels[2:8, 2:8] = 1
    labels[2:8, 20:26] = 1
    labels[12:20, 10:22] = 3
    labels[11, 10:22] = 2
    return labels


def save(path: Path, pixels: npt.NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def make_bsds(root: Path, annotators: int = 2) -> Path:
    """One photo in each split, `annotators` segmentations each; annotator k has k + 2 vertical stripes."""
    for seed, split in enumerate(("train", "val", "test")):
        save(root / "images" / split / f"{100 + seed}.jpg", photo(seed))
        cells = np.empty((1, annotators), object)
        for k in range(annotators):
            stripes = np.repeat((np.arange(SIZE[1]) * (k + 2) // SIZE[1] + 1)[None], SIZE[0], axis=0)
            edges = np.zeros(SIZE, np.uint8)
            edges[:, 1:] = stripes[:, 1:] != stripes[:, :-1]
            cells[0, k] = {"Segmentation": stripes.astype(np.uint16), "Boundaries": edges}
        truth = root / "groundTruth" / split / f"{100 + seed}.mat"
        truth.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(truth, {"groundTruth": cells})
    return root


def make_davis(root: Path, frames: dict[str, list[int]], labels: npt.NDArray[np.uint8]) -> Path:
    """Sequences with the given frame numbers, `labels` as every frame's palette annotation."""
    make_frames(root / "JPEGImages/480p", root / "Annotations/480p", frames, labels)
    return root


def make_frames(photos: Path, masks: Path, frames: dict[str, list[int]], labels: npt.NDArray[Any]) -> None:
    """Videos with the given frame numbers, `labels` as every frame's palette annotation."""
    for name, numbers in frames.items():
        for number in numbers:
            save(photos / name / f"{number:05d}.jpg", photo(number))
            annotation = Image.fromarray(labels)
            annotation.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
            path = masks / name / f"{number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            annotation.save(path)


def make_labels(root: Path, names: list[str], labels: npt.NDArray[Any] | None = None) -> Path:
    for seed, name in enumerate(names):
        save(root / "images" / f"{name}.jpg", photo(seed))
        save(root / "labels" / f"{name}.png", label_map() if labels is None else labels)
    return root


def make_pairs(images: Path, masks: Path, names: list[str], value: int = 255) -> None:
    """Photos NAME.jpg and masks NAME.png with a rectangle of `value`."""
    for seed, name in enumerate(names):
        save(images / f"{name}.jpg", photo(seed + 50))
        save(masks / f"{name}.png", (rectangle(4, 4, 20, 16) * value).astype(np.uint8))


def coco_content() -> dict[str, Any]:
    """Two photos, sparse category ids; a polygon, both kinds of run lengths, a crowd, an empty one."""
    height, width = SIZE
    column_runs = [width // 2 * height, height, (width // 2 - 1) * height]
    common = {"image_id": 7, "area": 1.0, "iscrowd": 0}
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": height, "width": width},
            {"id": 900, "file_name": "b.jpg", "height": height, "width": width},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "toothbrush"}],
        "annotations": [
            {"id": 11, "category_id": 3, "segmentation": [[4, 4, 20, 4, 20, 16, 4, 16]], **common},
            {
                "id": 12,
                "category_id": 90,
                "segmentation": {"size": [height, width], "counts": column_runs},
                **common,
            },
            {
                "id": 13,
                "category_id": 3,
                "segmentation": {"size": [height, width], "counts": [0, height, (width - 1) * height]},
                **(common | {"iscrowd": 1}),
            },
            {"id": 14, "category_id": 3, "segmentation": [], **common},
        ],
    }


def make_coco(root: Path, content: dict[str, Any] | None = None) -> Path:
    for seed, name in enumerate("ab"):
        save(root / "val2017" / f"{name}.jpg", photo(seed))
    file = root / "annotations" / "instances_val2017.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(content or coco_content()))
    return root
