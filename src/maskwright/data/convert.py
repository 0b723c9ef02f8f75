"""TIFF stacks to binary masks: one PNG a page, for training sets of masks.

OUT/x.tif.0000.png     page 0 of x.tif: 0, and 255 where its value is above the threshold
OUT/converted.jsonl    one record per finished page; written last, it marks the page as done
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from maskwright.errors import ConfigError, ImageError
from maskwright.io.files import confine, make_folder, make_parents
from maskwright.io.inputs import ImageFile
from maskwright.io.masks import write_mask
from maskwright.io.records import RecordWriter, read_records
from maskwright.io.stacks import PagesAxis, read_pages
from maskwright.types import BoolArray

RECORDS = "converted.jsonl"

Threshold = float | Literal["otsu"]
Record = dict[str, Any]
"""Of one mask: "stack", "page", "file", "size" (height, width), "threshold" (the number used), "share" (of
the page's pixels that are the object), and what it was made from."""


def read_threshold(text: str) -> Threshold:
    """`otsu`, or a number.

    Raises:
        ConfigError: it is neither.
    """
    if text == "otsu":
        return "otsu"
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ConfigError(f"--threshold must be a number, or otsu, not {text!r}.")
    return value


def binarize(values: npt.NDArray[Any], threshold: Threshold) -> tuple[BoolArray, float]:
    """The mask of grey values (H, W), and the number above which they are the object.

    Args:
        values: NaN is never the object.
        threshold: a number, or "otsu": the one that parts this page's values into two groups that vary least
            within (Otsu 1979). A page of one value has no such groups, and no object.
    """
    if threshold != "otsu":
        return np.asarray(values > threshold), float(threshold)
    from skimage.filters import threshold_otsu

    known = values[np.isfinite(values)]
    if not known.size or known.min() == known.max():
        level = float(known[0]) if known.size else 0.0
        return np.zeros(values.shape, np.bool_), level
    # As integers, numbers of 64 bits would be counted one by one from the lowest to the highest.
    kind = known.dtype if known.dtype.itemsize <= 2 and known.dtype != np.bool_ else np.float64
    level = float(threshold_otsu(known.astype(kind)))
    return np.asarray(values > level), level


class ConvertRun:
    """One output folder and the pages that are finished in it; made again, it carries on.

    Args:
        folder: made if it is not there.
        threshold: see `binarize`.
        axis: where a stack's pages are; see `io.stacks`.

    Raises:
        FileError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path, threshold: Threshold = 0.0, axis: PagesAxis = "first") -> None:
        self.folder = make_folder(folder)
        self.threshold = threshold
        self.axis = axis
        self.finished = {(row["stack"], row["page"]): row for row in read_records(self.folder / RECORDS)}

    def convert(self, stacks: list[ImageFile]) -> Iterator[tuple[ImageFile, int | None, Record | ImageError]]:
        """Convert what is not finished, yielding each page with its record, or with why it failed.

        A stack that cannot be read at all is yielded once, with None for a page. Other errors, such as a full
        disk, end the run.
        """
        with RecordWriter(self.folder / RECORDS) as records:
            for stack in stacks:
                self._discard_stale(stack)
                try:
                    for number, values in read_pages(stack.path, self.axis):
                        if isinstance(values, ImageError):
                            yield stack, number, values
                        else:
                            yield stack, number, self._page(stack, number, values, records)
                except ImageError as error:
                    yield stack, None, error

    def _made_from(self, stack: ImageFile) -> Record:
        """What decides a stack's masks."""
        status = stack.path.stat()
        return {
            "bytes": status.st_size,
            "modified_ns": status.st_mtime_ns,
            "asked": self.threshold,
            "pages": self.axis,
        }

    def _discard_stale(self, stack: ImageFile) -> None:
        """Delete a stack's masks that were made otherwise: it may then have had more pages than now."""
        made_from = self._made_from(stack)
        for key, record in list(self.finished.items()):
            if key[0] == stack.name and not made_from.items() <= record.items():
                confine(self.folder, record["file"]).unlink(missing_ok=True)
                del self.finished[key]

    def _page(self, stack: ImageFile, number: int, values: npt.NDArray[Any], records: RecordWriter) -> Record:
        target = stack.output(self.folder, f".{number:04d}.png")
        known = self.finished.get((stack.name, number))
        if known and target.is_file():
            return known
        mask, level = binarize(values, self.threshold)
        write_mask(make_parents(target), mask)
        record = {
            "stack": stack.name,
            "page": number,
            "file": target.relative_to(self.folder).as_posix(),
            "size": list(mask.shape),
            "threshold": level,
            "share": round(float(mask.mean()), 6),
            **self._made_from(stack),
        }
        records.append(record)
        self.finished[stack.name, number] = record
        return record
