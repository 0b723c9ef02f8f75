"""Small datasets of panoptic maps, parts and Parquet shards, made by code in the layout of each release."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from data.miniatures import SIZE, coco_content, photo, save
from PIL import Image

HEIGHT, WIDTH = SIZE


def stripes(*numbers: int) -> npt.NDArray[np.int32]:
    """A map of vertical stripes of equal width with the given numbers."""
    return np.repeat(np.array(numbers, np.int32), WIDTH // len(numbers))[None].repeat(HEIGHT, axis=0)


def packed(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """Numbers as colours, R + 256 G + 65536 B."""
    return np.stack([labels >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


# Segments that the red channel alone cannot tell apart: 1, 257 and 65537.
SEGMENTS = stripes(0, 1, 257, 65537)


def panoptic_content(names: Sequence[str]) -> dict[str, Any]:
    segments = [
        {"id": 1, "category_id": 17, "iscrowd": 0, "area": 1},
        {"id": 257, "category_id": 187, "iscrowd": 0, "area": 1.0},
        {"id": 65537, "category_id": 17, "iscrowd": 1, "area": 1},
    ]
    return {
        "images": [{"id": k, "file_name": f"{name}.jpg"} for k, name in enumerate(names)],
        "annotations": [
            {"image_id": k, "file_name": f"{name}.png", "segments_info": segments}
            for k, name in enumerate(names)
        ],
        "categories": [{"id": 17, "name": "cat", "isthing": 1}, {"id": 187, "name": "sky", "isthing": 0}],
    }


def make_panoptic(root: Path, maps: str, file: str | None, photos: dict[str, str]) -> Path:
    """Photos by their paths, each with the name of its map."""
    for seed, (path, name) in enumerate(photos.items()):
        save(root / path, photo(seed))
        save(root / maps / f"{name}.png", packed(SEGMENTS))
    if file:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(json.dumps(panoptic_content(list(photos.values()))))
    return root


def make_paco(root: Path) -> Path:
    """Photos of both of COCO's folders; an object, its part, and a crowd that is left out."""
    content = coco_content()
    content["categories"] = [{"id": 3, "name": "cup"}, {"id": 90, "name": "cup:handle"}]
    for image, folder in zip(content["images"], ("train2017", "val2017"), strict=True):
        image["coco_url"] = f"http://images.cocodataset.org/{folder}/{image['file_name']}"
        image["file_name"] = f"{folder}/{image['file_name']}"
        save(root / image["file_name"], photo(image["id"]))
    for annotation in content["annotations"]:
        annotation |= {"obj_ann_id": 11, "attribute_ids": [1]}
    (root / "annotations").mkdir()
    (root / "annotations/paco_lvis_v1_val.json").write_text(json.dumps(content))
    return root


def make_parts(root: Path, folder: str = "ImageNet/train", photos: int = 11) -> Path:
    """Two classes of photos; the k-th photo of a class has one part, k + 1 pixels wide."""
    for wnid in ("n01440764", "n01443537"):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for k in range(photos):
            name = f"{wnid}_{100 - k}.JPEG"
            save(root / folder / wnid / name, photo(k), format="JPEG")
            # Entries in another order than the ids'.
            images.insert(0, {"id": k + 1, "file_name": name, "height": HEIGHT, "width": WIDTH})
            corners = [4, 4, 5 + k, 4, 5 + k, 16, 4, 16]
            annotations.append(
                {"id": k + 50, "image_id": k + 1, "category_id": 1, "iscrowd": 0, "segmentation": [corners]}
            )
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fin"}]}
        (root / "json").mkdir(parents=True, exist_ok=True)
        (root / f"json/{wnid}.json").write_text(json.dumps(content))
    return root


def make_spin(root: Path) -> Path:
    for split, number in (("train", 7), ("test", 8)):
        name = f"n01440764_{number}"
        save(root / "ImageNet/n01440764" / f"{name}.JPEG", photo(number), format="JPEG")
        save(root / "spin_splits" / split / f"{name}.png", stripes(0, 3, 202, 4).astype(np.uint8))
    return root


UIDS = stripes(0, 15, 15001, 1500100, 1500103, 1500203, 15002, 2)


def make_pascal_parts(root: Path) -> Path:
    for name in ("2008_000008", "2008_000009", "2008_000015"):
        save(root / "VOC2012/JPEGImages" / f"{name}.jpg", photo())
    save(root / "labels/training/2008_000008.tif", UIDS)
    save(root / "labels/validation/2008_000015.tif", UIDS)
    return root


def make_cityscapes(root: Path) -> Path:
    for split, city in (("train", "aachen"), ("train", "zurich"), ("val", "ulm")):
        name = f"{split}/{city}/{city}_000000_000019"
        save(root / f"leftImg8bit/{name}_leftImg8bit.png", photo())
        objects, classes = stripes(2, 7, 26000, 26001), stripes(2, 7, 26, 26)
        save(root / f"gtFine/{name}_gtFine_instanceIds.png", objects.astype(np.uint16))
        save(root / f"gtFine/{name}_gtFine_labelIds.png", classes.astype(np.uint8))
        save(root / f"gtFine/{name}_gtFine_color.png", photo())
    return root


def encoded(pixels: npt.NDArray[Any], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def make_shards(
    root: Path,
    image: str = "image",
    label: str = "label",
    *,
    splits: Sequence[str] = ("train",),
    shards: int = 2,
    rows: int = 3,
    labels: npt.NDArray[Any] | None = None,
    record: bool = True,
) -> Path:
    """Shards as the hub names them, with row groups of two; the k-th photo of a split is photo(k)."""
    map_ = encoded(stripes(0, 5, 9, 5).astype(np.uint8) if labels is None else labels)

    def column(values: list[bytes]) -> pa.Array:
        records = [{"bytes": value, "path": f"{k}.png"} for k, value in enumerate(values)]
        return pa.array(records if record else values)

    for split in splits:
        for number in range(shards):
            photos = [encoded(photo(number * rows + k), "JPEG") for k in range(rows)]
            names = [image, "id", label]
            table = pa.table([column(photos), pa.array(range(rows)), column([map_] * rows)], names=names)
            path = root / "data" / f"{split}-{number:05d}-of-{shards:05d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, path, row_group_size=2)
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "panoptic": partial(
        make_panoptic,
        maps="panoptic",
        file="panoptic.json",
        photos={"images/a.jpg": "a", "images/b.jpg": "b"},
    ),
    "coconut-s": partial(
        make_panoptic,
        maps="coconut_s",
        file="coconut_s.json",
        photos={"train2017/000000000009.jpg": "000000000009"},
    ),
    "coconut-b": partial(
        make_panoptic,
        maps="coconut_b/panoptic_train2017",
        file=None,
        photos={
            "unlabeled2017/000000000008.jpg": "000000000008",
            "train2017/000000000009.jpg": "000000000009",
        },
    ),
    "coconut-l": partial(
        make_panoptic,
        maps="object365_train_panseg",
        file=None,
        photos={
            "objects365/train/patch2/objects365_v1_00420917.jpg": "objects365_v1_00420917",
            "objects365/train/patch16/objects365_v2_00908726.jpg": "908726",
        },
    ),
    "coconut-cocoval": partial(
        make_panoptic,
        maps="relabeled_coco_val",
        file="relabeled_coco_val.json",
        photos={"val2017/000000000139.jpg": "000000000139"},
    ),
    "paco": make_paco,
    "partimagenetpp": make_parts,
    "spin": make_spin,
    "pascalparts": make_pascal_parts,
    "cityscapes": make_cityscapes,
    "parquet": make_shards,
    "ade20k-hf": partial(make_shards, label="annotation", splits=("train", "validation")),
    "cityscapes-hf": partial(
        make_shards, label="semantic_segmentation", labels=stripes(7, 26).astype(np.uint8)
    ),
    "sidewalk": partial(make_shards, image="pixel_values"),
    "nyudepthv2": partial(make_shards, splits=("train", "test")),
    "plantorgans": make_shards,
    "vegann": partial(make_shards, label="mask", labels=(stripes(0, 1) * 255).astype(np.uint8)),
    "tcd": partial(make_shards, label="annotation"),
    "foodseg103": make_shards,
}
