"""Listing and pairing the files of a dataset folder, and reading its images and label maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage
from PIL import ImageOps, UnidentifiedImageError

from maskwright.data.dataset import Problem, SampleError
from maskwright.errors import DatasetError, ImageError
from maskwright.types import Image

LabelMap = npt.NDArray[np.int32]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Pair:
    """A photo and the file with its masks."""

    image: Path
    mask: Path


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
    return sorted(
        path
        for path in folder.iterdir()
        if path.name.lower().endswith(lowered) and not path.name.startswith(".") and path.is_file()
    )


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


def _key(path: Path, ending: str) -> str:
    return path.name[: -len(ending)] if ending else path.stem


def read_photo(path: Path) -> Image:
    """Read an RGB photo, turned upright."""
    try:
        with PILImage.open(path) as image:
            return Image(np.asarray(ImageOps.exif_transpose(image).convert("RGB")), str(path))
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise ImageError(f"{path}: cannot be read as an image ({error}).") from error


def read_label_map(path: Path) -> LabelMap:
    """Read the numbers in a PNG or TIFF label map, (H, W) int32: palette indices, not colours.

    Raises:
        SampleError: when the file has colours or fractions instead of labels.
    """
    values = _read_numbers(path)
    if values.ndim == 3:
        values = values[..., :3] if values.shape[2] in {2, 4} else values
        if not (values == values[..., :1]).all():
            message = "has colours, not label numbers; save one number a pixel (8 or 16 bit, or a palette)"
            raise SampleError("not_labels", path, message)
        values = values[..., 0]
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        raise SampleError("not_labels", path, "has fractions where whole label numbers are expected")
    return values.astype(np.int32)


def read_channel(path: Path) -> npt.NDArray[np.float32]:
    """Read a grey mask as (H, W) float32, values as stored; of several channels the first, as HQ-SAM does."""
    values = _read_numbers(path)
    return (values[..., 0] if values.ndim == 3 else values).astype(np.float32)


def _read_numbers(path: Path) -> npt.NDArray[np.generic]:
    try:
        with PILImage.open(path) as image:
            return np.asarray(image)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise ImageError(f"{path}: cannot be read as a mask ({error}).") from error


def check_same_size(pair: Pair, image: Image, mask_size: tuple[int, ...]) -> None:
    """Refuse a mask whose size is not its photo's.

    Raises:
        SampleError: with both sizes; a swapped pair hints at a photo rotated by its EXIF tag.
    """
    if image.size == mask_size:
        return
    sizes = f"is {mask_size[1]}×{mask_size[0]}, but {pair.image.name} is {image.size[1]}×{image.size[0]}"
    if image.size == mask_size[::-1]:
        message = f"{sizes}: one of them is turned; was the mask drawn on the photo before its EXIF rotation?"
        raise SampleError("exif_rotation", pair.mask, message)
    raise SampleError("size_mismatch", pair.mask, f"{sizes}; masks must have the size of their photo")
