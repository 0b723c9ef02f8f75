"""How good a boundary model is on held-out photos while it learns: the BSDS benchmark at fewer thresholds."""

from __future__ import annotations

import cv2
import numpy as np

from maskwright.data.boundary_targets import resize_lines, target_size
from maskwright.data.dataset import Dataset
from maskwright.data.outlines import outline
from maskwright.data.thin_lines import thin_lines
from maskwright.errors import DatasetError
from maskwright.io.images import read_image
from maskwright.methods.everything.config import BoundarySettings
from maskwright.metrics.boundary_scores import (
    BoundaryCounts,
    BoundaryScores,
    count_boundaries,
    even_thresholds,
    thinned,
)
from maskwright.metrics.suppression import suppress
from maskwright.models.boundary import BoundaryModel
from maskwright.models.boundary_detector import BoundaryDetector
from maskwright.types import BoolArray

THRESHOLDS = 24
# The cost of matching grows with the fourth power of the side.
LONGEST = 640


class Validation:
    """Held-out photos, with their boundaries.

    Args:
        dataset: annotated photos.
        settings: how many photos, and the resolution of the model.
    """

    def __init__(self, dataset: Dataset, settings: BoundarySettings) -> None:
        self.dataset, self.settings = dataset, settings
        count = min(settings.val_images, len(dataset))
        self.chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
        self._targets: dict[int, tuple[BoolArray, ...]] = {}

    def measure(self, model: BoundaryModel) -> dict[str, float]:
        """ODS, OIS and AP: suppression, thinning and matching as in the benchmark, at 24 thresholds.

        Raises:
            FileError: a photo cannot be used.
            DatasetError: no photo has a boundary, so that every model would score 0.
        """
        settings = self.settings
        detector = BoundaryDetector(model, resolution=settings.resolution, keep_aspect=settings.keep_aspect)
        scores = BoundaryScores([self._count(detector, index) for index in self.chosen])
        if not any(lines.any() for targets in self._targets.values() for lines in targets):
            held_out = (
                f"{len(self.chosen)} validation photos, such as {self.dataset.image_path(self.chosen[0])}"
            )
            raise DatasetError(
                f"there is no outline in any of the {held_out}: see what `maskwright data check` says of the "
                "data; give others for validation (--val), or train without it (--val-share 0)."
            )
        return {"ods": scores.ods.f, "ois": scores.ois.f, "ap": scores.ap}

    def _count(self, detector: BoundaryDetector, index: int) -> BoundaryCounts:
        image = read_image(self.dataset.image_path(index))
        # Larger photos would take minutes.
        size = target_size(image.size, min(LONGEST, max(image.size)), keep_aspect=True)
        if index not in self._targets:
            self._targets[index] = tuple(self.boundaries(index, size))
        thresholds = even_thresholds(THRESHOLDS)
        probability = detector(image)
        if probability.shape != size:
            probability = np.asarray(
                cv2.resize(probability, size[::-1], interpolation=cv2.INTER_AREA), np.float32
            )
        lines = list(thinned(suppress(probability), thresholds))
        return count_boundaries(lines, self._targets[index], thresholds)

    def boundaries(self, index: int, size: tuple[int, int]) -> list[BoolArray]:
        """Each annotator's boundaries of a photo of the dataset, one pixel wide, at a size."""
        drawn = self.dataset.contours(index)
        if drawn is None:
            return [outline(self.dataset.shapes(index), thickness=1, resolution=size)]
        maps = [resize_lines(lines, size) for lines in drawn.maps]
        return [lines if drawn.thin and lines.shape == size else thin_lines(lines) for lines in maps]
