"""DAVIS: video frames with masks of one object (2016, Perazzi et al.) or many (2017, Pont-Tuset et al.)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskwright.data.dataset import Problem
from maskwright.data.files import (
    Pair,
    PairedFiles,
    check_same_size,
    list_files,
    pair_files,
    require_folders,
)
from maskwright.data.segments import split_labels
from maskwright.errors import DatasetError, suggestion
from maskwright.io.images import read_image
from maskwright.io.masks import LabelMap, read_label_map, read_mask
from maskwright.types import Sample

TREE = """\
  FOLDER/
    JPEGImages/480p/SEQUENCE/00000.jpg
    Annotations/480p/SEQUENCE/00000.png
or
  FOLDER/
    images/SEQUENCE/00000.jpg
    masks/SEQUENCE/00000.png"""

LAYOUTS = (("JPEGImages/480p", "Annotations/480p"), ("images", "masks"))


class DAVIS(PairedFiles):
    """Frames of DAVIS 2016 (not `multi`: all that is not 0 is the object) or 2017 (a mask an object).

    Frames are listed from the annotation files: numbers may be missing, and frames without annotation
    are no items. A frame in which no object is seen has no masks.

    Args:
        sequences: only these, in this order; empty means all, sorted.
        exclude: all but these.
        every: only frames whose number is a multiple of it (in a complete sequence, every K-th frame).
    """

    def __init__(
        self,
        root: Path,
        *,
        multi: bool,
        sequences: Sequence[str] = (),
        exclude: Sequence[str] = (),
        every: int = 1,
    ) -> None:
        self.multi = multi
        images, masks = find_layout("davis2017" if multi else "davis2016", root)
        found: list[Pair] = []
        self.sequence_of: list[str] = []
        problems: list[Problem] = []
        for name in choose(masks, sequences, exclude):
            pairs, alone = _list_frames(images / name, masks / name)
            kept = [pair for pair in pairs if every == 1 or _frame_number(pair.mask) % every == 0]
            found += kept
            self.sequence_of += [name] * len(kept)
            problems += alone
        super().__init__(found, problems)

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        pair = self.pairs[index]
        image = read_image(pair.image)
        labels = read_label_map(pair.mask) if self.multi else _read_object(pair.mask)
        check_same_size(pair, image, labels.shape)
        masks, ids = split_labels(labels, leave_out=(0,))
        return Sample(image, masks, ids, str(pair.mask))


def find_layout(kind: str, root: Path) -> tuple[Path, Path]:
    """The folders of photos and of annotations of a DAVIS folder, each with a folder a sequence.

    Raises:
        DatasetError: naming what is missing.
    """
    layout = next((pair for pair in LAYOUTS if all((root / part).is_dir() for part in pair)), LAYOUTS[0])
    require_folders(kind, root, layout, TREE)
    return root / layout[0], root / layout[1]


def choose(folder: Path, sequences: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """The names of the sequences in a folder, or those of them that are wanted.

    Raises:
        DatasetError: for a name that is not there.
    """
    known = sorted(path.name for path in folder.iterdir() if path.is_dir())
    for name in (*sequences, *exclude):
        if name not in known:
            raise DatasetError(
                f"{folder} has no sequence {name!r}; it has {', '.join(known)}.{suggestion(name, known)}"
            )
    return [name for name in (sequences or known) if name not in exclude]


def _read_object(path: Path) -> LabelMap:
    return read_mask(path, threshold=0).astype(np.int32)


def _list_frames(photos: Path, masks: Path) -> tuple[list[Pair], list[Problem]]:
    images = list_files(photos, [".jpg", ".png"]) if photos.is_dir() else []
    pairs, problems = pair_files(images, list_files(masks, [".png"]))
    return pairs, [problem for problem in problems if problem.code != "missing_mask"]


def _frame_number(path: Path) -> int:
    if not path.stem.isdecimal():
        raise DatasetError(f"{path}: the name is not a frame number, so every=K cannot choose frames.")
    return int(path.stem)
