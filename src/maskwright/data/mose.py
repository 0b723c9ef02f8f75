"""MOSE: videos of many objects that hide each other (Ding et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskwright.data.dataset import Problem
from maskwright.data.files import Pair, list_files, require_folders
from maskwright.data.frames import (
    PHOTOS,
    FrameFolders,
    choose,
    every_frame,
    folders,
    list_frames,
    present,
)
from maskwright.errors import DatasetError
from maskwright.io.files import read_json

SPLITS = ("train", "valid")
TREE = """\
  FOLDER/
    train/JPEGImages/VIDEO/00000.jpg       valid/… for split=valid
    train/Annotations/VIDEO/00000.png      of valid, the first frame only
    meta_train.json                        which videos there are; without it, all folders"""


class MOSE(FrameFolders):
    """Frames of MOSE, a mask an object; only annotated frames are items.

    Where there is a meta file, its videos must be there, with as many frames as it says.

    Args:
        split: "train" or "valid".
        sequences: only these videos, in this order; empty means all, sorted.
        exclude: all but these.
        every: only frames whose number is a multiple of it.
    """

    def __init__(
        self,
        root: Path,
        *,
        split: str = "train",
        sequences: Sequence[str] = (),
        exclude: Sequence[str] = (),
        every: int = 1,
    ) -> None:
        require_folders("mose", root, [f"{split}/JPEGImages", f"{split}/Annotations"], TREE)
        images, masks = root / split / "JPEGImages", root / split / "Annotations"
        meta = root / f"meta_{split}.json"
        lengths = _read_meta(meta) if meta.exists() else {}
        names, problems = present(meta, sorted(lengths), images) if lengths else (folders(masks), [])
        found: list[Pair] = []
        for name in choose(images, names, sequences, exclude):
            pairs, alone = list_frames(images / name, masks / name)
            found += every_frame(pairs, every)
            problems += alone
            length = lengths.get(name)
            count = len(list_files(images / name, PHOTOS)) if length is not None else None
            if count != length:
                message = f"has {count} frames, but {meta.name} says {length}"
                problems.append(Problem("missing_image", str(images / name), message))
            if not pairs and not alone:
                message = f"has no annotation in {masks / name}"
                problems.append(Problem("missing_mask", str(images / name), message))
        super().__init__(found, problems)


def _read_meta(path: Path) -> dict[str, int | None]:
    """Read each video's number of frames, None where the file does not say.

    Raises:
        DatasetError: the file has no table of videos.
    """
    content = read_json(path)
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not all(isinstance(entry, dict) for entry in videos.values()):
        raise DatasetError(f"{path} has no table 'videos', so it is not a meta file of MOSE.")
    return {name: entry.get("length") for name, entry in videos.items()}
