"""Miniatures of the sets of people, of land from above and of special subjects, true to each one's layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from data.miniatures import SIZE, make_pairs, photo, rectangle, save
from PIL import Image

from maskwright.data.pairs import HQSEG
from maskwright.io.rle import RLE

PNG = (".png", ".png")
Regions = npt.NDArray[np.int64]

BLOCKS = ((2, 2, 10, 10), (14, 4, 22, 12), (4, 14, 28, 22))
"""Three rectangles x0, y0, x1, y1 that touch neither each other nor the border."""


def regions(numbers: tuple[int, int, int], rest: int = 0) -> Regions:
    """A number in each of `BLOCKS`."""
    values = np.full(SIZE, rest, np.int64)
    for number, (x0, y0, x1, y1) in zip(numbers, BLOCKS, strict=True):
        values[y0:y1, x0:x1] = number
    return values


def numbers8(*numbers: int, rest: int = 0) -> npt.NDArray[np.uint8]:
    return regions((numbers[0], numbers[1], numbers[2]), rest).astype(np.uint8)


def colours(*chosen: tuple[int, int, int], rest: tuple[int, int, int] = (0, 0, 0)) -> npt.NDArray[np.uint8]:
    """A colour in each of `BLOCKS`."""
    table = np.asarray([rest, *chosen], np.uint8)
    return table[regions((1, 2, 3))]


def palette_png(path: Path, labels: npt.NDArray[np.uint8], palette: bytes) -> Path:
    image = Image.fromarray(labels)
    image.putpalette(palette)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@dataclass(frozen=True)
class Miniature:
    """One set in small.

    Args:
        make: writes it into a folder.
        spec: the kind and options that read it.
        photos: how many items it has.
        masks: how many masks the first item has.
        mask: a mask file (below the folder) that belongs to the first photo, to be spoiled by tests; of sets
            whose masks are all in one JSON file, that.
        image: the first photo.
        categories: those of the first item, where it has any.
    """

    make: Callable[[Path], None]
    spec: str
    photos: int
    masks: int
    mask: str
    image: str
    categories: tuple[str | int, ...] | None = None


def tree(
    images: str,
    labels: str,
    values: npt.NDArray[Any],
    names: tuple[str, ...] = ("a", "b"),
    endings: tuple[str, str] = (".jpg", ".png"),
) -> Callable[[Path], None]:
    """Photos and equal label maps under two folders."""

    def make(root: Path) -> None:
        for seed, name in enumerate(names):
            save(root / images / f"{name}{endings[0]}", photo(seed))
            save(root / labels / f"{name}{endings[1]}", values)

    return make


def both(*makers: Callable[[Path], None]) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for maker in makers:
            maker(root)

    return make


def coco_tables(names: tuple[str, ...], segmentations: list[Any], crowd: int = 0) -> dict[str, Any]:
    height, width = SIZE
    return {
        "images": [
            {"id": k, "file_name": name, "height": height, "width": width} for k, name in enumerate(names)
        ],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {
                "id": 100 * k + n,
                "image_id": k,
                "category_id": 1,
                "segmentation": segmentation,
                "area": 5.0,
                "iscrowd": crowd if isinstance(segmentation, dict) else 0,
            }
            for k in range(len(names))
            for n, segmentation in enumerate(segmentations)
        ],
    }


def coco_set(folder: str, file: str, crowd: int = 0) -> Callable[[Path], None]:
    """A polygon and a run-length mask on each of two photos."""

    def make(root: Path) -> None:
        names = ("a.jpg", "b.jpg")
        for seed, name in enumerate(names):
            save(root / folder / name, photo(seed))
        x0, y0, x1, y1 = BLOCKS[0]
        polygon = [[x0, y0, x1, y0, x1, y1, x0, y1]]
        runs = RLE.encode(rectangle(*BLOCKS[1])).to_coco(compressed=False)
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(json.dumps(coco_tables(names, [polygon, runs], crowd)))

    return make


def make_celeba(root: Path) -> None:
    """Photos of twice the masks' size; the folder of a mask is the photo's number divided by 2,000."""
    for number in (0, 2001):
        save(root / f"CelebA-HQ-img/{number}.jpg", photo(number, (SIZE[0] * 2, SIZE[1] * 2)))
        for name, block in zip(("hair", "skin", "l_brow"), BLOCKS, strict=True):
            mask = rectangle(*block).astype(np.uint8)[..., None] * np.full(3, 255, np.uint8)
            save(root / f"CelebAMask-HQ-mask-anno/{number // 2000}/{number:05d}_{name}.png", mask)


def make_gta5(root: Path) -> None:
    palette = bytes([0, 0, 0] * 7 + [128, 64, 128] + [244, 35, 232] * 20)
    for seed, name in enumerate(("00001", "00002")):
        save(root / f"images/{name}.png", photo(seed))
        palette_png(root / f"labels/{name}.png", numbers8(7, 8, 26), palette)


def make_isaid(root: Path) -> None:
    """The release: the JSON file is COCO's."""
    ids = colours((255, 0, 0), (255, 1, 0), (255, 0, 1))
    classes = colours((0, 0, 63), (0, 63, 63), (0, 100, 155))
    for seed, name in enumerate(("P0000", "P0002")):
        save(root / f"train/images/{name}.png", photo(seed))
        save(root / f"train/Instance_masks/images/{name}_instance_id_RGB.png", ids)
        save(root / f"train/Semantic_masks/images/{name}_instance_color_RGB.png", classes)
    file = root / "train/Annotations/iSAID_train.json"
    file.parent.mkdir(parents=True)
    x0, y0, x1, y1 = BLOCKS[0]
    tables = coco_tables(("P0000.png", "P0002.png"), [[[x0, y0, x1, y0, x1, y1, x0, y1]]])
    file.write_text(json.dumps(tables))


def make_regions(root: Path) -> None:
    for region in ("aachen", "tokyo"):
        tree(
            f"{region}/images",
            f"{region}/labels",
            numbers8(1, 5, 8),
            (f"{region}_1", f"{region}_2"),
            (".tif", ".tif"),
        )(root)
    (root / "train.txt").write_text("aachen_1.tif\ntokyo_2.tif\n")


def make_uavid(root: Path) -> None:
    values = colours((128, 0, 0), (128, 64, 128), (128, 128, 0), rest=(64, 0, 128))
    for sequence in ("seq1", "seq2"):
        folder = f"uavid_train/{sequence}"
        tree(f"{folder}/Images", f"{folder}/Labels", values, ("000000", "000100"), PNG)(root)


def make_soba(root: Path) -> None:
    """Six photos a folder, so that five are for training."""
    for subset in ("ADE", "COCO"):
        for number in range(6):
            save(root / subset / f"{number}.jpg", photo(number + len(subset) * 10))
            save(root / subset / f"{number}-2.png", colours((255, 0, 0), (255, 255, 0), (255, 0, 255)))
            shadow = np.zeros((*SIZE, 3), np.uint8)
            shadow[8:14, 2:12] = (255, 0, 0)
            save(root / subset / f"{number}-3.png", shadow)


def make_dram(root: Path) -> None:
    names = ("realism/corot/x", "unseen/art_nouveau/mucha/y")
    for seed, name in enumerate(names):
        save(root / "test" / f"{name}.jpg", photo(seed))
        save(root / "labels" / f"{name}.png", numbers8(15, 13, 255))
    (root / "test/dram.txt").write_text("\n".join(names) + "\n")
    (root / "test/realism.txt").write_text(names[0] + "\n")


def make_hqseg(name: str, split: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for folder, images, masks in HQSEG[name][split]:
            make_pairs(
                root / folder / images, root / folder / masks, [f"{folder[-2:]}_1", f"{folder[-2:]}_2"]
            )

    return make


_LIP = "TrainVal_parsing_annotations"
_SUIM = colours((0, 0, 255), (255, 255, 0), (255, 255, 255))
_MIXED = colours((1, 0, 0), (1, 0, 9), (1, 7, 0))
_LEAVES = regions((300, 301, 65535)).astype(np.uint16)

SETS: dict[str, Miniature] = {
    "lip": Miniature(
        tree("train_images", f"{_LIP}/train_segmentations", numbers8(1, 2, 13)),
        "lip:{}", 2, 3, f"{_LIP}/train_segmentations/a.png", "train_images/a.jpg", ("hat", "hair", "face"),
    ),
    "lip val": Miniature(
        tree("TrainVal_images/val_images", f"{_LIP}/{_LIP}/val_segmentations", numbers8(1, 2, 13)),
        "lip:{}?split=val", 2, 3,
        f"{_LIP}/{_LIP}/val_segmentations/a.png", "TrainVal_images/val_images/a.jpg", ("hat", "hair", "face"),
    ),
    "cihp": Miniature(
        tree("Training/Images", "Training/Instance_ids", numbers8(1, 2, 25)),
        "cihp:{}", 2, 3, "Training/Instance_ids/a.png", "Training/Images/a.jpg",
    ),
    "cihp categories": Miniature(
        tree(
            "instance-level_human_parsing/Validation/Images",
            "instance-level_human_parsing/Validation/Category_ids",
            numbers8(10, 2, 13),
        ),
        "cihp:{}?split=val&labels=categories", 2, 3,
        "instance-level_human_parsing/Validation/Category_ids/a.png",
        "instance-level_human_parsing/Validation/Images/a.jpg",
        ("hair", "torso skin", "face"),
    ),
    "celeba": Miniature(
        make_celeba, "celeba:{}", 2, 3,
        "CelebAMask-HQ-mask-anno/0/00000_hair.png", "CelebA-HQ-img/0.jpg", ("hair", "l_brow", "skin"),
    ),
    "fashionpedia": Miniature(
        coco_set("train", "annotations/instances_attributes_train2020.json", crowd=1),
        "fashionpedia:{}", 2, 2,
        "annotations/instances_attributes_train2020.json", "train/a.jpg", ("thing", "thing"),
    ),
    "fashionpedia val": Miniature(
        coco_set("test", "instances_attributes_val2020.json"),
        "fashionpedia:{}?split=val", 2, 2,
        "instances_attributes_val2020.json", "test/a.jpg", ("thing", "thing"),
    ),
    "egohos": Miniature(
        tree("train/image", "train/label", numbers8(1, 2, 5)),
        "egohos:{}", 2, 3, "train/label/a.png", "train/image/a.jpg",
        ("left hand", "right hand", "object of both hands"),
    ),
    "loveda": Miniature(
        both(
            tree("Train/Urban/images_png", "Train/Urban/masks_png", numbers8(0, 2, 7, rest=1), endings=PNG),
            tree("Train/Rural/images_png", "Train/Rural/masks_png", numbers8(0, 6, 4, rest=1), endings=PNG),
        ),
        "loveda:{}", 4, 2, "Train/Urban/masks_png/a.png", "Train/Urban/images_png/a.png",
        ("building", "agriculture"),
    ),
    "isaid": Miniature(
        tree("cropped/train/images", "cropped/train/labels", _MIXED, endings=PNG),
        "isaid:{}", 2, 3, "cropped/train/labels/a.png", "cropped/train/images/a.png",
    ),
    "isaid instances": Miniature(
        make_isaid, "isaid:{}?masks=instances", 2, 3,
        "train/Instance_masks/images/P0000_instance_id_RGB.png", "train/images/P0000.png",
    ),
    "isaid classes": Miniature(
        make_isaid, "isaid:{}?masks=classes", 2, 3,
        "train/Semantic_masks/images/P0000_instance_color_RGB.png", "train/images/P0000.png",
        ("ship", "storage tank", "harbor"),
    ),
    "isaid outlines": Miniature(
        make_isaid, "isaid:{}?masks=outlines", 2, 1,
        "train/Annotations/iSAID_train.json", "train/images/P0000.png", ("thing",),
    ),
    "openearthmap": Miniature(
        tree("image", "label", numbers8(1, 5, 8), endings=(".tif", ".tif")),
        "openearthmap:{}", 2, 3, "label/a.tif", "image/a.tif", ("bareland", "tree", "building"),
    ),
    "openearthmap regions": Miniature(
        make_regions, "openearthmap:{}?split=train", 2, 3,
        "aachen/labels/aachen_1.tif", "aachen/images/aachen_1.tif", ("bareland", "tree", "building"),
    ),
    "uavid": Miniature(
        make_uavid, "uavid:{}", 4, 4,
        "uavid_train/seq1/Labels/000000.png", "uavid_train/seq1/Images/000000.png",
        ("building", "road", "low vegetation", "moving car"),
    ),
    "treecount": Miniature(
        tree("image", "label", numbers8(1, 2, 3), endings=PNG),
        "treecount:{}", 2, 3, "label/a.png", "image/a.png",
    ),
    "gta5": Miniature(
        make_gta5, "gta5:{}", 2, 3, "labels/00001.png", "images/00001.png", ("road", "sidewalk", "car"),
    ),
    "metropolis": Miniature(
        tree("preprocessed/val/images", "preprocessed/val/labels", _MIXED),
        "metropolis:{}?split=val", 2, 3, "preprocessed/val/labels/a.png", "preprocessed/val/images/a.jpg",
    ),
    "wireframe": Miniature(
        tree("preprocessed/train/image", "preprocessed/train/label", numbers8(255, 255, 255)),
        "wireframe:{}", 2, 1,
        "preprocessed/train/label/a.png", "preprocessed/train/image/a.jpg", ("boundary",),
    ),
    "seginw": Miniature(
        both(
            coco_set("Cows/train", "Cows/train/_annotations_min1cat.coco.json"),
            coco_set("Salmon-Fillet/train", "Salmon-Fillet/train/_annotations_min1cat.coco.json"),
        ),
        "seginw:{}", 4, 2,
        "Cows/train/_annotations_min1cat.coco.json", "Cows/train/a.jpg", ("Cows: thing", "Cows: thing"),
    ),
    "phenobench": Miniature(
        tree("train/images", "train/leaf_instances", _LEAVES, endings=PNG),
        "phenobench:{}", 2, 3, "train/leaf_instances/a.png", "train/images/a.png",
    ),
    "phenobench semantics": Miniature(
        tree("val/images", "val/semantics", numbers8(1, 2, 3), endings=PNG),
        "phenobench:{}?split=val&labels=semantics", 2, 3, "val/semantics/a.png", "val/images/a.png",
        ("crop", "weed", "partial crop"),
    ),
    "suim": Miniature(
        tree("train_val/images", "train_val/masks", _SUIM, endings=(".jpg", ".bmp")),
        "suim:{}", 2, 3, "train_val/masks/a.bmp", "train_val/images/a.jpg", ("diver", "fish", "sea floor"),
    ),
    "suim test": Miniature(
        tree("TEST/images", "TEST/masks", _SUIM),
        "suim:{}?split=test", 2, 3, "TEST/masks/a.png", "TEST/images/a.jpg", ("diver", "fish", "sea floor"),
    ),
    "myfood": Miniature(
        tree("train", "train_ann", numbers8(1, 2, 9), endings=PNG),
        "myfood:{}", 2, 3, "train_ann/a.png", "train/a.png", (1, 2, 9),
    ),
    "soba": Miniature(
        make_soba, "soba:{}", 10, 4, "ADE/0-2.png", "ADE/0.jpg", ("object", "object", "object", "shadow"),
    ),
    "dram": Miniature(
        make_dram, "dram:{}", 2, 2,
        "labels/realism/corot/x.png", "test/realism/corot/x.jpg", ("horse", "person"),
    ),
    **{
        f"{name} {split}": Miniature(
            make_hqseg(name, split), f"{name}:{{}}?split={split}", 2 * len(places), 1,
            str(Path(places[0][0], places[0][2], f"{places[0][0][-2:]}_1.png")),
            str(Path(places[0][0], places[0][1], f"{places[0][0][-2:]}_1.jpg")),
        )
        for name, splits in HQSEG.items()
        for split, places in splits.items()
    },
}  # fmt: skip
"""By name of the miniature; its kind is the name's first word."""
