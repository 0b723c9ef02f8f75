"""Masks of one photo in the form of SA-1B: one JSON file with run-length codes, scores, clicks and crops.

{"image": {"image_id", "width", "height", "file_name"},
 "annotations": [{"id", "segmentation": {"size": [h, w], "counts"}, "bbox": [x, y, w, h], "area",
                  "predicted_iou", "stability_score", "point_coords": [[x, y]], "crop_box": [x, y, w, h]}]}

Masks of a model with uncertainty heads also have "quality", "model_gap", "prompt_gap" and "task_gap", as far
as the heads tell them; readers of SA-1B pass over keys that they do not know.

Source: the layout of Meta's SA-1B download.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from maskwright.errors import ConfigError
from maskwright.io.label_shards import MaskRow
from maskwright.labeling.plan import PlannedImage
from maskwright.models.uncertainty import VALUES

# Numbers kept free for each photo's masks, so that ids are unlike in a set without counting in it.
IDS_PER_IMAGE = 1_000_000


def to_sa1b(image: PlannedImage, size: tuple[int, int], rows: Sequence[MaskRow]) -> dict[str, Any]:
    """The content of one photo's file; `size` is (height, width)."""
    number = image.number + 1
    return {
        "image": {"image_id": number, "width": size[1], "height": size[0], "file_name": image.path.name},
        "annotations": [_annotation(row, number * IDS_PER_IMAGE + row.index) for row in rows],
    }


def _annotation(row: MaskRow, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "segmentation": {"size": [row.height, row.width], "counts": row.rle.decode("ascii")},
        "bbox": [row.bbox_x, row.bbox_y, row.bbox_w, row.bbox_h],
        "area": row.area,
        "predicted_iou": row.predicted_iou,
        "stability_score": row.stability,
        "point_coords": [[row.point_x, row.point_y]],
        "crop_box": [row.crop_x, row.crop_y, row.crop_w, row.crop_h],
        **{name: value for name in VALUES if (value := getattr(row, name)) is not None},
    }


def check_names(names: Iterable[str]) -> None:
    """Refuse photos that only their extensions tell apart, for SA-1B's files are named without.

    Raises:
        ConfigError: naming two of them.
    """
    seen: dict[PurePosixPath, str] = {}
    for name in names:
        stem = PurePosixPath(name).with_suffix("")
        if stem in seen:
            raise ConfigError(
                f"{seen[stem]} and {name} would both be written to {stem}.json in SA-1B's form: "
                "label them apart, or with --format parquet."
            )
        seen[stem] = name
