"""Masks in files: binary masks and label maps as PNG or TIFF, stacks of masks as TIFF."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image as PILImages

from maskwright.errors import ImageError, MaskError
from maskwright.io.decode import MAX_PIXELS, naming, open_image
from maskwright.io.files import atomic_writer, shown
from maskwright.io.lossy import warn_lossy
from maskwright.io.rle import RLE
from maskwright.io.tiff import check_page
from maskwright.types import BoolArray

LabelMap = npt.NDArray[np.int32]

JPEG_SHADES = 0.1
"""Share of pixels between the two values that compression may leave in a mask: more makes it a photo."""
_MAX_STACK = 2_000_000_000
_TIFF = (".tif", ".tiff")


def read_label_map(
    path: str | os.PathLike[str],
    max_pixels: int = MAX_PIXELS,
    page: int | None = None,
    data: bytes | None = None,
) -> LabelMap:
    """Read the numbers of a PNG, TIFF or BMP label map as they are stored: palette indices, not colours.

    Args:
        path: the file.
        max_pixels: the largest width × height.
        page: which page of a TIFF, from 0.
        data: the file's bytes, where it lies inside another file; `path` is then only its name.

    Returns:
        (H, W) int32, turned upright.

    Raises:
        ImageError: when the file cannot be read.
        MaskError: when it holds colours, fractions, negative or too large numbers, or is a JPEG, whose
            compression changes numbers.
    """
    with open_image(path, max_pixels, page, data) as opened:
        if opened.header.format == "JPEG":
            raise MaskError(
                f"{shown(path)} is a JPEG, which does not keep numbers exactly; save labels as PNG."
            )
        values = opened.stored()
    grey = _one_channel(path, values)
    if grey is None:
        message = "holds colours, not label numbers; save one number a pixel (8 or 16 bits, or a palette)"
        raise MaskError(f"{shown(path)} {message}.")
    return _as_labels(path, grey)


def read_mask(
    path: str | os.PathLike[str],
    threshold: float | None = None,
    max_pixels: int = MAX_PIXELS,
    page: int | None = None,
) -> BoolArray:
    """Read a binary mask: 1 bit, 0/1, 0/255, 0 and any other one value, or one colour on black.

    Args:
        path: PNG, TIFF, BMP or WebP; of a JPEG the values above 127 are the object.
        threshold: values above it are the object; needed for soft masks and label maps, which are refused
            otherwise, for their meaning would be a guess.
        max_pixels: the largest width × height.
        page: which page of a TIFF, from 0.

    Returns:
        (H, W) bool, turned upright.

    Raises:
        ImageError: when the file cannot be read.
        MaskError: when it is not binary and no threshold is given.
    """
    with open_image(path, max_pixels, page) as opened:
        values = opened.stored()
        if opened.header.format == "JPEG" and threshold is None:
            threshold = 127
    grey = _one_channel(path, values)
    if grey is None:
        grey = _one_colour(path, values)
    if threshold is not None:
        return np.asarray(grey > threshold)
    level = grey.max()
    if not ((grey == 0) | (grey == level)).all():
        count = len(np.unique(grey))
        message = (
            f"has {count} different values where a mask has two; give a threshold, or read it as a label map"
        )
        raise MaskError(f"{shown(path)} {message}.")
    return np.asarray(grey != 0)


def read_object(path: str | os.PathLike[str]) -> BoolArray:
    """Read where an object is from a mask of any encoding: every value, palette index or colour but 0.

    Of a JPEG, whose compression changes values, it is what is more than half as bright as the brightest.

    Returns:
        (H, W) bool, turned upright.

    Raises:
        ImageError: when the file cannot be read.
        MaskError: when it holds several colours, such as a photo, or transparent parts.
    """
    with open_image(path) as opened:
        if opened.header.format != "JPEG":
            return read_mask(path, threshold=0)
        values = opened.stored().astype(np.int32)  # a JPEG's, so 0 to 255
    grey = values if values.ndim == 2 else values.max(axis=2)
    level = int(grey.max())
    shades = (grey > level / 4) & (grey < level * 3 / 4)
    if shades.mean() > JPEG_SHADES:
        message = "is a JPEG with many shades, where a mask has two values; save the mask as PNG"
        raise MaskError(f"{shown(path)} {message}.")
    return np.asarray(2 * grey > level)


def write_mask(path: str | os.PathLike[str], mask: BoolArray) -> None:
    """Write a (H, W) bool mask as 0 and 255, a PNG or, by the name's extension, a TIFF; atomically.

    Raises:
        FileError: naming the path and the reason.
    """
    assert mask.dtype == np.bool_, mask.dtype
    _write(path, mask.astype(np.uint8) * np.uint8(255))


def write_label_map(path: str | os.PathLike[str], labels: npt.NDArray[np.integer[Any]]) -> None:
    """Write (H, W) labels in the fewest bits that hold them: 8 or 16 as PNG, up to 32 as TIFF; atomically.

    Raises:
        MaskError: for negative labels, or labels above 65535 in a PNG.
        FileError: naming the path and the reason.
    """
    top = int(labels.max(initial=0))
    if labels.min(initial=0) < 0:
        raise MaskError(
            f"label {int(labels.min())} cannot be written to {shown(path)}: labels are not negative."
        )
    if top > 65535 and not _is_tiff(path):
        message = f"a PNG holds labels up to 65535, and the largest is {top}; name the file .tif"
        raise MaskError(f"cannot write {shown(path)}: {message}.")
    _write(path, labels.astype(np.uint8 if top < 256 else np.uint16 if top < 65536 else np.uint32))


def read_mask_stack(path: str | os.PathLike[str]) -> BoolArray:
    """Read a TIFF with one mask a page, as `write_mask_stack` makes it.

    Returns:
        (K, H, W) bool.

    Raises:
        ImageError: when the file cannot be read.
        MaskError: when pages differ in size, are not binary, or are too many to hold in memory.
    """
    with open_image(path, page=0) as opened:
        if opened.header.format != "TIFF":
            raise MaskError(f"{shown(path)} is a {opened.header.format}; a stack of masks is a TIFF.")
        size = opened.header.size
    with naming(Path(path)), tifffile.TiffFile(path) as file:
        pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
        if len(pages) * size[0] * size[1] > _MAX_STACK:
            raise MaskError(f"{shown(path)} holds {len(pages)} masks of {size}, more than fit in memory.")
        if any(page.shape != size for page in pages):
            raise MaskError(f"{shown(path)}: its pages differ in size, or are not grey.")
        for page in pages:
            check_page(page, file.filehandle.size)
        stack = np.stack([np.asarray(page.asarray()) for page in pages])
    if not ((stack == 0) | (stack == stack.max())).all():
        raise MaskError(f"{shown(path)} holds more than two values; a stack of masks is binary.")
    return np.asarray(stack != 0)


def write_mask_stack(path: str | os.PathLike[str], masks: BoolArray) -> None:
    """Write (K, H, W) bool masks, which may overlap, as a TIFF of K pages with 0 and 255; atomically.

    Raises:
        MaskError: for no masks at all, which a TIFF cannot hold.
        FileError: naming the path and the reason.
    """
    if not len(masks):
        raise MaskError(f"cannot write {shown(path)}: a TIFF needs at least one mask.")
    with atomic_writer(path) as file, tifffile.TiffWriter(file) as writer:
        for mask in masks:
            writer.write(mask.astype(np.uint8) * np.uint8(255), compression="zlib", photometric="minisblack")


def masks_to_labels(masks: BoolArray) -> LabelMap:
    """Number masks (K, H, W) from 1 in a (H, W) label map; 0 is background.

    Where masks overlap, the smaller one is kept, so that a part is not hidden by its whole; that loses
    pixels of the larger, and a `LossyConversionWarning` says of how many.
    """
    areas = masks.sum(axis=(1, 2), dtype=np.int64)
    labels = np.zeros(masks.shape[1:], np.int32)
    for index in np.argsort(-areas, kind="stable"):
        labels[masks[index]] = index + 1
    if loss := hidden_pixels(labels, areas):
        warn_lossy(loss)
    return labels


def rles_to_labels(masks: Sequence[RLE], size: tuple[int, int]) -> LabelMap:
    """As `masks_to_labels`, unpacked one after the other, and without a warning: see `hidden_pixels`.

    Args:
        masks: K of them, which may be 0.
        size: height and width.
    """
    from maskwright.io.rle_sets import areas

    labels = np.zeros(size, np.int32)
    for index in np.argsort(-areas(masks), kind="stable"):
        labels[masks[index].decode()] = index + 1
    return labels


def hidden_pixels(labels: LabelMap, areas: npt.NDArray[np.int64]) -> str:
    """What masks of these areas, (K,), have lost in their (H, W) label map by overlapping; empty: nothing."""
    lost = int(areas.sum()) - int((labels > 0).sum())
    if not lost:
        return ""
    missing = int((areas > 0).sum()) - len(np.unique(labels[labels > 0]))
    gone = f", and {missing} masks vanish" if missing else ""
    return f"masks overlap: a label map loses {lost} of their pixels{gone}."


def labels_to_masks(
    labels: npt.NDArray[np.integer[Any]], ignore: tuple[int, ...] = (0,)
) -> tuple[BoolArray, tuple[int, ...]]:
    """Split a (H, W) label map into masks (K, H, W) and their K labels, in ascending order.

    Raises:
        MaskError: when there are more than memory should hold; `labels_to_rles` has no such limit.
    """
    ids = [int(label) for label in np.unique(labels) if label not in ignore]
    if len(ids) * labels.size > _MAX_STACK:
        raise MaskError(
            f"{len(ids)} masks of {labels.shape} are more than fit in memory; use labels_to_rles."
        )
    masks = np.zeros((len(ids), *labels.shape), np.bool_)
    for row, label in zip(masks, ids, strict=True):
        np.equal(labels, label, out=row)
    return masks, tuple(ids)


def labels_to_rles(
    labels: npt.NDArray[np.integer[Any]], ignore: tuple[int, ...] = (0,)
) -> tuple[tuple[RLE, ...], tuple[int, ...]]:
    """As `labels_to_masks`, packed, and in time and memory that do not grow with the number of labels."""
    from maskwright.io.label_rle import encode_labels  # its compiler takes a third of a second to import

    ids, numbers = np.unique(labels, return_inverse=True)
    packed = encode_labels(numbers.reshape(labels.shape).astype(np.int32) + 1, len(ids))
    kept = [(rle, label) for rle, label in zip(packed, ids.tolist(), strict=True) if label not in ignore]
    return tuple(rle for rle, _ in kept), tuple(label for _, label in kept)


def _one_channel(path: str | os.PathLike[str], values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Grey values of an image whose channels are all equal; None where they are not."""
    if values.ndim == 2:
        return values
    if values.shape[2] in {2, 4}:
        if not (values[..., -1] == values[0, 0, -1]).all():
            raise MaskError(
                f"{shown(path)} has transparent parts, whose meaning is unclear; save it without."
            )
        values = values[..., :-1]
    return values[..., 0] if (values == values[..., :1]).all() else None


def _one_colour(path: str | os.PathLike[str], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Object pixels of an image with one colour on black."""
    colours = values[..., :3]
    lit = colours.any(axis=2)
    if not (colours[lit] == colours[lit][0]).all():
        raise MaskError(f"{shown(path)} has several colours where a mask has one on black.")
    return np.asarray(lit)


def _as_labels(path: str | os.PathLike[str], grey: npt.NDArray[Any]) -> LabelMap:
    if grey.dtype.kind == "f" and not (np.isfinite(grey) & (grey == np.floor(grey))).all():
        raise MaskError(f"{shown(path)} has fractions where whole label numbers are expected.")
    if grey.dtype.kind not in "buif":
        raise ImageError(f"{shown(path)} holds {grey.dtype} values, not numbers.")
    if grey.min() < 0 or grey.max() > np.iinfo(np.int32).max:
        raise MaskError(
            f"{shown(path)} has labels from {grey.min()} to {grey.max()}; 0 to 2147483647 is possible."
        )
    return grey.astype(np.int32)


def _is_tiff(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() in _TIFF


def _write(path: str | os.PathLike[str], values: npt.NDArray[Any]) -> None:
    with atomic_writer(path) as file:
        if _is_tiff(path):
            tifffile.imwrite(file, values, compression="zlib", photometric="minisblack")
        else:
            PILImages.fromarray(values).save(file, format="PNG")
