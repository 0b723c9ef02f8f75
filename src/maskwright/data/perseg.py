"""PerSeg: photos of one object each, a folder an object (Zhang et al. 2023, PerSAM)."""

from __future__ import annotations

from pathlib import Path

from maskwright.data.files import Pair, PairedFiles, check_same_size, list_photos, pair_trees, require_folders
from maskwright.data.segments import split_labels
from maskwright.errors import DatasetError
from maskwright.io.images import read_image
from maskwright.io.masks import read_object
from maskwright.types import Sample

TREE = """\
  FOLDER/
    Images/OBJECT/00.jpg
    Annotations/OBJECT/00.png     any value but 0 is the object"""
IMAGES, MASKS = "Images", "Annotations"


def reference_pairs(root: Path, stem: str) -> dict[str, Pair]:
    """Of each object the reference: its photo and mask of this name, such as "00".

    The other photos need no masks.

    Raises:
        DatasetError: a folder is missing, or an object has no such photo or mask.
    """
    require_folders("perseg", root, (IMAGES, MASKS), TREE)
    references = {}
    for folder in sorted(path for path in (root / IMAGES).iterdir() if path.is_dir()):
        if folder.name.startswith("."):
            continue
        photos = [path for path in list_photos(folder) if path.stem == stem]
        mask = root / MASKS / folder.name / f"{stem}.png"
        if len(photos) != 1 or not mask.is_file():
            raise DatasetError(f"{folder.name} needs one photo {stem!r} in {folder} with its mask {mask}.")
        references[folder.name] = Pair(photos[0], mask)
    return references


class PerSeg(PairedFiles):
    """Photos of one object each; a sample's category is the object's name, which is that of its folder."""

    def __init__(self, root: Path) -> None:
        require_folders("perseg", root, (IMAGES, MASKS), TREE)
        pairs, unpaired = pair_trees(root / IMAGES, root / MASKS, ".png")
        super().__init__(pairs, unpaired)

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        pair = self.pairs[index]
        image = read_image(pair.image)
        mask = read_object(pair.mask)
        check_same_size(pair, image, mask.shape)
        masks, ids = split_labels(mask.astype("int32"), leave_out=(0,))
        return Sample(image, masks, ids, str(pair.mask), categories=(pair.image.parent.name,) * len(ids))
