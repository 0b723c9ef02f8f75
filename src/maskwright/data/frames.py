"""Videos as folders of frames, with label maps of some of them in folders of the same names.

Frames are listed from the annotations, never counted up: numbers may be missing, and a frame without an
annotation is no item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from maskwright.data.dataset import Problem
from maskwright.data.files import Pair, PairedFiles, check_same_size, list_files, list_folders, pair_files
from maskwright.data.outlines import Shapes
from maskwright.data.segments import split_labels
from maskwright.errors import DatasetError, suggestion
from maskwright.io.images import read_image
from maskwright.io.masks import LabelMap, read_label_map
from maskwright.types import Sample

PHOTOS = (".jpg", ".jpeg", ".png")


class FrameFolders(PairedFiles):
    """Frames with a label map each: a mask an object, 0 is none; a frame that shows no object has no masks.

    Args:
        pairs: the frames and their label maps; the folder of a frame is its video.
        problems: files without their partner.
        read_labels: reads a label map.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        problems: Iterable[Problem],
        read_labels: Callable[[Path], LabelMap] = read_label_map,
    ) -> None:
        super().__init__(pairs, problems)
        self.read_labels = read_labels

    def group(self, index: int) -> str:
        """The folder of the video that item `index` belongs to."""
        return str(self.pairs[index].image.parent)

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        pair = self.pairs[index]
        image = read_image(pair.image)
        labels = self.read_labels(pair.mask)
        check_same_size(pair, image, labels.shape)
        masks, ids = split_labels(labels, leave_out=(0,))
        return Sample(image, masks, ids, str(pair.mask))

    def shapes(self, index: int) -> Shapes:
        """The objects of frame `index`, and what is none."""
        labels = self.read_labels(self.pairs[index].mask)
        return Shapes(labels.shape, [labels])


def list_frames(photos: Path, masks: Path) -> tuple[list[Pair], list[Problem]]:
    """The annotated frames of one video, and one problem for each annotation without its frame."""
    images = list_files(photos, PHOTOS) if photos.is_dir() else []
    pairs, problems = pair_files(images, list_files(masks, [".png"]) if masks.is_dir() else [])
    return pairs, [problem for problem in problems if problem.code != "missing_mask"]


def every_frame(pairs: Iterable[Pair], every: int) -> list[Pair]:
    """The frames whose number, which is their name, is a multiple of `every`.

    Raises:
        DatasetError: a name is no number.
    """
    return [pair for pair in pairs if every == 1 or frame_number(pair.mask) % every == 0]


def frame_number(path: Path) -> int:
    """The number that a frame is named after.

    Raises:
        DatasetError: the name is no number.
    """
    if not path.stem.isdecimal():
        raise DatasetError(f"{path}: the name is not a frame number, so every=K cannot choose frames.")
    return int(path.stem)


def folders(root: Path) -> list[str]:
    """The names of the folders in a folder, sorted; hidden ones are left out."""
    return [path.name for path in list_folders(root)]


def choose(root: Path, known: Sequence[str], wanted: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """The `known` names of videos below `root`, or those of them that are wanted, in that order.

    Raises:
        DatasetError: for a name that is not there.
    """
    for name in (*wanted, *exclude):
        if name not in known:
            raise DatasetError(
                f"{root} has no sequence {name!r}; it has {', '.join(known)}.{suggestion(name, known)}"
            )
    return [name for name in (wanted or known) if name not in exclude]


def present(file: Path, names: Iterable[str], root: Path) -> tuple[list[str], list[Problem]]:
    """The videos of a list that have a folder in `root`, and one problem for each that has none."""
    found, problems = [], []
    for name in dict.fromkeys(names):
        # A name is one folder's: anything with a slash could lead elsewhere.
        if name not in {".", ".."} and not {"/", "\\"} & set(name) and (root / name).is_dir():
            found.append(name)
        else:
            problems.append(Problem("missing_image", str(file), f"lists {name!a}, which is not in {root}"))
    return found, problems
