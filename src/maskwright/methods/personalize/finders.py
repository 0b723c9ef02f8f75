"""What is measured: personalisation, and what it has to beat without a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maskwright.methods.automatic.config import AutomaticSettings
from maskwright.methods.automatic.generator import generate
from maskwright.methods.personalize.config import PersonalizeSettings
from maskwright.methods.personalize.evaluation import whole
from maskwright.methods.personalize.find import find
from maskwright.methods.personalize.learn import learn
from maskwright.methods.personalize.reference import Reference
from maskwright.methods.personalize.target import Target
from maskwright.types import BoolArray, Sample

if TYPE_CHECKING:
    from maskwright.methods.personalize.dino import DINO
    from maskwright.models.segmenter import Segmenter

GRID = AutomaticSettings(points_per_side=8, pred_iou_thresh=0.0, stability_score_thresh=0.0, max_area=0.6)
"""The masks among which the most salient one is chosen."""
SMALLEST = 0.02
"""Share of the photo that it covers at least."""


@dataclass(frozen=True)
class Personalized:
    """PerSAM, PerSAM-F or parts; by default the object is taken to be there, as in PerSAM's own figures."""

    segmenter: Segmenter
    settings: PersonalizeSettings
    localizer: DINO | None = None
    threshold: float = -1.0

    def learn(self, references: Sequence[Sample], name: str) -> Target:
        """Learn from the whole of the references' masks."""
        known = [Reference(sample.image, whole(sample)) for sample in references]
        return learn(self.segmenter, known, self.settings, name=name, localizer=self.localizer)

    def find(self, known: Target, sample: Sample) -> tuple[BoolArray, float]:
        """The mask, empty if the object is absent, and its similarity to the references."""
        found = find(
            self.segmenter, sample.image, [known], localizer=self.localizer, threshold=self.threshold
        )
        if found:
            return found[0].mask, found[0].similarity
        return np.zeros(sample.image.size, np.bool_), -1.0


@dataclass(frozen=True)
class CenterClick:
    """The mask of a click at the photo's centre: the references are not looked at."""

    segmenter: Segmenter

    def learn(self, references: Sequence[Sample], name: str) -> None:
        """Nothing."""

    def find(self, known: None, sample: Sample) -> tuple[BoolArray, float]:
        """The model's single mask."""
        height, width = sample.image.size
        masks = self.segmenter(sample.image, points=[[width / 2, height / 2]])
        found: BoolArray = masks.binary()[0, 0]
        return found, float(masks.iou[0, 0])


@dataclass(frozen=True)
class MostSalient:
    """Of a grid of clicks the mask in which the model believes most: the references are not looked at."""

    segmenter: Segmenter

    def learn(self, references: Sequence[Sample], name: str) -> None:
        """Nothing."""

    def find(self, known: None, sample: Sample) -> tuple[BoolArray, float]:
        """The mask with the highest predicted IoU that is no speck; an empty one if there is none."""
        pixels = sample.image.size[0] * sample.image.size[1]
        found = [
            mask for mask in generate(self.segmenter, sample.image, GRID) if mask.area >= SMALLEST * pixels
        ]
        if not found:
            return np.zeros(sample.image.size, np.bool_), -1.0
        best = max(found, key=lambda mask: mask.predicted_iou)
        return best.rle.decode(), best.predicted_iou
