"""Writing labels in any format, and reading the interchange format back."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from maskwright.errors import ConfigError, suggestion
from maskwright.export.coco import read_coco, write_coco
from maskwright.export.geojson import write_geojson
from maskwright.export.label_studio import write_label_studio
from maskwright.export.labelled import LabelledImage as LabelledImage
from maskwright.export.png import write_label_maps, write_masks
from maskwright.export.yolo import write_yolo
from maskwright.io.files import make_folder
from maskwright.io.lossy import warn_lossy

Writer = Callable[[Sequence[LabelledImage], Path], list[str]]

# Each writes atomically and returns what its format could not hold.
FORMATS: dict[str, Writer] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "geojson": write_geojson,
    "png": write_masks,
    "labelmap": write_label_maps,
    "labelstudio": write_label_studio,
}
# These write one file; the others a folder.
FILE_FORMATS = ("coco", "labelstudio")


def write_labels(labels: Sequence[LabelledImage], path: str | os.PathLike[str], format: str = "coco") -> None:
    """Write labels; what the format cannot hold is told in one `LossyConversionWarning`.

    Args:
        labels: the images and their masks.
        path: a JSON file for "coco" and "labelstudio", a folder for all others; missing folders are made.
        format: a key of `FORMATS`.

    Raises:
        ConfigError: for an unknown format.
        FileError: naming the path and the reason.
    """
    if format not in FORMATS:
        known = ", ".join(FORMATS)
        raise ConfigError(
            f"unknown label format {format!r}.{suggestion(format, FORMATS)} There are: {known}."
        )
    place = Path(path)
    make_folder(place.parent if format in FILE_FORMATS else place)
    lost = FORMATS[format](labels, place)
    if lost:
        warn_lossy(f"the format {format} cannot hold everything; lost: {'; '.join(lost).rstrip('.')}.")


def read_labels(path: str | os.PathLike[str]) -> list[LabelledImage]:
    """Read a COCO JSON: what `segment` and `write_labels` write, any instance file, or a list of results.

    Raises:
        FileError: when the file is missing or no COCO JSON.
        MaskError: naming the annotation, when a mask is malformed.
    """
    return read_coco(Path(path))
