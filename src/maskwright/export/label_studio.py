"""Label Studio: a JSON file of tasks with brush masks as predictions, and the labelling setup beside it.

The tasks point to the images through Label Studio's local storage (`/data/local-files/?d=…`): serve the
folder of images as the document root, set the project up with the written `.xml`, then import the JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from maskwright.export.brush import encode_brush
from maskwright.export.labelled import LabelledImage, category_names
from maskwright.io.files import write_json, write_text
from maskwright.models.uncertainty import VALUES

_LABELS, _IMAGE = "label", "image"


def write_label_studio(labels: Sequence[LabelledImage], path: Path) -> list[str]:
    """Write the tasks to `path` and the setup to the same name with `.xml`.

    Returns:
        What was lost: extra values, but for those of uncertainty heads, which are notes of their regions.

    Raises:
        FileError: naming the path and the reason.
    """
    write_text(path.with_suffix(".xml"), _setup(category_names(labels)))
    write_json(path, [_task(label) for label in labels], indent=None)
    extra = sorted({name for label in labels for name in label.extra} - set(VALUES))
    return [f"the values {', '.join(extra)}"] * bool(extra)


def _task(label: LabelledImage) -> dict[str, Any]:
    prediction: dict[str, Any] = {
        "model_version": "maskwright",
        "result": [_region(label, index) for index in range(len(label.masks))],
    }
    if label.scores:
        prediction["score"] = sum(label.scores) / len(label.scores)
    url = "/data/local-files/?d=" + quote(label.path, errors="surrogateescape")
    return {"data": {_IMAGE: url}, "predictions": [prediction]}


def _region(label: LabelledImage, index: int) -> dict[str, Any]:
    region: dict[str, Any] = {
        "id": f"mask{index}",
        "type": "brushlabels",
        "from_name": _LABELS,
        "to_name": _IMAGE,
        "original_width": label.width,
        "original_height": label.height,
        "image_rotation": 0,
        "value": {
            "format": "rle",
            "rle": encode_brush(label.masks[index].decode()),
            "brushlabels": [label.names[index]],
        },
    }
    if label.scores is not None:
        region["score"] = label.scores[index]
    told = {name: label.extra[name][index] for name in VALUES if name in label.extra}
    notes = [f"{name} {value:.3f}" for name, value in told.items() if value is not None]
    return region | ({"meta": {"text": notes}} if notes else {})


def _setup(names: list[str]) -> str:
    rows = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in names)
    tag = f'  <BrushLabels name="{_LABELS}" toName="{_IMAGE}">\n{rows}  </BrushLabels>\n'
    return f'<View>\n  <Image name="{_IMAGE}" value="${_IMAGE}"/>\n{tag}</View>\n'
