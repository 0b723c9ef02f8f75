"""GeoJSON: for each image a FeatureCollection with exact polygons, holes included: OUT/a/x.jpg.geojson.

Coordinates are pixels (x to the right, y down, pixel borders at whole numbers), not degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskwright.export.labelled import LabelledImage, properties
from maskwright.io.files import write_json
from maskwright.io.polygons import outline, to_geojson


def write_geojson(labels: Sequence[LabelledImage], path: Path) -> list[str]:
    """Write a folder with one file an image.

    Returns:
        What was lost: nothing.

    Raises:
        FileError: naming the path and the reason.
    """
    for label in labels:
        collection = {
            "type": "FeatureCollection",
            "image": {"path": label.path, "height": label.height, "width": label.width},
            "features": [_feature(label, index) for index in range(len(label.masks))],
        }
        write_json(label.output(path, ".geojson"), collection, indent=None)
    return []


def _feature(label: LabelledImage, index: int) -> dict[str, Any]:
    geometry = to_geojson(outline(label.masks[index].decode()))
    return {"type": "Feature", "id": index, "properties": properties(label, index), "geometry": geometry}
