"""Folders of photos with one label map each, 8 or 16 bit: instances, or classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from maskwright.data.dataset import Problem, SampleError
from maskwright.data.files import (
    MASK_SUFFIXES,
    Pair,
    PairedFiles,
    check_same_size,
    first_folder,
    list_files,
    list_photos,
    pair_files,
    require_folders,
)
from maskwright.data.outlines import Shapes
from maskwright.data.segments import MAX_STACK, present_labels, split_labels, split_parts
from maskwright.io.images import read_image
from maskwright.io.masks import LabelMap, read_label_map
from maskwright.types import FloatArray, Image, Sample

TREE = """\
  FOLDER/
    images/NAME.jpg      or .png, .tif …; another folder: images=DIR
    labels/NAME.png      or masks/, .tif; another folder: labels=DIR; another ending: ending=_mask.png"""

LABEL_FOLDERS = ("labels", "masks")

Mode = Literal["instances", "classes"]


class LabelPairs(PairedFiles):
    """Pairs of a photo and a label map: one mask a label, or of classes optionally one a connected part.

    Args:
        pairs: the files.
        unpaired: files without a partner.
        mode: "instances": ids are the labels; "classes": the labels are categories as well.
        names: of classes; a label without a name stands for itself.
        components: in classes mode, split each class into its connected parts; ids then count from 1.
        background: labels that are no object.
        void: labels of pixels that must not be trusted: no mask, and uncertainty 1 there for every mask.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        unpaired: Iterable[Problem] = (),
        *,
        mode: Mode = "instances",
        names: Mapping[int, str] | None = None,
        components: bool = False,
        background: Sequence[int] = (0,),
        void: Sequence[int] = (),
    ) -> None:
        super().__init__(pairs, unpaired)
        self.classes = mode == "classes"
        self.names = names or {}
        self.components = components
        self.background = tuple(background)
        self.void = tuple(void)

    def labels(self, index: int) -> LabelMap:
        """The (H, W) label map of item `index`, of the size that its file has.

        Raises:
            FileError: naming the file, when it is no label map.
        """
        return read_label_map(self.pairs[index].mask)

    def category(self, label: int) -> str | int:
        """What a label stands for, where labels are classes."""
        return self.names.get(label, label)

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        pair = self.pairs[index]
        image, labels = read_image(pair.image), self.labels(index)
        check_same_size(pair, image, labels.shape)
        return self.sample(image, labels, str(pair.mask))

    def sample(self, image: Image, labels: LabelMap, source: str) -> Sample:
        """Make a sample of a photo and its (H, W) label map.

        Raises:
            SampleError: there are more masks than fit in memory.
        """
        left_out = {*self.background, *self.void}
        if (count := len(set(present_labels(labels)) - left_out)) * labels.size > MAX_STACK:
            message = f"has {count} labels, and as many masks of {image.size} do not fit in memory; cut it up"
            raise SampleError("too_many_masks", source, message)
        masks, ids = split_labels(labels, leave_out=left_out)
        categories = tuple(map(self.category, ids)) if self.classes else None
        if self.classes and self.components:
            masks, owners = split_parts(masks, ids)
            ids = tuple(range(1, len(masks) + 1))
            categories = tuple(map(self.category, owners))
        return Sample(
            image,
            masks,
            ids,
            source,
            categories=categories,
            uncertainty=self._uncertainty(labels, len(ids)),
            partition=self.classes and bool(masks.any(axis=0).all()),
        )

    def shapes(self, index: int) -> Shapes:
        """The regions of item `index`: its labels, those of the background among them."""
        return self.regions(self.labels(index))

    def regions(self, labels: LabelMap, image: Image | None = None) -> Shapes:
        """The regions of a (H, W) label map."""
        void = np.isin(labels, self.void) if self.void else None
        return Shapes(labels.shape, [labels], void=void, image=image)

    def _uncertainty(self, labels: LabelMap, count: int) -> FloatArray | None:
        if not self.void:
            return None
        # Shared by all masks: for a scene of hundreds of parts, copies would take 100 MB.
        return np.broadcast_to(np.isin(labels, self.void).astype(np.float32), (count, *labels.shape))


class LabelMaps(LabelPairs):
    """A folder of photos and one of label maps.

    Args:
        images: folder of the photos inside `root`.
        labels: folder of the label maps; by default `labels` or else `masks`.
        ending: what follows the photo's stem in a label map's name, such as `_mask.png`.
        mode: see `LabelPairs` for this, `components` and `background`.
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
        mode: Mode = "instances",
        components: bool = False,
        background: Sequence[int] = (0,),
        ignore: Sequence[int] = (),
        uncertain: Sequence[int] = (),
    ) -> None:
        labels = labels or first_folder(root, LABEL_FOLDERS)
        require_folders("labels", root, [images, labels], TREE)
        maps = list_files(root / labels, [ending] if ending else MASK_SUFFIXES)
        photos = list_photos(root / images, but=maps)
        super().__init__(
            *pair_files(photos, maps, mask_ending=ending),
            mode=mode,
            components=components,
            background=background,
            void=(*ignore, *uncertain),
        )
