"""Polygons with holes along pixel borders, exact in both directions, and the polygons that COCO files hold.

Coordinates are (x, y); pixel (column, row) is the square from (column, row) to (column + 1, row + 1), its
centre half a pixel further. A pixel belongs to a polygon when its centre lies inside (even-odd rule).
`rasterise(outline(mask), mask.shape)` is the mask itself, for every mask, holes included. COCO's own polygons
are drawn by pycocotools, whose rule at the edges differs by up to a pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from maskwright.errors import MaskError
from maskwright.io.rle import RLE, check_size
from maskwright.io.trace import trace
from maskwright.types import BoolArray

Ring = npt.NDArray[np.float64]

_CHUNK = 4_000_000


@dataclass(frozen=True, eq=False)
class Polygon:
    """One connected area.

    Args:
        exterior: (P, 2) corners (x, y), the last joined to the first; its signed area in x, y is positive.
        holes: rings cut out of it, in the opposite sense.
    """

    exterior: Ring
    holes: tuple[Ring, ...] = ()

    def __post_init__(self) -> None:
        for ring in (self.exterior, *self.holes):
            assert ring.ndim == 2 and ring.shape[1] == 2, ring.shape  # noqa: PT018


def outline(mask: BoolArray) -> list[Polygon]:
    """Trace a (H, W) bool mask along its pixel borders.

    Pixels that touch only at a corner are apart, so every polygon is simple and its interior connected, as
    the OGC's and GeoJSON's rules want it.

    Returns:
        One polygon for each 4-connected component; none for an empty mask.
    """
    return [Polygon(exterior, tuple(holes)) for exterior, holes in trace(mask)]


def rasterise(polygons: Iterable[Polygon], size: tuple[int, int]) -> BoolArray:
    """Draw the union of polygons into a (H, W) bool mask; parts outside are cut off.

    Raises:
        MaskError: for coordinates that are not finite, or so many long edges that drawing would not end, or
            a size beyond `MAX_PIXELS`.
    """
    check_size(size)
    result = np.zeros(size, np.bool_)
    for polygon in polygons:
        rings = (polygon.exterior, *polygon.holes)
        corners = np.concatenate(rings)
        if not np.isfinite(corners).all():
            raise MaskError("a polygon has a corner that is not a finite number.")
        x0, y0 = np.floor(corners.min(axis=0)).clip(0, size[::-1]).astype(int)
        x1, y1 = np.ceil(corners.max(axis=0)).clip(0, size[::-1]).astype(int)
        if x1 > x0 and y1 > y0:
            shifted = [ring - (x0, y0) for ring in rings]
            result[y0:y1, x0:x1] |= _fill(shifted, (y1 - y0, x1 - x0))
    return result


def to_geojson(polygons: Sequence[Polygon]) -> dict[str, Any]:
    """GeoJSON geometry in pixel coordinates: a Polygon, or a MultiPolygon for none or several parts."""
    parts = [[_closed(ring) for ring in (polygon.exterior, *polygon.holes)] for polygon in polygons]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def from_geojson(geometry: Any) -> list[Polygon]:  # noqa: ANN401
    """Read a GeoJSON Polygon or MultiPolygon in pixel coordinates.

    Raises:
        MaskError: for another type, or rings that are not lists of at least three points.
    """
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in {"Polygon", "MultiPolygon"}:
        raise MaskError(f"a mask's geometry is a Polygon or a MultiPolygon, not {kind}.")
    parts = geometry.get("coordinates")
    parts = [parts] if kind == "Polygon" else parts
    if not isinstance(parts, list) or not all(isinstance(part, list) and part for part in parts):
        raise MaskError(f"the coordinates of a {kind} are lists of rings.")
    return [
        Polygon(rings[0], tuple(rings[1:])) for rings in ([_ring(ring) for ring in part] for part in parts)
    ]


def rasterise_coco(segmentation: Any, size: tuple[int, int]) -> RLE:  # noqa: ANN401
    """Read any segmentation of a COCO annotation: a list of polygons, or either kind of RLE.

    Polygons ([x0, y0, x1, y1, …] each) are drawn by pycocotools and united.

    Raises:
        MaskError: for an empty list, odd or too few numbers, corners that are not finite or further than the
            image's own size outside of it, or an RLE of another size.
    """
    if isinstance(segmentation, dict):
        mask = RLE.from_coco(segmentation)
        if mask.size != tuple(size):
            raise MaskError(f"the mask is {mask.size}, but the image {tuple(size)} (height, width).")
        return mask
    if not isinstance(segmentation, list) or not segmentation:
        raise MaskError("the segmentation is empty: it must hold polygons or a run-length encoding.")
    check_size(size)
    rings = [_coco_ring(ring, size) for ring in segmentation]
    packed = coco.merge(coco.frPyObjects(rings, *size))
    return RLE(size, packed["counts"].decode("ascii"))


def _coco_ring(ring: Any, size: tuple[int, int]) -> list[float]:  # noqa: ANN401
    if not isinstance(ring, list) or len(ring) < 6 or len(ring) % 2:
        raise MaskError("a polygon is a list of at least three x, y pairs: [x0, y0, x1, y1, x2, y2, …].")
    values = _numbers(ring)
    # Drawing takes memory by the length of the edges, so they may not reach arbitrarily far.
    far = np.abs(values.reshape(-1, 2) / (size[1], size[0]) - 0.5).max()
    if not far <= 1.5:
        raise MaskError(f"a polygon reaches far outside its image of {size[1]}×{size[0]} pixels.")
    if len(ring) > 8 * (size[0] + 1) * (size[1] + 1):
        raise MaskError(f"a polygon has {len(ring) // 2:,} corners, more than its image has pixels.")
    return [float(value) for value in values]


def _numbers(values: list[Any]) -> npt.NDArray[np.float64]:
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise MaskError("the coordinates of a polygon are numbers.")
    try:
        array = np.array(values, dtype=np.float64)
    except OverflowError as error:
        raise MaskError("a polygon has a coordinate too large for any image.") from error
    if not np.isfinite(array).all():
        raise MaskError("a polygon has a coordinate that is not a finite number.")
    return array


def _ring(points: Any) -> Ring:  # noqa: ANN401
    pairs = isinstance(points, list) and all(isinstance(point, list) and len(point) == 2 for point in points)
    if not pairs or len(points) < 3:
        raise MaskError("a ring is a list of at least three [x, y] points.")
    ring = _numbers([value for point in points for value in point]).reshape(-1, 2)
    return ring[:-1] if (ring[0] == ring[-1]).all() else ring


def _closed(ring: Ring) -> list[list[float]]:
    closed: list[list[float]] = np.concatenate([ring, ring[:1]]).tolist()
    return closed


def _fill(rings: list[Ring], size: tuple[int, int]) -> BoolArray:
    """Even-odd rule at pixel centres: each edge toggles, in each row it crosses, all pixels right of it."""
    height, width = size
    start = np.concatenate(rings)
    stop = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    # From the upper to the lower end, so that an edge walked both ways meets exactly the same pixels.
    swap = start[:, 1] > stop[:, 1]
    top, bottom = np.where(swap[:, None], stop, start), np.where(swap[:, None], start, stop)
    first = np.ceil(top[:, 1] - 0.5).clip(0, height).astype(np.int64)
    rows = np.ceil(bottom[:, 1] - 0.5).clip(0, height).astype(np.int64) - first
    crossing = rows > 0
    top, bottom, first, rows = top[crossing], bottom[crossing], first[crossing], rows[crossing]
    if rows.sum() > 10 * height * width + 10_000_000:
        raise MaskError(f"a polygon of {len(start):,} corners crosses its image too often to be drawn.")
    slope = (bottom[:, 0] - top[:, 0]) / (bottom[:, 1] - top[:, 1])
    toggles = np.zeros((height, width + 1), np.bool_)
    cuts = np.searchsorted(np.cumsum(rows), np.arange(_CHUNK, int(rows.sum()), _CHUNK))
    for edges in np.split(np.arange(len(rows)), cuts):
        edge = np.repeat(edges, rows[edges])
        begin = np.repeat(np.cumsum(rows[edges]) - rows[edges], rows[edges])
        row = first[edge] + np.arange(len(edge)) - begin
        x = top[edge, 0] + slope[edge] * (row + 0.5 - top[edge, 1])
        column = np.ceil(x - 0.5).clip(0, width).astype(np.int64)
        counts = np.bincount(row * (width + 1) + column, minlength=toggles.size)
        toggles ^= (counts.reshape(toggles.shape) & 1).astype(np.bool_)
    return np.logical_xor.accumulate(toggles, axis=1)[:, :width]
