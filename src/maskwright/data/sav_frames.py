"""SA-V's validation and test sets: folders of frames, with a folder of binary masks for each object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path

import numpy as np

from maskwright.data.dataset import Dataset, Problem
from maskwright.data.files import Pair, check_same_size, list_files, read_lines, require_folders
from maskwright.data.frames import PHOTOS, folders, frame_number, present
from maskwright.io.images import read_image
from maskwright.io.masks import read_mask
from maskwright.types import BoolArray, Sample

STEP = 4
"""Of so many frames one is annotated."""

TREE = """\
  FOLDER/
    sav_train/sav_000/sav_000001.mp4                    for split=train
                      sav_000001_manual.json, sav_000001_auto.json
    sav_val/JPEGImages_24fps/VIDEO/00000.jpg            for split=val; sav_test for split=test
    sav_val/Annotations_6fps/VIDEO/OBJECT/00000.png
    sav_val/sav_val.txt                                 which videos there are; without it, all folders"""


class SAVFrames(Dataset):
    """The annotated frames of the validation or the test set, a mask an object that is seen.

    Masks may overlap. Ids are the names of the objects' folders as numbers.

    Args:
        split: "val" or "test".
        every: only every so many-th of the annotated frames of a video, by their numbers.
    """

    def __init__(self, root: Path, split: str, *, every: int = 1) -> None:
        name = f"sav_{split}"
        parts = [f"{name}/JPEGImages_24fps", f"{name}/Annotations_6fps"]
        require_folders("sav", root, parts, TREE)
        images, masks = root / parts[0], root / parts[1]
        listed = root / name / f"{name}.txt"
        if listed.exists():
            videos, problems = present(listed, read_lines(listed), masks)
        else:
            videos, problems = folders(masks), []
        self.items: list[tuple[Path, dict[int, Path]]] = []
        for video in videos:
            photos = list_files(images / video, PHOTOS) if (images / video).is_dir() else []
            self.items += _annotated(photos, masks / video, every, problems)
        super().__init__(problems)

    def __len__(self) -> int:
        return len(self.items)

    def image_path(self, index: int) -> Path:
        """The frame of item `index`."""
        return self.items[index][0]

    def mask_path(self, index: int) -> Path:
        """The mask of the first object of item `index`."""
        return next(iter(self.items[index][1].values()))

    def group(self, index: int) -> str:
        """The folder of the video that item `index` belongs to."""
        return str(self.items[index][0].parent)

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        photo, files = self.items[index]
        image = read_image(photo)
        masks = np.zeros((len(files), *image.size), bool)
        for row, path in zip(masks, files.values(), strict=True):
            mask = read_mask(path, threshold=0)
            check_same_size(Pair(photo, path), image, mask.shape)
            row[:] = mask
        seen: BoolArray = np.any(masks, axis=(1, 2))
        ids = tuple(compress(files, seen.tolist()))
        return Sample(image, masks[seen], ids, str(self.mask_path(index)))


def _annotated(
    photos: Sequence[Path], folder: Path, every: int, problems: list[Problem]
) -> Iterator[tuple[Path, dict[int, Path]]]:
    """The annotated frames of a video, each with its mask files by object."""
    frames: dict[str, dict[int, Path]] = {path.stem: {} for path in photos}
    for name in folders(folder):
        if not name.isdecimal():
            problems.append(
                Problem("malformed_mask", str(folder / name), "is no object: its name is no number")
            )
            continue
        for path in list_files(folder / name, [".png"]):
            if path.stem in frames:
                frames[path.stem][int(name)] = path
            else:
                problems.append(Problem("missing_image", str(path), "belongs to no frame"))
    for photo in photos:
        if frames[photo.stem] and (every == 1 or frame_number(photo) % (STEP * every) == 0):
            yield photo, frames[photo.stem]
