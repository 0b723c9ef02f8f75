"""Photos without annotations, to be labelled by a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskwright.data.dataset import Dataset
from maskwright.data.files import list_below, require_folders
from maskwright.io.images import read_image
from maskwright.io.inputs import IMAGE_SUFFIXES
from maskwright.types import Sample

TREE = """\
  FOLDER/
    NAME.jpg      or .png, .tif …; here or in folders below"""


class Photos(Dataset):
    """The photos in a folder and all folders below it, by their paths; their samples have no masks."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        require_folders("photos", root, [], TREE)
        self.paths = list_below(root, IMAGE_SUFFIXES)

    def __len__(self) -> int:
        return len(self.paths)

    def image_path(self, index: int) -> Path:
        """File of item `index`."""
        return self.paths[index]

    def mask_path(self, index: int) -> Path:
        """The same file: there is no other."""
        return self.paths[index]

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        image = read_image(self.paths[index])
        return Sample(image, np.zeros((0, *image.size), np.bool_), (), str(self.paths[index]))
