"""People and what they wear: CIHP, CelebAMask-HQ, Fashionpedia.

CIHP (Gong et al. 2018) has maps of body parts by person, by class, and of whole people. CelebAMask-HQ (Lee
et al. 2020) has one binary file a part of each face, at half the side of its photo. Fashionpedia (Jia et al.
2020) is a COCO file; its `iscrowd` marks an object drawn as run lengths, not a crowd.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from maskwright.data.coco import COCOInstances
from maskwright.data.dataset import Dataset, Problem, SampleError
from maskwright.data.files import first_folder, list_below, list_files, require_folders
from maskwright.data.tree_sets import CIHP
from maskwright.data.trees import CodedPairs, Part, Tree, open_tree
from maskwright.errors import DatasetError
from maskwright.io.images import read_image
from maskwright.io.masks import read_mask
from maskwright.types import BoolArray, Sample

CIHP_TREE = """\
  FOLDER/                               or instance-level_human_parsing/ in it
    Training/Images/0000006.jpg         Validation/… for split=val
    Training/Instance_ids/0000006.png   a number for each part of each person
    Training/Category_ids/, Human_ids/  with labels=categories or labels=humans"""

CELEBA_TREE = """\
  FOLDER/                               CelebAMask-HQ
    CelebA-HQ-img/0.jpg
    CelebAMask-HQ-mask-anno/0/00000_hair.png      one file a part of a face, in folders 0 to 14"""

FASHIONPEDIA_TREE = """\
  FOLDER/
    instances_attributes_train2020.json           in it or in annotations/; …val2020.json for split=val
    train/NAME.jpg                                test/NAME.jpg for split=val; or in images/"""

CIHP_LABELS = {"instances": "Instance_ids", "categories": "Category_ids", "humans": "Human_ids"}
SPLITS = ("train", "val")
_FASHIONPEDIA_PHOTOS = {"train": ("train", "train2020"), "val": ("test", "val_test2020", "val2020")}
_PART = re.compile(r"(\d+)_([a-z_]+)\.png", re.IGNORECASE)


def open_cihp(root: Path, *, split: str = "train", labels: str = "instances") -> CodedPairs:
    """CIHP's photos with maps of one kind.

    Args:
        root: the folder.
        split: "train" or "val".
        labels: key of `CIHP_LABELS`; only of "categories" do samples have categories.

    Raises:
        DatasetError: naming the folder that is missing.
    """
    folder = {"train": "Training", "val": "Validation"}[split]
    part = Part(folder, ("Images",), (CIHP_LABELS[labels],), wrapper="instance-level_human_parsing")
    tree = Tree(
        splits={split: [part]},
        shape=CIHP_TREE,
        mode="classes" if labels == "categories" else "instances",
        names=CIHP,
    )
    return open_tree("cihp", tree, root)


def open_fashionpedia(
    root: Path, *, split: str = "train", crowd: Literal["skip", "keep"] = "keep", images: str | None = None
) -> COCOInstances:
    """Fashionpedia's photos with outlines of garments and their parts.

    Args:
        root: the folder.
        split: "train" or "val", whose photos are those of the release's folder `test`.
        crowd: "keep" or "skip" what `iscrowd` marks: here objects drawn as run lengths.
        images: folder of the photos, in place of the split's own.

    Raises:
        DatasetError: naming what is missing.
    """
    name = f"instances_attributes_{split}2020.json"
    files = [name for name in (name, f"annotations/{name}") if (root / name).is_file()]
    if not files:
        require_folders("fashionpedia", root, [], FASHIONPEDIA_TREE)
        raise DatasetError(f"{root} has no {name}. Fashionpedia looks like this:\n{FASHIONPEDIA_TREE}")
    inner, *outer = _FASHIONPEDIA_PHOTOS[split]
    folders = [
        f"{above}{between}{inner}" for above in ("", "images/") for between in ("", *(f"{o}/" for o in outer))
    ]
    images = images or first_folder(root, folders)
    return COCOInstances(root, annotations=files[0], images=images, crowd=crowd)


@dataclass(frozen=True)
class _Face:
    photo: Path
    parts: Sequence[tuple[str, Path]]


class CelebAMaskHQ(Dataset):
    """Faces with one mask a part; masks may overlap, and ids count the parts from 1.

    Masks are enlarged to the photo, whose sides are a whole number of times theirs, each pixel to a square.
    """

    def __init__(self, root: Path) -> None:
        folders = ("CelebA-HQ-img", "CelebAMask-HQ-mask-anno")
        require_folders("celeba", root, folders, CELEBA_TREE)
        photos = list_files(root / folders[0], [".jpg", ".png"])
        numbered = {int(photo.stem): photo for photo in photos if photo.stem.isdecimal()}
        parts: dict[int, list[tuple[str, Path]]] = {}
        problems = [
            Problem("missing_mask", str(photo), "is not named by a number, as its masks are")
            for photo in photos
            if not photo.stem.isdecimal()
        ]
        for path in list_below(root / folders[1], [".png"]):
            named = _PART.fullmatch(path.name)
            if not named or int(named[1]) not in numbered:
                problems.append(Problem("missing_image", str(path), "belongs to no image"))
                continue
            parts.setdefault(int(named[1]), []).append((named[2].lower(), path))
        for number, photo in sorted(numbered.items()):
            if number not in parts:
                problems.append(Problem("missing_mask", str(photo), f"has no mask {number:05d}_….png"))
        super().__init__(problems)
        self.folder = root / folders[1]
        self.faces = [_Face(photo, parts[k]) for k, photo in sorted(numbered.items()) if k in parts]

    def __len__(self) -> int:
        return len(self.faces)

    def image_path(self, index: int) -> Path:
        """File of the photo of item `index`."""
        return self.faces[index].photo

    def mask_path(self, index: int) -> Path:
        """Folder with the masks of item `index`."""
        return self.faces[index].parts[0][1].parent

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        face = self.faces[index]
        image = read_image(face.photo)
        masks = np.zeros((len(face.parts), *image.size), bool)
        for row, (_, path) in zip(masks, face.parts, strict=True):
            row[:] = _enlarge(read_mask(path), image.size, path)
        source = f"{self.mask_path(index)}[{face.photo.stem}]"
        names = tuple(name for name, _ in face.parts)
        return Sample(image, masks, tuple(range(1, len(masks) + 1)), source, categories=names)


def _enlarge(mask: BoolArray, size: tuple[int, int], path: Path) -> BoolArray:
    """Each pixel of a mask becomes a square, so that it fills a photo of `size`."""
    times = size[0] // mask.shape[0]
    if times < 1 or size != (mask.shape[0] * times, mask.shape[1] * times):
        message = (
            f"is {mask.shape[1]}×{mask.shape[0]}, and the photo of {size[1]}×{size[0]} is no multiple of it"
        )
        raise SampleError("size_mismatch", path, message)
    return mask.repeat(times, axis=0).repeat(times, axis=1)
