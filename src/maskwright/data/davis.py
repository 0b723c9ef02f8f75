"""DAVIS: video frames with masks of one object (2016, Perazzi et al.) or many (2017, Pont-Tuset et al.)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskwright.data.dataset import Problem
from maskwright.data.files import Pair, read_lines, require_folders
from maskwright.data.frames import (
    FrameFolders,
    choose,
    every_frame,
    folders,
    list_frames,
    present,
)
from maskwright.errors import DatasetError, FileError
from maskwright.io.files import confine
from maskwright.io.masks import LabelMap, read_label_map, read_mask

RESOLUTIONS = ("480p", "Full-Resolution", "1080p")

TREE = """\
  FOLDER/
    JPEGImages/480p/SEQUENCE/00000.jpg      or Full-Resolution, 1080p: resolution=NAME
    Annotations/480p/SEQUENCE/00000.png
    ImageSets/2017/val.txt                  for split=val; or ImageSets/2016, ImageSets/480p
or
  FOLDER/
    images/SEQUENCE/00000.jpg
    masks/SEQUENCE/00000.png"""

LAYOUTS = (*((f"JPEGImages/{name}", f"Annotations/{name}") for name in RESOLUTIONS), ("images", "masks"))


class DAVIS(FrameFolders):
    """Frames of DAVIS 2016 (not `multi`: all that is not 0 is the object) or 2017 (a mask an object).

    Frames are listed from the annotation files: numbers may be missing, and frames without annotation
    are no items. A frame in which no object is seen has no masks.

    Args:
        split: an official list below `ImageSets`, such as train, val or test-dev; None: all that is there.
        resolution: of the official folders; by default the first of `RESOLUTIONS` that is there.
        sequences: only these, in this order; empty means all, in the list's order or sorted.
        exclude: all but these.
        every: only frames whose number is a multiple of it (in a complete sequence, every K-th frame).
    """

    def __init__(
        self,
        root: Path,
        *,
        multi: bool,
        split: str | None = None,
        resolution: str | None = None,
        sequences: Sequence[str] = (),
        exclude: Sequence[str] = (),
        every: int = 1,
    ) -> None:
        kind = "davis2017" if multi else "davis2016"
        images, masks = find_layout(kind, root, resolution)
        problems: list[Problem] = []
        names, listed = folders(masks), None
        if split is not None:
            names, problems, listed = read_split(kind, root, images, split)
        found: list[Pair] = []
        for name in choose(masks, names, sequences, exclude):
            pairs, alone = list_frames(images / name, masks / name)
            found += every_frame((p for p in pairs if listed is None or p.image in listed), every)
            problems += alone
        super().__init__(found, problems, read_label_map if multi else read_object)


def find_layout(kind: str, root: Path, resolution: str | None = None) -> tuple[Path, Path]:
    """The folders of photos and of annotations of a DAVIS folder, each with a folder a sequence.

    Raises:
        DatasetError: naming what is missing.
    """
    layouts = [pair for pair in LAYOUTS if resolution is None or pair[0].endswith(f"/{resolution}")]
    layout = next((pair for pair in layouts if all((root / part).is_dir() for part in pair)), layouts[0])
    require_folders(kind, root, layout, TREE)
    return root / layout[0], root / layout[1]


def read_split(
    kind: str, root: Path, images: Path, split: str
) -> tuple[list[str], list[Problem], set[Path] | None]:
    """Read an official list of sequences.

    The lists of 2017 (and those of 2016 that come with them) name a sequence a line. The first release of
    2016 has its lists beside those, by resolution, and names the photo and the annotation of a frame a line.

    Returns:
        The sequences that are there, one problem for each listed one that is not, and, if frames are listed,
        the photos.

    Raises:
        DatasetError: there is no such list, or it is none.
    """
    file = _find_list(root, kind, images.name, split)
    lines = [line.split() for line in read_lines(file)]
    if all(len(parts) == 1 for parts in lines):
        names, problems = present(file, (parts[0] for parts in lines), images)
        return names, problems, None
    photos = [_listed_photo(file, root, parts) for parts in lines]
    elsewhere = next((path for path in photos if path.parent.parent != images), None)
    if elsewhere is not None:
        raise DatasetError(f"{file} lists {elsewhere}, which is not in {images}; choose its resolution=NAME.")
    names, problems = present(file, (path.parent.name for path in photos), images)
    problems += [
        Problem("missing_image", str(path), f"is listed in {file.name}, but there is no such file")
        for path in photos
        if path.parent.name in names and not path.is_file()
    ]
    return names, problems, set(photos)


def _find_list(root: Path, kind: str, resolution: str, split: str) -> Path:
    year = kind.removeprefix("davis")
    places = [root / "ImageSets" / folder / f"{split}.txt" for folder in (year, resolution)]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        known = sorted({path.stem for place in places for path in place.parent.glob("*.txt")})
        listed = f"it has {', '.join(known)}" if known else "it has no lists"
        raise DatasetError(
            f"{root} has no list {places[0].relative_to(root)} for split={split}; {listed}.\n{TREE}"
        )
    return found


def _listed_photo(file: Path, root: Path, parts: Sequence[str]) -> Path:
    try:
        photo = confine(root, parts[0].lstrip("/"))
    except FileError as error:
        raise DatasetError(f"{file}: {error}") from error
    if len(parts) < 2:
        raise DatasetError(f"{file}: the line of {photo.name} does not name a photo and an annotation.")
    return photo


def read_object(path: Path) -> LabelMap:
    """Read a mask of DAVIS 2016: object 1 is all that is not 0."""
    return read_mask(path, threshold=0).astype(np.int32)
