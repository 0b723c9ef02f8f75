"""COCO run-length encodings, checked in every number before any pixel is allocated.

A mask is read column by column; `counts` are the lengths of the runs, the first of background (it may be 0).
COCO writes them as a list of numbers ("uncompressed") or packs them into text (5 bits a character, each run
from the third on as the difference to the one two before). Both are exact.
Source: the COCO data format and cocoapi's `maskApi.c`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.errors import MaskError
from maskwright.io.decode import MAX_PIXELS
from maskwright.types import BoolArray

Runs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RLE:
    """One binary mask, packed.

    Args:
        size: height and width.
        counts: COCO's compressed text.

    Raises:
        MaskError: when the text is no encoding of a mask of that size, or the size is beyond `MAX_PIXELS`.
    """

    size: tuple[int, int]
    counts: str

    def __post_init__(self) -> None:
        check_size(self.size)
        _check_runs(self.runs(), self.size)

    @classmethod
    def encode(cls, mask: BoolArray) -> RLE:
        """Pack a (H, W) bool mask."""
        assert mask.ndim == 2 and mask.dtype == np.bool_, (mask.shape, mask.dtype)  # noqa: PT018
        check_size(mask.shape)
        from maskwright.io.rle_kernel import toggles, write_toggles  # its compiler takes long to import

        text = write_toggles(toggles(mask), mask.size)
        return cls.trusted((mask.shape[0], mask.shape[1]), text.tobytes().decode("ascii"))

    @classmethod
    def from_runs(cls, runs: Iterable[int] | Runs, size: tuple[int, int]) -> RLE:
        """Pack the run lengths of a mask of `size` (H, W), background first.

        Raises:
            MaskError: when they are negative, no whole numbers, or do not fill the mask exactly.
        """
        check_size(size)
        values = _as_runs(runs)
        _check_runs(values, size)
        from maskwright.io.rle_kernel import write_runs

        return cls.trusted(size, write_runs(values).tobytes().decode("ascii"))

    @classmethod
    def trusted(cls, size: tuple[int, int], counts: str) -> RLE:
        """Take text that was packed here, a mask of `size` (H, W) for certain, without reading it again."""
        rle = object.__new__(cls)
        rle.__dict__.update(size=size, counts=counts)
        return rle

    @classmethod
    def from_coco(cls, record: Any) -> RLE:  # noqa: ANN401
        """Read COCO's `{"size": [h, w], "counts": …}`; counts are text, bytes or a list of numbers.

        Raises:
            MaskError: saying what is wrong with it.
        """
        if not isinstance(record, Mapping) or not {"size", "counts"} <= set(record):
            raise MaskError(f"a run-length encoding has 'size' and 'counts'; this is {_brief(record)}.")
        size, counts = record["size"], record["counts"]
        if not (isinstance(size, list | tuple) and len(size) == 2 and all(_is_whole(side) for side in size)):
            raise MaskError(f"the size of a mask is [height, width], not {_brief(size)}.")
        size = (int(size[0]), int(size[1]))
        if isinstance(counts, bytes):
            counts = counts.decode("latin-1")
        if isinstance(counts, str):
            return cls(size, counts)
        if isinstance(counts, list | tuple):
            return cls.from_runs(counts, size)
        raise MaskError(f"the counts of a mask are text or a list of numbers, not {_brief(counts)}.")

    def to_coco(self, compressed: bool = True) -> dict[str, Any]:
        """Give COCO's `{"size": [h, w], "counts": …}`, ready for JSON; counts as text or as numbers."""
        return {"size": list(self.size), "counts": self.counts if compressed else self.runs().tolist()}

    def decode(self) -> BoolArray:
        """Unpack to (H, W) bool."""
        mask = np.zeros(self.size, np.bool_)
        self.draw(mask)
        return mask

    def draw(self, mask: BoolArray) -> None:
        """Unpack into an (H, W) mask that is empty."""
        from maskwright.io.rle_kernel import draw

        assert mask.shape == self.size, (mask.shape, self.size)
        draw(self.runs(), mask.view(np.uint8))

    def runs(self) -> Runs:
        """Lengths of the runs, column by column, background first."""
        return _unpack(self.counts, self.size)

    @property
    def area(self) -> int:
        """Number of object pixels."""
        return int(self.runs()[1::2].sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Tight box (x, y, width, height) in pixels, as COCO has it; zeros for an empty mask."""
        height = self.size[0]
        runs = self.runs()
        ends = np.cumsum(runs)[1::2]
        starts, ends = (ends - runs[1::2])[runs[1::2] > 0], ends[runs[1::2] > 0] - 1
        if not len(starts):
            return 0, 0, 0, 0
        x0, x1 = int(starts[0] // height), int(ends[-1] // height)
        # A run that goes on into the next column touches the bottom and the top.
        if (starts // height != ends // height).any():
            y0, y1 = 0, height - 1
        else:
            y0, y1 = int((starts % height).min()), int((ends % height).max())
        return x0, y0, x1 - x0 + 1, y1 - y0 + 1


def encode_all(masks: BoolArray) -> tuple[RLE, ...]:
    """Pack (K, H, W) bool masks."""
    return tuple(RLE.encode(mask) for mask in masks)


def decode_all(masks: Iterable[RLE], size: tuple[int, int]) -> BoolArray:
    """Unpack masks of one `size` to (K, H, W) bool; K may be 0.

    Raises:
        MaskError: when a mask has another size.
    """
    masks = list(masks)
    result = np.zeros((len(masks), *size), np.bool_)
    for row, mask in zip(result, masks, strict=True):
        if mask.size != size:
            raise MaskError(f"a mask of size {mask.size} is among masks of size {size} (height, width).")
        mask.draw(row)
    return result


def _unpack(counts: str, size: tuple[int, int]) -> Runs:
    """The numbers in COCO's compressed text."""
    from maskwright.io import rle_kernel as kernel

    if len(counts) > kernel.MAX_CHARACTERS * (size[0] * size[1] + 1):
        raise MaskError(f"the counts are {len(counts):,} characters long, too many for a mask of {size}.")
    # What is beyond ASCII becomes a zero, a character that no encoding has.
    text = counts.encode() if counts.isascii() else bytes(1)
    runs, wrong = kernel.read_runs(np.frombuffer(text, np.uint8))
    if wrong == kernel.STRANGE or not counts:
        raise MaskError(f"the counts hold characters that no run-length encoding has: {_brief(counts)}.")
    if wrong == kernel.CUT_OFF:
        raise MaskError(f"the counts are cut off in the middle of a number: {_brief(counts)}.")
    if wrong == kernel.TOO_LARGE:
        raise MaskError(f"the counts hold a number that is too large: {_brief(counts)}.")
    return runs


def _as_runs(runs: Iterable[int] | Runs) -> Runs:
    if isinstance(runs, np.ndarray):
        assert runs.dtype.kind in "iu", runs.dtype
        return runs.astype(np.int64)
    listed = list(runs)
    for run in listed:
        if not _is_whole(run):
            raise MaskError(f"the runs of a mask are whole numbers, and one is {_brief(run)}.")
    try:
        return np.array(listed, dtype=np.int64)
    except OverflowError as error:
        raise MaskError(f"a run of {max(listed, key=abs)} pixels is longer than any mask.") from error


def _check_runs(runs: Runs, size: tuple[int, int]) -> None:
    pixels = size[0] * size[1]
    if len(runs) and runs.min() < 0:
        raise MaskError(f"a run is {int(runs.min())} pixels long; runs cannot be negative.")
    # Each is bounded first, so that their sum cannot overflow.
    if (len(runs) and runs.max() > pixels) or int(runs.sum()) != pixels:
        total = int(runs.astype(object).sum()) if len(runs) < 10_000 else "too many"
        raise MaskError(f"the runs cover {total} pixels, but a mask of {size[0]}×{size[1]} has {pixels}.")


def check_size(size: tuple[int, ...]) -> None:
    """Refuse a mask size (H, W) that is empty or beyond `MAX_PIXELS`.

    Raises:
        MaskError: with the size.
    """
    height, width = size
    if not (_is_whole(height) and _is_whole(width)):
        raise MaskError(f"the size of a mask is two whole numbers, not {_brief(height)} and {_brief(width)}.")
    if height < 1 or width < 1:
        raise MaskError(f"a mask of {height}×{width} pixels (height × width) does not exist.")
    if height * width > MAX_PIXELS:
        raise MaskError(f"a mask of {height}×{width} pixels is beyond the limit of {MAX_PIXELS:,}.")


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _brief(value: object) -> str:
    text = ascii(value) if not isinstance(value, list | tuple | dict) else type(value).__name__
    return text if len(text) <= 40 else text[:37] + "..."
