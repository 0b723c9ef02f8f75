"""Settings of the automatic mask generator."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from maskwright.config import Settings
from maskwright.methods.settings import Fraction, Positive

Whole = Annotated[int, Field(ge=0)]


class AutomaticSettings(Settings):
    """Which clicks are asked, and which of the answers are kept.

    The defaults are those of the released SAM generator. SAM 2's differs in `pred_iou_thresh` = 0.8, and the
    pseudo-labels of SUM in `max_area` = 0.95.
    """

    points_per_side: Positive = 32
    """clicks along each side of the image: 32 asks 32 × 32"""
    points_per_batch: Positive = 64
    """clicks whose answers are held together; a GPU decodes them at once, a CPU 16 at a time"""
    pred_iou_thresh: float = 0.88
    """masks stay whose IoU, as the model predicts it, is above this"""
    stability_score_thresh: Fraction = 0.95
    """masks stay that are at least this stable when their threshold moves by the offset"""
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
    hq: Literal["sum", "only", "off"] = "sum"
    """logits of models with an HQ token: added to SAM's (sum), alone (only) or left out (off)"""
