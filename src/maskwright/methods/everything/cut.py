"""Everything in an image: its boundary map, the region tree of that, and the partition that was asked for.

A boundary model gives the map at once. Masks that were found otherwise, such as those of SAM's automatic
generator, give one as well: where their outlines lie, as strong as the mask is believed. So both lead to the
same tree, and granularity is a level of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskwright.data.outlines import Patch, Shapes, outline
from maskwright.io.rle import RLE
from maskwright.methods.everything.hierarchy import Hierarchy
from maskwright.methods.everything.segments import Segments
from maskwright.methods.everything.settings import CutSettings
from maskwright.models.boundary_detector import BoundaryDetector, Resolution
from maskwright.types import FloatArray, Image

DEFAULTS = CutSettings()


@dataclass(frozen=True, eq=False)
class Cut:
    """What is in an image.

    Args:
        boundary: (H, W) float32 in [0, 1], how sure it is that each pixel lies on a boundary.
        tree: every granularity.
        segments: the one that was asked for.
        seconds: of each stage, by name.
    """

    boundary: FloatArray
    tree: Hierarchy
    segments: Segments
    seconds: dict[str, float]


def find_everything(
    detector: BoundaryDetector,
    image: Image,
    settings: CutSettings = DEFAULTS,
    *,
    resolution: Resolution | None = None,
    tile: int | None = None,
) -> Cut:
    """Cut an image into everything that a boundary model tells apart.

    Args:
        detector: the model.
        image: any.
        settings: how fine.
        resolution: side of the model's input, or images as they are; its own by default.
        tile: as for the detector.

    Raises:
        InputError: a setting is out of range.
    """
    start = time.perf_counter()
    boundary = detector(image, resolution=resolution, tile=tile)
    return cut(boundary, settings, {"boundary": time.perf_counter() - start})


def cut(boundary: FloatArray, settings: CutSettings, seconds: dict[str, float]) -> Cut:
    """Cut along a boundary map.

    Args:
        boundary: (H, W) float32 in [0, 1].
        settings: how fine.
        seconds: what earlier stages took; those of this are added.

    Raises:
        InputError: a map that is none.
    """
    start = time.perf_counter()
    tree = Hierarchy.of(boundary, threshold=settings.threshold, min_area=settings.min_area, rim=settings.rim)
    made = time.perf_counter()
    found = tree.fine if settings.threshold is not None else tree.at(settings.level)
    if settings.segments is not None and found.count > settings.segments:
        found = tree.with_count(settings.segments)
    taken = {"tree": made - start, "segments": time.perf_counter() - made}
    return Cut(boundary, tree, found, seconds | taken)


def boundary_of_masks(masks: Sequence[RLE], scores: Sequence[float], size: tuple[int, int]) -> FloatArray:
    """A boundary map of masks that may overlap: at each pixel the best score of a mask outlined there.

    Args:
        masks: K masks.
        scores: K, how much each is believed.
        size: (H, W).

    Returns:
        (H, W) float32 in [0, 1]; lines are two pixels wide, one on each side of an outline.
    """
    strongest = np.zeros(size, np.float32)
    for mask, score in zip(masks, scores, strict=True):
        if not mask.area:
            continue
        x, y, width, height = mask.box
        # A pixel more on each side, as far as there is one: that is where the outline lies.
        rows = slice(max(0, y - 1), min(size[0], y + height + 1))
        columns = slice(max(0, x - 1), min(size[1], x + width + 1))
        inside = mask.decode()[rows, columns]
        lines = outline(Shapes(inside.shape, (Patch(inside),)), thickness=2)
        here = strongest[rows, columns]
        np.maximum(here, lines * np.float32(min(max(score, 0.0), 1.0)), out=here)
    return strongest
