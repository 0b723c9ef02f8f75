"""PASCAL Panoptic Parts (de Geus et al., CVPR 2021): classes, objects and parts in one map a photo.

A number (uid) of one or two digits is a class; of four or five, a class and the object's number (3 digits);
of six or seven, a class, the object and the class of one of its parts (2 digits), 00 for a part nobody named.
0 is unlabelled. Source: the project's page on its label format.

H, W size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np

from maskwright.data.dataset import SampleError
from maskwright.data.files import first_folder, list_files, list_photos, pair_files, require_folders
from maskwright.data.labels import LabelPairs
from maskwright.io.masks import LabelMap, read_label_map

TREE = """\
  FOLDER/
    VOC2012/JPEGImages/2008_000008.jpg …     or VOC2010/…, JPEGImages/; elsewhere: images=DIR
    labels/training/2008_000008.tif …        or training/; split=val: validation/"""

SPLITS = {"train": "training", "val": "validation"}
Level = Literal["parts", "instances", "classes"]
LEVELS: tuple[Level, ...] = get_args(Level)

_IMAGES = ("VOC2012/JPEGImages", "VOC2010/JPEGImages", "JPEGImages")
_CLASSES, _OBJECTS, _PARTS = 100, 100_000, 10_000_000


class PanopticParts(LabelPairs):
    """Photos with the masks of one level; ids are uids, categories the numbers of their classes.

    Args:
        root: the folder.
        split: "train" or "val".
        level: "parts": the finest there is at each pixel; "instances": objects, and classes without objects;
            "classes".
        images: folder of the photos inside `root`.
    """

    def __init__(
        self, root: Path, *, split: str = "train", level: Level = "parts", images: str | None = None
    ) -> None:
        folder = first_folder(root, (f"labels/{SPLITS[split]}", SPLITS[split]))
        images = images or first_folder(root, _IMAGES)
        require_folders("pascalparts", root, [images, folder], TREE)
        files = list_files(root / folder, [".tif", ".tiff", ".png"])
        pairs, problems = pair_files(list_photos(root / images), files)
        # The folder of photos is all of PASCAL VOC's; not all have a map.
        problems = [problem for problem in problems if problem.code != "missing_mask"]
        super().__init__(pairs, problems, mode="classes")
        self.level: Level = level

    def labels(self, index: int) -> LabelMap:
        """The (H, W) map of uids at the level asked for."""
        path = self.pairs[index].mask
        uids = read_label_map(path)
        odd = (uids >= _PARTS) | ((uids >= _CLASSES) & (uids < 1000))
        if odd.any():
            number = int(uids[odd][0])
            raise SampleError("malformed_mask", path, f"has the number {number}, which encodes no class")
        return at_level(uids, self.level)

    def category(self, label: int) -> int:
        """The class of a uid."""
        return label if label < _CLASSES else label // (1000 if label < _OBJECTS else _OBJECTS)


def at_level(uids: LabelMap, level: Level) -> LabelMap:
    """Cut the digits of (H, W) uids that are finer than a level.

    At "parts", a part without a name counts as the rest of its object.
    """
    parts = uids >= _OBJECTS
    if level == "parts":
        return np.where(parts & (uids % 100 == 0), uids // 100, uids)
    objects = np.where(parts, uids // 100, uids)
    return objects if level == "instances" else np.where(objects >= _CLASSES, objects // 1000, objects)
