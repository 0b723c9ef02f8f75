"""Listing and pairing the files of a dataset folder, and reading its masks and label maps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskwright.data.dataset import Dataset, Problem, SampleError
from maskwright.errors import DatasetError
from maskwright.io.decode import open_image
from maskwright.io.files import require_file
from maskwright.io.images import read_image
from maskwright.io.inputs import IMAGE_SUFFIXES
from maskwright.types import Image

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Pair:
    """A photo and the file with its masks."""

    image: Path
    mask: Path


class PairedFiles(Dataset):
    """A dataset of one mask file per photo; subclasses say how an item is decoded."""

    def __init__(self, pairs: Sequence[Pair], unpaired: Iterable[Problem] = ()) -> None:
        super().__init__(unpaired)
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def image_path(self, index: int) -> Path:
        """File of the photo of item `index`."""
        return self.pairs[index].image

    def mask_path(self, index: int) -> Path:
        """File with the masks of item `index`."""
        return self.pairs[index].mask


def require_folders(kind: str, root: Path, folders: Iterable[str], tree: str) -> None:
    """Refuse a dataset folder that lacks a part, showing the expected tree.

    Raises:
        DatasetError: naming what is missing.
    """
    if not root.exists():
        raise DatasetError(f"{root} does not exist. A {kind} dataset looks like this:\n{tree}")
    missing = [folder for folder in folders if not (root / folder).is_dir()]
    if missing:
        lacking = " and no folder ".join(missing)
        raise DatasetError(f"{root} has no folder {lacking}. A {kind} dataset looks like this:\n{tree}")


def list_files(folder: Path, endings: Sequence[str]) -> list[Path]:
    """Files of `folder` whose name ends in one of `endings` (case ignored), by name; no hidden files."""
    lowered = tuple(ending.lower() for ending in endings)
    with os.scandir(folder) as entries:  # faster than asking for the kind of each path on its own
        names = [entry.name for entry in entries if entry.name.lower().endswith(lowered) and entry.is_file()]
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def list_below(folder: Path, endings: Sequence[str]) -> list[Path]:
    """Like `list_files`, in the folder and all folders below it; hidden ones are left out."""
    found: list[Path] = []
    for parent, folders, _ in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += list_files(Path(parent), endings)
    return found


def list_folders(root: Path) -> list[Path]:
    """Folders directly in a folder, sorted by name; hidden ones are left out."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def first_folder(root: Path, names: Sequence[str]) -> str:
    """The first of these folders inside `root` that is there, or else the first, to be asked for."""
    return next((name for name in names if (root / name).is_dir()), names[0])


def list_photos(folder: Path, but: Iterable[Path] = ()) -> list[Path]:
    """Images of `folder`, sorted by name, without those in `but` (masks in the same folder)."""
    others = set(but)
    return [path for path in list_files(folder, IMAGE_SUFFIXES) if path not in others]


def pair_files(
    images: Sequence[Path], masks: Sequence[Path], *, image_ending: str = "", mask_ending: str = ""
) -> tuple[list[Pair], list[Problem]]:
    """Pair photos and masks whose names agree once the endings are cut off.

    Args:
        images: the photos.
        masks: the files with masks.
        image_ending: what to cut off photos' names; empty means the extension.
        mask_ending: the same for masks, such as `_mask.png`.

    Returns:
        The pairs in the photos' order, and one problem for each file without a partner, or with two.
    """
    by_key: dict[str, list[Path]] = {}
    for path in masks:
        by_key.setdefault(_key(path, mask_ending), []).append(path)
    pairs, problems, seen = [], [], dict[str, Path]()
    for image in images:
        key = _key(image, image_ending)
        found = by_key.get(key, [])
        if key in seen:
            problems.append(Problem("ambiguous", str(image), f"has the same stem as {seen[key].name}"))
        elif len(found) > 1:
            names = ", ".join(path.name for path in found)
            problems.append(Problem("ambiguous", str(image), f"has several masks: {names}"))
        elif not found:
            problems.append(Problem("missing_mask", str(image), f"has no mask {key}{mask_ending or '.png'}"))
        else:
            pairs.append(Pair(image, found[0]))
        seen.setdefault(key, image)
    alone = (path for key, paths in by_key.items() if key not in seen for path in paths)
    problems += [Problem("missing_image", str(path), "belongs to no image") for path in alone]
    return pairs, problems


def pair_trees(
    images: Path,
    masks: Path,
    mask_ending: str,
    image_endings: Sequence[str] = IMAGE_SUFFIXES,
    image_ending: str = "",
) -> tuple[list[Pair], list[Problem]]:
    """Pair the photos and masks below two folders (or one) that have the same path there, but for the ending.

    Args:
        images: folder of the photos.
        masks: folder of the masks.
        mask_ending: what to cut off masks' names.
        image_endings: which files are photos.
        image_ending: what to cut off photos' names; empty means the extension.

    Returns:
        As `pair_files`.
    """
    photos, files = _by_folder(images, image_endings), _by_folder(masks, [mask_ending])
    pairs: list[Pair] = []
    problems: list[Problem] = []
    for folder in sorted({*photos, *files}):
        found, alone = pair_files(
            photos.get(folder, []),
            files.get(folder, []),
            image_ending=image_ending,
            mask_ending=mask_ending,
        )
        pairs += found
        problems += alone
    return pairs, problems


def _by_folder(root: Path, endings: Sequence[str]) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = {}
    for path in list_below(root, endings):
        folders.setdefault(path.parent.relative_to(root), []).append(path)
    return folders


def _key(path: Path, ending: str) -> str:
    return path.name[: -len(ending)] if ending else path.stem


def read_channel(path: Path) -> npt.NDArray[np.float32]:
    """Read the first channel of a mask as shown, (H, W) float32: 0 to 255, or as stored if deeper.

    Raises:
        ImageError: when the file cannot be decoded.
    """
    with open_image(path) as opened:
        if opened.header.mode == "P":
            return read_image(path).pixels[..., 0].astype(np.float32)
        values = opened.stored()
    scale = np.float32(255 if values.dtype == np.bool_ else 1)
    return (values[..., 0] if values.ndim == 3 else values).astype(np.float32) * scale


def read_lines(path: Path) -> list[str]:
    """The lines of a list of names, without empty ones.

    Raises:
        FileError: the file is missing or no text.
    """
    require_file(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as a list of names: {error}.") from error
    return [line.strip() for line in lines if line.strip()]


def check_same_size(pair: Pair, image: Image | tuple[int, int], mask_size: tuple[int, ...]) -> None:
    """Refuse a mask whose size is not its photo's, given as the photo or as its height and width.

    Raises:
        SampleError: with both sizes; a swapped pair hints at a photo rotated by its EXIF tag.
    """
    size = image.size if isinstance(image, Image) else image
    if size == mask_size:
        return
    sizes = f"is {mask_size[1]}×{mask_size[0]}, but {pair.image.name} is {size[1]}×{size[0]}"
    if size == mask_size[::-1]:
        message = f"{sizes}: one of them is turned; was the mask drawn on the photo before its EXIF rotation?"
        raise SampleError("exif_rotation", pair.mask, message)
    raise SampleError("size_mismatch", pair.mask, f"{sizes}; masks must have the size of their photo")
