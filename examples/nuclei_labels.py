"""Write photos and label maps from the Data Science Bowl's folders, one an image, with one PNG a nucleus.

    python examples/nuclei_labels.py stage1_train DSB2018

`stage1_train/ID/images/ID.png` becomes `DSB2018/images/ID.png`, and `stage1_train/ID/masks/*.png` together
`DSB2018/labels/ID.png`, 16 bits, which numbers the nuclei from 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from maskwright.errors import MaskwrightError
from maskwright.io.files import make_folder
from maskwright.io.images import read_image, write_png
from maskwright.io.masks import masks_to_labels, read_object, write_label_map


def main() -> int:
    """Convert every folder; 1 if one could not be read."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder with one folder an image, such as stage1_train")
    parser.add_argument("out", type=Path, help="folder for images/ and labels/")
    options = parser.parse_args()
    folders = sorted(path.parent for path in options.source.glob("*/images"))
    if not folders:
        parser.error(f"{options.source} holds no folder with images/ in it.")
    for name in ("images", "labels"):
        make_folder(options.out / name)
    failed = 0
    for folder in folders:
        try:
            convert(folder, options.out)
        except MaskwrightError as error:
            failed += 1
            print(error, file=sys.stderr)
    print(f"{len(folders) - failed} of {len(folders)} images: {options.out}")
    return int(failed > 0)


def convert(folder: Path, out: Path) -> None:
    """One image and its nuclei."""
    name = f"{folder.name}.png"
    image = read_image(folder / "images" / name)
    masks = [read_object(path) for path in sorted((folder / "masks").glob("*.png"))]
    stacked = np.stack(masks) if masks else np.zeros((0, *image.size), bool)
    write_png(out / "images" / name, image.pixels)
    write_label_map(out / "labels" / name, masks_to_labels(stacked))


if __name__ == "__main__":
    sys.exit(main())
