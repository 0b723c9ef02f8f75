"""WireFrame: rooms and buildings with their lines drawn (Huang et al., CVPR 2018), as DirectSAM prepared it.

There are no segments to take an outline of: the stored lines are the boundary, as wide as they were drawn.
"""

from __future__ import annotations

from pathlib import Path

from maskwright.data.dataset import Contours
from maskwright.data.files import PairedFiles, check_same_size
from maskwright.data.trees import Part, pair_parts
from maskwright.io.images import read_header, read_image
from maskwright.io.masks import read_object
from maskwright.types import Sample

TREE = """\
  FOLDER/
    preprocessed/train/image/NAME.jpg      or .png; validation/… for split=val
    preprocessed/train/label/NAME.png      the lines, white on black"""

SPLITS = {"train": "train", "val": "validation"}


class WireFrame(PairedFiles):
    """Photos with a drawing of their boundaries; a sample's one mask is the lines, of category "boundary"."""

    def contours(self, index: int) -> Contours:
        """The lines of item `index` as they were drawn."""
        pair = self.pairs[index]
        lines = read_object(pair.mask)
        height, width = read_header(pair.image).size
        check_same_size(pair, (height, width), lines.shape)
        return Contours([lines])

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        pair = self.pairs[index]
        image = read_image(pair.image)
        (lines,) = self.contours(index).maps
        return Sample(image, lines[None], (1,), str(pair.mask), categories=("boundary",))


def open_wireframe(root: Path, *, split: str = "train") -> WireFrame:
    """WireFrame's photos with the lines of rooms and buildings.

    Args:
        root: the folder.
        split: "train" or "val".

    Raises:
        DatasetError: naming the folder that is missing.
    """
    part = Part(SPLITS[split], ("image",), ("label",), wrapper="preprocessed")
    return WireFrame(*pair_parts("wireframe", root, [part], TREE))
