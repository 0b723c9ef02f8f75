"""YOLO segmentation: for each image a text file, for each mask a line "class x y x y …", scaled to 0 … 1.

    OUT/data.yaml            class names, and where the user's `images` folder belongs
    OUT/labels/a/x.txt       for images/a/x.jpg

A line is one polygon. The parts of a mask are joined by bridges walked both ways, as the format's users do;
holes are filled, and scores do not fit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from maskwright.errors import InputError
from maskwright.export.labelled import LabelledImage, category_names
from maskwright.io.files import confine, make_parents, write_text
from maskwright.io.polygons import Polygon, Ring, outline


def write_yolo(labels: Sequence[LabelledImage], path: Path) -> list[str]:
    """Write a folder.

    Returns:
        What was lost: holes, masks without pixels, scores and extra values.

    Raises:
        InputError: when two images differ only in their extension, which the format cannot tell apart.
        FileError: naming the path and the reason.
    """
    files = _label_files(labels)
    names = category_names(labels)
    holes = empty = 0
    for label, name in zip(labels, files, strict=True):
        lines = []
        for mask, category in zip(label.masks, label.names, strict=True):
            polygons = outline(mask.decode())
            holes += sum(len(polygon.holes) for polygon in polygons)
            empty += not polygons
            if polygons:
                lines.append(_line(names.index(category), bridged(polygons), label.height, label.width))
        write_text(make_parents(confine(path / "labels", name)), "".join(lines))
    listed = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(names))
    write_text(path / "data.yaml", f"path: .\ntrain: images\nval: images\nnames:\n{listed}")
    return _losses(labels, holes, empty)


def bridged(polygons: Sequence[Polygon]) -> Ring:
    """Join outer rings to one: from ring to ring over a bridge, and back over the same bridges."""
    forth = [np.concatenate([polygon.exterior, polygon.exterior[:1]]) for polygon in polygons]
    back = [ring[:1] for ring in forth[-2:0:-1]]
    return np.concatenate([*forth, *back]) if len(forth) > 1 else polygons[0].exterior


def _line(category: int, ring: Ring, height: int, width: int) -> str:
    numbers = " ".join(f"{value:.6f}" for value in (ring / (width, height)).reshape(-1))
    return f"{category} {numbers}\n"


def _label_files(labels: Sequence[LabelledImage]) -> list[str]:
    files: dict[str, str] = {}
    for label in labels:
        name = PurePosixPath(label.path).with_suffix(".txt").as_posix()
        if name in files:
            both = f"{files[name]} and {label.path}"
            raise InputError(f"YOLO keeps the labels of {both} in one file {name}; rename one of them.")
        files[name] = label.path
    return list(files)


def _losses(labels: Sequence[LabelledImage], holes: int, empty: int) -> list[str]:
    scored = sum(len(label.masks) for label in labels if label.scores is not None)
    extra = sorted({name for label in labels for name in label.extra})
    counted = ((holes, "holes (filled)"), (empty, "masks without pixels"), (scored, "scores"))
    lost = [f"{count} {what}" for count, what in counted if count]
    return lost + [f"the values {', '.join(extra)}"] * bool(extra)
