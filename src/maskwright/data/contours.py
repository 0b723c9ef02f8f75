"""Sets whose labels are boundaries, drawn as lines: WireFrame (Huang et al., CVPR 2018) as DirectSAM has it.

There are no segments to take an outline of: the stored line is the boundary, as wide as it was drawn.
"""

from __future__ import annotations

from pathlib import Path

from maskwright.data.files import PairedFiles, check_same_size
from maskwright.data.trees import Part, pair_parts
from maskwright.io.images import read_image
from maskwright.io.masks import read_object
from maskwright.types import BoolArray, Sample

WIREFRAME_TREE = """\
  FOLDER/
    preprocessed/train/image/NAME.jpg      or .png; validation/… for split=val
    preprocessed/train/label/NAME.png      the lines, white on black"""

SPLITS = {"train": "train", "val": "validation"}


class ContourMaps(PairedFiles):
    """Photos with a drawing of their boundaries; a sample's one mask is the lines, of category "boundary"."""

    def boundary(self, index: int) -> BoolArray:
        """The (H, W) lines of item `index` as they were drawn.

        Raises:
            FileError: naming the file, when it holds more than one colour.
        """
        return read_object(self.pairs[index].mask)

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        pair = self.pairs[index]
        image, lines = read_image(pair.image), self.boundary(index)
        check_same_size(pair, image, lines.shape)
        return Sample(image, lines[None], (1,), str(pair.mask), categories=("boundary",))


def open_wireframe(root: Path, *, split: str = "train") -> ContourMaps:
    """WireFrame's photos with the lines of rooms and buildings.

    Args:
        root: the folder.
        split: "train" or "val".

    Raises:
        DatasetError: naming the folder that is missing.
    """
    part = Part(f"preprocessed/{SPLITS[split]}", ("image",), ("label",))
    return ContourMaps(*pair_parts("wireframe", root, [part], WIREFRAME_TREE))
