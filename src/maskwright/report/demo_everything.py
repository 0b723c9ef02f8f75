"""The demo's promptless scene: each photo cut into all there is, without a prompt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maskwright.methods.everything.cut import find_everything
from maskwright.models.boundary_detector import BoundaryDetector
from maskwright.report.demo import SIDE, Picture
from maskwright.report.demo_photos import DemoPhoto
from maskwright.report.overlay import heat
from maskwright.report.partition import draw_partition

FEW = 12


@dataclass(frozen=True, eq=False)
class EverythingScene:
    """What came of one photo.

    Args:
        name: of the photo.
        segments: how many it was cut into.
        finest: how many its tree has at most.
        milliseconds: from photo to segments.
        pictures: the boundary map, the segments, and a few of them.
    """

    name: str
    segments: int
    finest: int
    milliseconds: float
    pictures: tuple[Picture, ...]

    def to_json(self) -> dict[str, Any]:
        """For report.json, without the pictures."""
        return {
            "name": self.name,
            "segments": self.segments,
            "finest": self.finest,
            "ms": round(self.milliseconds, 1),
        }


def run_everything(detector: BoundaryDetector, photos: Sequence[DemoPhoto]) -> list[EverythingScene]:
    """Cut photos into segments.

    Raises:
        FileError: a photo cannot be read.
    """
    # What is compiled is compiled before the clock runs.
    find_everything(detector, photos[0].read())
    return [_scene(detector, photo) for photo in photos]


def _scene(detector: BoundaryDetector, photo: DemoPhoto) -> EverythingScene:
    image = photo.read()
    start = time.perf_counter()
    found = find_everything(detector, image)
    taken = 1000 * (time.perf_counter() - start)
    labels = found.segments.labels
    few = found.tree.with_count(min(FEW, found.segments.count))
    pictures = (
        Picture(heat(found.boundary), "Boundary map"),
        Picture(draw_partition(image, labels, max_side=SIDE), f"{found.segments.count} segments"),
        Picture(draw_partition(image, few.labels, max_side=SIDE), f"{few.count} of the same tree"),
    )
    return EverythingScene(photo.name, found.segments.count, found.tree.fine.count, taken, pictures)
