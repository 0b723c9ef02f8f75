"""SA-1B as Meta publishes it: each photo with a JSON file of machine-made masks (Kirillov et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskwright.data.area import AreaFilter
from maskwright.data.dataset import SampleError
from maskwright.data.files import Pair, PairedFiles, check_same_size, pair_trees, require_folders
from maskwright.data.outlines import Shapes
from maskwright.errors import MaskError
from maskwright.io.files import read_json
from maskwright.io.images import read_header, read_image
from maskwright.io.rle import RLE, decode_all
from maskwright.types import Sample

TREE = """\
  FOLDER/                  in it or in folders below it, such as sa_000000/
    sa_1.jpg
    sa_1.json
or photos elsewhere, in the same folders below images=DIR"""


class SA1B(PairedFiles):
    """Photos with a JSON file each; a sample's ids are the annotations' ids.

    The files hold binary masks alone, so a sample has no soft masks and no uncertainty.

    Args:
        root: the folder.
        images: folder of the photos, if it is another one.
        min_ratio: keep masks of this size; see `AreaFilter`.
        max_ratio: keep masks that cover at most this share of their crop.
    """

    def __init__(
        self, root: Path, *, images: str | None = None, min_ratio: float = 1.0, max_ratio: float = 0.95
    ) -> None:
        require_folders("sa1b", root, [images] if images else [], TREE)
        self.filter = AreaFilter(min_ratio, max_ratio=max_ratio)
        pairs, problems = pair_trees(root / images if images else root, root, ".json")
        if images:  # where photos have a folder of their own, not all need be labelled
            problems = [problem for problem in problems if problem.code != "missing_mask"]
        super().__init__(pairs, problems)

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        pair = self.pairs[index]
        image = read_image(pair.image)
        found = list(self._masks(pair, image.size))
        masks = decode_all([mask for _, mask in found], image.size)
        return Sample(image, masks, tuple(name for name, _ in found), str(pair.mask))

    def shapes(self, index: int) -> Shapes:
        """The masks of item `index`, packed."""
        pair = self.pairs[index]
        size = read_header(pair.image).size
        return Shapes(size, (mask for _, mask in self._masks(pair, size)))

    def _masks(self, pair: Pair, size: tuple[int, int]) -> Iterator[tuple[int, RLE]]:
        """The masks that the filter keeps, each with its id."""
        for number, annotation in enumerate(_annotations(pair)):
            name, mask, (width, height) = _parse(pair, number, annotation, size)
            check_same_size(pair, size, mask.size)
            if self.filter.keeps(mask.area, width, height):
                yield name, mask


def _annotations(pair: Pair) -> list[dict[str, Any]]:
    content = read_json(pair.mask)
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list) or not all(isinstance(entry, dict) for entry in annotations):
        raise SampleError("malformed_mask", pair.mask, "has no list 'annotations', so it is not of SA-1B")
    return annotations


def _parse(
    pair: Pair, number: int, annotation: dict[str, Any], size: tuple[int, int]
) -> tuple[int, RLE, tuple[int, int]]:
    """A mask's id, the mask, and the width and height of the crop it was found in."""
    try:
        name = int(annotation.get("id", number))
        mask = RLE.from_coco(annotation.get("segmentation"))
        _, _, width, height = (int(value) for value in annotation.get("crop_box", (0, 0, *size[::-1])))
    except (MaskError, TypeError, ValueError, OverflowError) as error:
        raise SampleError("malformed_mask", f"{pair.mask}: annotation {number}", str(error)) from error
    if width < 1 or height < 1:
        message = f"its crop_box is {width}×{height} pixels"
        raise SampleError("malformed_mask", f"{pair.mask}: annotation {number}", message)
    return name, mask, (width, height)
