"""Folders of photos with one label map each, 8 or 16 bit: instances, or classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from maskwright.data.files import (
    MASK_SUFFIXES,
    PairedFiles,
    check_same_size,
    list_files,
    list_photos,
    pair_files,
    require_folders,
)
from maskwright.data.outlines import Shapes
from maskwright.data.segments import split_labels, split_parts
from maskwright.io.images import read_image
from maskwright.io.masks import LabelMap, read_label_map
from maskwright.types import FloatArray, Sample

TREE = """\
  FOLDER/
    images/NAME.jpg      or .png, .tif …; another folder: images=DIR
    labels/NAME.png      or masks/, .tif; another folder: labels=DIR; another ending: ending=_mask.png"""

LABEL_FOLDERS = ("labels", "masks")


class LabelMaps(PairedFiles):
    """Photos with label maps: one mask a label, or in classes mode optionally one a connected part.

    Args:
        images: folder of the photos inside `root`.
        labels: folder of the label maps; by default `labels` or else `masks`.
        ending: what follows the photo's stem in a label map's name, such as `_mask.png`.
        mode: "instances": ids are the labels; "classes": the labels are categories as well.
        components: in classes mode, split each class into its connected parts; ids then count from 1.
        background: labels that are no object.
        ignore: labels of pixels that nobody labelled: no mask, and uncertainty 1 there for every mask.
        uncertain: labels of pixels that may or may not belong to the object, such as the border in a
            trimap: treated like `ignore`.
    """

    def __init__(
        self,
        root: Path,
        *,
        images: str = "images",
        labels: str | None = None,
        ending: str = "",
        mode: Literal["instances", "classes"] = "instances",
        components: bool = False,
        background: Sequence[int] = (0,),
        ignore: Sequence[int] = (),
        uncertain: Sequence[int] = (),
    ) -> None:
        labels = labels or next((name for name in LABEL_FOLDERS if (root / name).is_dir()), LABEL_FOLDERS[0])
        require_folders("labels", root, [images, labels], TREE)
        maps = list_files(root / labels, [ending] if ending else MASK_SUFFIXES)
        photos = list_photos(root / images, but=maps)
        super().__init__(*pair_files(photos, maps, mask_ending=ending))
        self.classes = mode == "classes"
        self.components = components
        self.background = tuple(background)
        self.void = (*ignore, *uncertain)

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        pair = self.pairs[index]
        image, labels = read_image(pair.image), read_label_map(pair.mask)
        check_same_size(pair, image, labels.shape)
        masks, ids = split_labels(labels, leave_out=(*self.background, *self.void))
        categories: tuple[str | int, ...] | None = ids if self.classes else None
        if self.classes and self.components:
            masks, categories = split_parts(masks, ids)
            ids = tuple(range(1, len(masks) + 1))
        return Sample(
            image,
            masks,
            ids,
            str(pair.mask),
            categories=categories,
            uncertainty=self._uncertainty(labels, len(ids)),
            partition=self.classes and bool(masks.any(axis=0).all()),
        )

    def shapes(self, index: int) -> Shapes:
        """The regions of item `index`: its labels, those of the background among them."""
        labels = read_label_map(self.pairs[index].mask)
        return Shapes(labels.shape, [labels], void=np.isin(labels, self.void) if self.void else None)

    def _uncertainty(self, labels: LabelMap, count: int) -> FloatArray | None:
        if not self.void:
            return None
        # Shared by all masks: for a scene of hundreds of parts, copies would take 100 MB.
        return np.broadcast_to(np.isin(labels, self.void).astype(np.float32), (count, *labels.shape))
