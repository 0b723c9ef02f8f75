"""Everything in many images, into a folder: boundary maps, segments, region trees, pictures.

OUT/overlays/a/x.jpg.png     segments on the photo, its longest side at most 2000 pixels
OUT/boundaries/a/x.jpg.png   boundary map, 0 to 255
OUT/labels/a/x.jpg.png       label map, 8 or 16 bit: 1 for the largest segment; 0 where a grid found nothing
                             (.tif with 32 bit, if there are more than 65,535)
OUT/trees/a/x.jpg.npz        region tree, for `Hierarchy.load`: any granularity without the model
OUT/trees/a/x.jpg.png        the photo in 256, 64, 16 and 4 segments
and what every run over images has (`image_run`): coco.json holds all segments.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from maskwright.export.labelled import LabelledImage
from maskwright.io.images import write_png
from maskwright.io.inputs import ImageFile
from maskwright.io.masks import rles_to_labels, write_label_map
from maskwright.io.rle import RLE
from maskwright.methods.automatic.config import AutomaticSettings
from maskwright.methods.automatic.generator import check_quality, generate
from maskwright.methods.everything.cut import Cut, boundary_of_masks, cut, find_everything
from maskwright.methods.everything.hierarchy import Hierarchy
from maskwright.methods.everything.seeds import to_levels
from maskwright.methods.everything.segments import Segments
from maskwright.methods.everything.settings import CutSettings
from maskwright.methods.everything.watershed import Labels
from maskwright.models.boundary_detector import BoundaryDetector, Resolution
from maskwright.models.segmenter import Segmenter
from maskwright.report.image_run import ImageRun, Record
from maskwright.report.partition import draw_partition, draw_tree
from maskwright.report.segmentation import OVERLAY_SIDE, heads_of
from maskwright.types import FloatArray, Image

PNG_LABELS = 65535
PLACES, PICTURES = ("boundary", "labels", "tree"), ("overlay", "tree_picture")


@dataclass(frozen=True, eq=False)
class Found:
    """What is in one image.

    Args:
        masks: K of them.
        labels: (H, W) int32, the number of the segment at each pixel, from 1; 0 for none.
        boundary: (H, W) float32 in [0, 1].
        tree: every granularity.
        seconds: of each stage.
        scores: K, or None.
        extra: further values, K of each name.
    """

    masks: tuple[RLE, ...]
    labels: Labels
    boundary: FloatArray
    tree: Hierarchy
    seconds: Mapping[str, float]
    scores: tuple[float, ...] | None = None
    extra: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


class Finder(Protocol):
    """A way to find everything in an image."""

    def described(self) -> dict[str, Any]:
        """All that decides what is found."""

    def find(self, image: Image) -> Found:
        """Everything in one image.

        Raises:
            InputError: this image cannot be done; the run goes on.
        """


@dataclass(frozen=True)
class BoundaryFinder:
    """Cuts an image along the boundary map of a model.

    A segment's "strength" is that of its weakest border: how sure it is to be more than a part of another.

    Args:
        detector: the model.
        settings: how fine.
        resolution: side of the model's input, or images as they are; its own by default.
        tile: as for the detector.
    """

    detector: BoundaryDetector
    settings: CutSettings
    resolution: Resolution | None = None
    tile: int | None = None

    def __post_init__(self) -> None:
        # What cuts is compiled on its first use, which must not count as the first image's time.
        cross = np.zeros((9, 9), np.float32)
        cross[4], cross[:, 4] = 1, 1
        self._listed(cut(cross, self.settings, {}))

    def described(self) -> dict[str, Any]:
        """Model and settings."""
        asked = {"resolution": self.resolution, "tile": self.tile}
        model = {"model": self.detector.signature, **self.detector.arithmetic}
        return {"method": "boundary", **model, **asked} | self.settings.model_dump()

    def find(self, image: Image) -> Found:
        """Cut one image."""
        found = find_everything(
            self.detector, image, self.settings, resolution=self.resolution, tile=self.tile
        )
        return self._listed(found)

    def _listed(self, found: Cut) -> Found:
        start = time.perf_counter()
        masks = found.segments.rles()
        seconds = found.seconds | {"masks": time.perf_counter() - start}
        extra = {"strength": weakest_borders(found.segments, found.boundary)}
        return Found(masks, found.segments.labels, found.boundary, found.tree, seconds, extra=extra)


@dataclass(frozen=True)
class GridFinder:
    """Asks a model with a grid of clicks, as SAM's automatic generator does; masks may overlap.

    Its boundary map is made of the masks' outlines, as strong as their predicted IoU.

    Args:
        segmenter: the model.
        settings: which clicks, and which answers are kept.

    Raises:
        InputError: settings that the model cannot meet.
    """

    segmenter: Segmenter
    settings: AutomaticSettings

    def __post_init__(self) -> None:
        # Once for the run, not for each of its images.
        check_quality(self.segmenter, self.settings)

    def described(self) -> dict[str, Any]:
        """Model and settings."""
        settings = self.settings.for_family(self.segmenter.model.family)
        model = {"model": self.segmenter.signature, **self.segmenter.arithmetic}
        return {"method": "grid", **model, "heads": heads_of(self.segmenter)} | settings.model_dump()

    def find(self, image: Image) -> Found:
        """Ask about one image."""
        start = time.perf_counter()
        found = sorted(generate(self.segmenter, image, self.settings), key=lambda mask: -mask.area)
        seconds = {"grid": time.perf_counter() - start}
        masks = tuple(mask.rle for mask in found)
        scores = tuple(mask.predicted_iou for mask in found)
        boundary = boundary_of_masks(masks, scores, image.size)
        tree = cut(boundary, CutSettings(), seconds).tree
        names = {name for mask in found for name in mask.extras}
        extra = {name: tuple(mask.extras[name] for mask in found) for name in sorted(names)}
        extra = {"stability": tuple(mask.stability for mask in found)} | extra
        return Found(masks, rles_to_labels(masks, image.size), boundary, tree, seconds, scores, extra)


class EverythingRun(ImageRun[Found]):
    """Everything in many images, in a folder.

    Args:
        folder, overwrite: as for `ImageRun`.
        finder: how.
        pictures: write overlays and pictures of the trees.

    Raises:
        ConfigError, FileError: as `ImageRun` does.
    """

    def __init__(
        self, folder: Path, finder: Finder, *, overwrite: bool = False, pictures: bool = True
    ) -> None:
        self.finder = finder
        self.pictures = pictures
        super().__init__(folder, overwrite=overwrite)

    def described(self) -> dict[str, Any]:
        """As the finder is."""
        return self.finder.described()

    def ask(self, image: ImageFile, pixels: Image) -> Found:
        """Everything in one image."""
        return self.finder.find(pixels)

    def files(self, record: Record) -> list[str]:
        """Maps, tree and pictures."""
        return [record[name] for name in (*PLACES, *PICTURES) if record[name]]

    def write(self, image: ImageFile, pixels: Image, found: Found) -> Record:
        """Write maps, tree and pictures."""
        label = LabelledImage(
            image.name, *pixels.size, found.masks, scores=found.scores, extra=dict(found.extra)
        )
        ending = ".png" if len(found.masks) <= PNG_LABELS else ".tif"
        boundary, labels, tree = (
            self.place(image, part, end)
            for part, end in (("boundaries", ".png"), ("labels", ending), ("trees", ".npz"))
        )
        write_png(self.folder / boundary, to_levels(found.boundary))
        write_label_map(self.folder / labels, found.labels)
        found.tree.save(self.folder / tree)
        seconds = {name: round(value, 5) for name, value in found.seconds.items()}
        pictures = self._draw(image, pixels, found) if self.pictures else dict.fromkeys(PICTURES)
        places = dict(zip(PLACES, (boundary, labels, tree), strict=True))
        return {**label.to_record(), **places, **pictures, "seconds": seconds}

    def _draw(self, image: ImageFile, pixels: Image, found: Found) -> dict[str, str | None]:
        overlay, tree = (self.place(image, part, ".png") for part in ("overlays", "trees"))
        write_png(self.folder / overlay, draw_partition(pixels, found.labels, max_side=OVERLAY_SIDE))
        write_png(self.folder / tree, draw_tree(pixels, found.tree))
        return dict(zip(PICTURES, (overlay, tree), strict=True))


def weakest_borders(segments: Segments, boundary: FloatArray) -> tuple[float, ...]:
    """The strength of each segment's weakest border, in [0, 1]; 1 for one without a neighbour."""
    borders = segments.borders(boundary)
    weakest = np.ones(segments.count)
    for side in borders.pairs.T:
        np.minimum.at(weakest, side - 1, borders.strengths)
    return tuple(np.round(weakest, 4).tolist())
