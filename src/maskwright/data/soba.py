"""SOBA: photos with a map of their objects and one of the shadows these cast (Wang et al., CVPR 2020)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskwright.data.colours import read_codes
from maskwright.data.dataset import Problem
from maskwright.data.files import (
    Pair,
    PairedFiles,
    check_same_size,
    list_files,
    list_folders,
    list_photos,
    pair_files,
    require_folders,
)
from maskwright.data.outlines import Shapes
from maskwright.data.segments import split_labels
from maskwright.errors import DatasetError
from maskwright.io.images import read_header, read_image
from maskwright.types import Sample

TREE = """\
  FOLDER/
    ADE/1.jpg         in folders of any names
    ADE/1-2.png       objects: a number or colour each
    ADE/1-3.png       shadows, likewise"""

SPLITS = ("train", "val")
SHADOWS = ("keep", "skip", "only")
SHADOW = 1 << 25
"""Added to a shadow's number, so that it is no object's."""
_TRAIN = 0.84


class SOBA(PairedFiles):
    """Photos with their objects and the shadows they cast, of categories "object" and "shadow".

    A shadow's id is the number in its map plus `SHADOW`. Objects and shadows may overlap.

    Args:
        root: the folder.
        split: "train": the first 84 % of each folder's photos by name, or "val": the rest.
        shadows: "keep", "skip" or "only".
    """

    def __init__(self, root: Path, *, split: str = "train", shadows: str = "keep") -> None:
        require_folders("soba", root, [], TREE)
        pairs: list[Pair] = []
        problems: list[Problem] = []
        for folder in list_folders(root):
            objects, cast = list_files(folder, ["-2.png"]), list_files(folder, ["-3.png"])
            photos = list_photos(folder, but=(*objects, *cast))
            cut = round(_TRAIN * len(photos))
            others = {str(photo) for photo in (photos[cut:] if split == "train" else photos[:cut])}
            found, alone = pair_files(photos, objects, mask_ending="-2.png")
            _, shadowless = pair_files(photos, cast, mask_ending="-3.png")
            incomplete = {problem.path for problem in shadowless} | others
            pairs += [pair for pair in found if str(pair.image) not in incomplete]
            problems += [problem for problem in (*alone, *shadowless) if problem.path not in others]
        if not pairs and not problems:
            raise DatasetError(f"{root} has no photos for {split}. SOBA looks like this:\n{TREE}")
        super().__init__(pairs, problems)
        self.shadows = shadows

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        pair = self.pairs[index]
        image = read_image(pair.image)
        stacks, ids, names = [np.zeros((0, *image.size), bool)], list[int](), list[str]()
        for name, path in self._maps(pair):
            labels = read_codes(path)
            check_same_size(Pair(pair.image, path), image, labels.shape)
            masks, numbers = split_labels(labels, leave_out=(0,))
            stacks.append(masks)
            ids += [number + (SHADOW if name == "shadow" else 0) for number in numbers]
            names += [name] * len(numbers)
        return Sample(image, np.concatenate(stacks), tuple(ids), str(pair.mask), categories=tuple(names))

    def shapes(self, index: int) -> Shapes:
        """The objects and the shadows of item `index`, and what is beside them."""
        pair = self.pairs[index]
        size = read_header(pair.image).size
        maps = [(path, read_codes(path)) for _, path in self._maps(pair)]
        for path, labels in maps:
            check_same_size(Pair(pair.image, path), size, labels.shape)
        return Shapes(size, [labels for _, labels in maps])

    def _maps(self, pair: Pair) -> list[tuple[str, Path]]:
        """What the wanted maps hold, and the maps."""
        objects = ("object", pair.mask)
        shadows = ("shadow", pair.image.with_name(f"{pair.image.stem}-3.png"))
        return {"keep": [objects, shadows], "skip": [objects], "only": [shadows]}[self.shadows]
