"""Settings of the automatic mask generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from maskwright.config import Settings
from maskwright.methods.settings import Fraction, Positive

Whole = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Thresholds:
    """Scores below which a mask is not believed."""

    pred_iou: float
    stability: float


# A small model is less sure of what a single click means, so at SAM's thresholds none of nano's masks stays.
THRESHOLDS = {"sam2": Thresholds(0.8, 0.95), "nano": Thresholds(0.5, 0.7)}
SAM_THRESHOLDS = Thresholds(0.88, 0.95)


class AutomaticSettings(Settings):
    """Which clicks are asked, and which of the answers are kept.

    The defaults are those of the released generators of SAM and SAM 2. SUM's pseudo-labels differ in
    `max_area` = 0.95.
    """

    points_per_side: Positive = 32
    """clicks along each side of the image: 32 asks 32 × 32"""
    points_per_batch: Positive = 64
    """clicks whose answers are held together; a GPU decodes them at once, a CPU 16 at a time"""
    pred_iou_thresh: float | None = None
    """masks stay whose IoU, as the model predicts it, is above this; by default 0.88, SAM 2 0.8, nano 0.5"""
    stability_score_thresh: Fraction | None = None
    """masks stay that are this stable when their threshold moves by the offset; by default 0.95, nano 0.7"""
    stability_score_offset: Annotated[float, Field(ge=0)] = 1.0
    """how far the threshold moves, in logits: stability is the IoU of the masks at +offset and -offset"""
    box_nms_thresh: Fraction = 0.7
    """a mask goes where one with a higher predicted IoU has a box of higher IoU with its own; 1: none goes"""
    crop_n_layers: Whole = 0
    """layers of crops asked in addition to the whole image; layer i cuts it into 2^i × 2^i"""
    crop_nms_thresh: Fraction = 0.7
    """the same between crops, where masks of smaller crops are preferred"""
    crop_overlap_ratio: Annotated[float, Field(ge=0, lt=1)] = 512 / 1500
    """overlap of the crops of the first layer, as part of the image's shorter side; halved in each further"""
    crop_n_points_downscale_factor: Positive = 1
    """clicks along each side are divided by this to the power of the layer"""
    min_mask_region_area: Whole = 0
    """holes and islands of a mask smaller than this many pixels are removed"""
    max_area: Annotated[float, Field(gt=0, le=1)] = 1.0
    """masks that cover more than this part of the image are left out"""
    min_quality: Fraction | None = None
    """masks stay whose expected IoU, as the model's uncertainty heads tell it, is at least this"""
    hq: Literal["sum", "only", "off"] = "sum"
    """logits of models with an HQ token: added to SAM's (sum), alone (only) or left out (off)"""

    def thresholds(self, family: str) -> Thresholds:
        """What was asked for, or else what suits the models of a family."""
        usual = THRESHOLDS.get(family, SAM_THRESHOLDS)
        return Thresholds(
            usual.pred_iou if self.pred_iou_thresh is None else self.pred_iou_thresh,
            usual.stability if self.stability_score_thresh is None else self.stability_score_thresh,
        )

    def for_family(self, family: str) -> AutomaticSettings:
        """The same settings with no threshold left open."""
        known = self.thresholds(family)
        return self.model_copy(
            update={"pred_iou_thresh": known.pred_iou, "stability_score_thresh": known.stability}
        )
