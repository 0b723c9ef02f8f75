"""Pictures of partitions: each segment in a colour of its own on the photo, and of a tree of them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from maskwright.data.outlines import Shapes, outline
from maskwright.io.masks import LabelMap
from maskwright.methods.everything.hierarchy import Hierarchy
from maskwright.report.canvas import scaled
from maskwright.report.overlay import heat
from maskwright.report.palette import WHITE, colour
from maskwright.report.sheet import side_by_side
from maskwright.types import ByteArray, Image

FILL = 0.45
SHADES = 21  # of `palette.colour`
STEP = 8  # from one label to the next, so that equals are far apart: it shares no factor with SHADES
SMALL = 480  # longest side of a picture in a sheet


def draw_partition(image: Image, labels: LabelMap, *, max_side: int | None = None) -> ByteArray:
    """Segments filled with colours, and the lines between them.

    Args:
        image: the photo.
        labels: (H, W) int32; 0 where there is no segment, which stays as it is.
        max_side: shrink larger photos to this longest side.

    Returns:
        (H', W', 3) uint8.
    """
    scale = 1.0 if max_side is None else min(1.0, max_side / max(image.size))
    picture = scaled(image.pixels, scale)
    height, width = picture.shape[:2]
    shown = np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST), np.int32)
    table = np.array([colour(STEP * k % SHADES) for k in range(SHADES)], np.float32)
    blended = (1 - FILL) * picture + FILL * table[shown % SHADES]
    picture[shown > 0] = np.rint(blended).astype(np.uint8)[shown > 0]
    picture[outline(Shapes((height, width), [shown]), thickness=1)] = WHITE
    return picture


def draw_tree(image: Image, tree: Hierarchy, counts: Sequence[int] = (256, 64, 16, 4)) -> ByteArray:
    """The photo cut into fewer and fewer segments, beside the strength of their borders, as one sheet.

    Args:
        image: the photo.
        tree: of its boundary map.
        counts: of segments, of each picture; those that the tree has not are left out.
    """
    small = Image(scaled(image.pixels, min(1.0, SMALL / max(image.size))), image.source)
    height, width = small.size
    pictures, captions = [small.pixels], ["photo"]
    for count in counts:
        if count > tree.fine.count:
            continue
        labels = tree.with_count(count).labels
        near = np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST), np.int32)
        pictures.append(draw_partition(small, near))
        captions.append(f"{count} segments")
    contours = tree.ultrametric()
    # The strongest border of each shown pixel, which an average would pale.
    step = max(1, -(-max(image.size) // SMALL))
    strongest = cv2.dilate(contours, np.ones((step, step), np.uint8))
    pictures.append(heat(cv2.resize(strongest, (width, height), interpolation=cv2.INTER_NEAREST)))
    captions.append("strength of the borders")
    return side_by_side(pictures, captions, columns=3)
