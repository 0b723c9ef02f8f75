"""PNG: one file a mask, or one label map an image; `index.csv` beside them keeps categories and scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskwright.export.labelled import LabelledImage, properties
from maskwright.io.files import write_text
from maskwright.io.masks import hidden_pixels, rles_to_labels, write_label_map, write_mask

_COLUMNS = ("file", "label", "image", "category", "score")


def write_masks(labels: Sequence[LabelledImage], path: Path) -> list[str]:
    """Write OUT/a/x.jpg.0.png, OUT/a/x.jpg.1.png, … with 0 and 255, and OUT/index.csv.

    Returns:
        What was lost: nothing.

    Raises:
        FileError: naming the path and the reason.
    """
    rows = []
    for label in labels:
        for index, mask in enumerate(label.masks):
            place = label.output(path, f".{index}.png")
            write_mask(place, mask.decode())
            rows.append(_row(path, place, label, index) | {"label": 255})
    _write_index(path, rows)
    return []


def write_label_maps(labels: Sequence[LabelledImage], path: Path) -> list[str]:
    """Write OUT/a/x.jpg.png with the masks numbered from 1, in 8 or 16 bits, and OUT/index.csv.

    Returns:
        What was lost: pixels of masks that a smaller one covers.

    Raises:
        MaskError: for an image with more than 65535 masks.
        FileError: naming the path and the reason.
    """
    rows, losses = [], []
    for label in labels:
        place = label.output(path, ".png")
        numbers = rles_to_labels(label.masks, (label.height, label.width))
        if loss := hidden_pixels(numbers, np.array([mask.area for mask in label.masks], np.int64)):
            losses.append(f"{label.path}: {loss}")
        write_label_map(place, numbers)
        rows += [_row(path, place, label, index) | {"label": index + 1} for index in range(len(label.masks))]
    _write_index(path, rows)
    return losses


def _row(folder: Path, place: Path, label: LabelledImage, index: int) -> dict[str, Any]:
    file = place.relative_to(folder).as_posix()
    return {"file": file, "image": label.path, **properties(label, index)}


def _write_index(folder: Path, rows: list[dict[str, Any]]) -> None:
    extra = sorted({name for row in rows for name in row} - set(_COLUMNS))
    table = io.StringIO()
    writer = csv.DictWriter(table, [*_COLUMNS, *extra], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "index.csv", table.getvalue())
