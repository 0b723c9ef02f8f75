"""Photos with one binary mask file each, and the sets of HQSeg-44K, which all look like that.

HQSeg-44K (Ke et al. 2023, Table 14) is six training sets and four validation sets in one folder; the
folder names here are those of its release, below its `data` folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from maskwright.data.dataset import Problem, SampleError
from maskwright.data.files import (
    MASK_SUFFIXES,
    Pair,
    PairedFiles,
    check_same_size,
    list_files,
    list_photos,
    pair_files,
    read_channel,
    require_folders,
)
from maskwright.errors import DatasetError
from maskwright.io.images import read_image
from maskwright.types import Sample

TREE = """\
  FOLDER/
    images/NAME.jpg      or .png, .tif …; another folder: images=DIR
    masks/NAME.png       or .tif, .bmp; another folder: masks=DIR; another ending: ending=_mask.png
or photos and masks in one folder: images=.&masks=.&ending=_mask.png"""

THRESHOLD = 128

HQSEG: Mapping[str, Mapping[str, Sequence[tuple[str, str, str]]]] = MappingProxyType(
    {
        "dis5k": {"train": [("DIS5K/DIS-TR", "im", "gt")], "val": [("DIS5K/DIS-VD", "im", "gt")]},
        "thinobject5k": {
            "train": [("thin_object_detection/ThinObject5K", "images_train", "masks_train")],
            "val": [("thin_object_detection/ThinObject5K", "images_test", "masks_test")],
        },
        "fss": {"train": [("cascade_psp/fss_all", "", "")]},
        "duts": {
            "train": [("cascade_psp/DUTS-TR", "", ""), ("cascade_psp/DUTS-TE", "", "")],
            "tr": [("cascade_psp/DUTS-TR", "", "")],
            "te": [("cascade_psp/DUTS-TE", "", "")],
        },
        "ecssd": {"train": [("cascade_psp/ecssd", "", "")]},
        "msra10k": {"train": [("cascade_psp/MSRA_10K", "", "")]},
        "coift": {"val": [("thin_object_detection/COIFT", "images", "masks")]},
        "hrsod": {"val": [("thin_object_detection/HRSOD", "images", "masks_max255")]},
    }
)
"""By set and split: folder, the photos' (.jpg) and the masks' (.png) folders in it; equal stems are pairs.

HQSeg-44K trains on both halves of DUTS; "tr" and "te" are its own training and test photos alone.
"""


class MaskPairs(PairedFiles):
    """Photos with one mask file each; an item has one mask, or none where the file is black.

    Args:
        pairs: the files.
        threshold: a pixel is in the mask when its value (of the first channel) is above this.
        unpaired: files without a partner.
    """

    def __init__(
        self, pairs: Sequence[Pair], *, threshold: int = THRESHOLD, unpaired: Sequence[Problem] = ()
    ) -> None:
        super().__init__(pairs, unpaired)
        self.threshold = threshold

    def read(self, index: int) -> Sample:
        """Decode item `index`.

        Raises:
            SampleError: also when the mask has values, but none above the threshold (masks of 0 and 1).
        """
        pair = self.pairs[index]
        image, values = read_image(pair.image), read_channel(pair.mask)
        check_same_size(pair, image, values.shape)
        mask = values > self.threshold
        if not mask.any() and (values > 0).any():
            message = (
                f"its largest value is {values.max():g}, so nothing is above the threshold {self.threshold}; "
                "for masks of 0 and 1 add threshold=0"
            )
            raise SampleError("below_threshold", pair.mask, message)
        masks = mask[None] if mask.any() else np.zeros((0, *mask.shape), bool)
        return Sample(image, masks, (1,) * len(masks), str(pair.mask))


def open_pairs(
    root: Path,
    *,
    images: str = "images",
    masks: str = "masks",
    ending: str = "",
    threshold: int = THRESHOLD,
) -> MaskPairs:
    """Open a folder of photos and masks with equal stems.

    Args:
        root: the dataset's folder.
        images: folder of the photos inside `root`.
        masks: folder of the masks; may be the same.
        ending: what follows the photo's stem in a mask's name, such as `_mask.png`; by default an extension.
        threshold: see `MaskPairs`.
    """
    require_folders("pairs", root, [images, masks], TREE)
    if (root / images).samefile(root / masks) and not ending:
        message = (
            "photos and masks share a folder, so say how masks are named: ending=_mask.png or ending=.png"
        )
        raise DatasetError(f"{root / masks}: {message}.")
    mask_files = list_files(root / masks, [ending] if ending else MASK_SUFFIXES)
    photos = list_photos(root / images, but=mask_files)
    pairs, problems = pair_files(photos, mask_files, mask_ending=ending)
    return MaskPairs(pairs, threshold=threshold, unpaired=problems)


def open_hqseg(name: str, root: Path, *, split: str | None = None) -> MaskPairs:
    """Open one of the sets of HQSeg-44K.

    Args:
        name: key of `HQSEG`.
        root: the folder that holds the release's folders; leading parts of their paths may be missing, so
            both `hqseg` and `hqseg/DIS5K` do for dis5k.
        split: "train" or "val"; by default the only one, or train.
    """
    splits = HQSEG[name]
    split = split or next(iter(splits))
    if split not in splits:
        raise DatasetError(f"{name} has no split {split!r}; HQSeg-44K uses it for {', '.join(splits)}.")
    pairs: list[Pair] = []
    problems: list[Problem] = []
    for folder, images, masks in splits[split]:
        base = _locate(name, root, folder, images, masks)
        found, alone = pair_files(list_files(base / images, [".jpg"]), list_files(base / masks, [".png"]))
        pairs += found
        problems += alone
    return MaskPairs(pairs, unpaired=problems)


def hqseg_tree(name: str) -> str:
    """The folders one set of HQSeg-44K is expected in."""
    of_folder: dict[tuple[str, str, str], list[str]] = {}
    for split, folders in HQSEG[name].items():
        for place in folders:
            of_folder.setdefault(place, []).append(split)
    lines = ["  FOLDER/"]
    for (folder, images, masks), splits in of_folder.items():
        lines.append(f"    {Path(folder, images, 'NAME.jpg').as_posix()}      split={' or '.join(splits)}")
        lines.append(f"    {Path(folder, masks, 'NAME.png').as_posix()}")
    return "\n".join(lines)


def _locate(name: str, root: Path, folder: str, images: str, masks: str) -> Path:
    parts = Path(folder).parts
    for drop in range(len(parts)):
        base = root.joinpath(*parts[drop:])
        if (base / images).is_dir() and (base / masks).is_dir():
            return base
    require_folders(name, root, [f"{folder}/{images}", f"{folder}/{masks}"], hqseg_tree(name))
    raise AssertionError("a folder is missing, so the line above raises")
