"""What was promised, from which data, and how it is applied: the records that commands store and read.

A promise speaks of a new image that could as well have been one of the calibration's, and of the mean over
its masks: an image counts once, however many masks it has. Axes: n masks.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from maskwright.config import Settings, build_settings
from maskwright.errors import ConfigError
from maskwright.methods.uncertainty.margins import GRID, CoverNeed, with_margin
from maskwright.metrics.ranking import Floats, paired
from maskwright.metrics.statistics import group_weights
from maskwright.types import BoolArray

Groups = Sequence[Hashable] | None
Share = Annotated[float, Field(gt=0, lt=1)]
Risk = Literal["marginal", "selective"]
Cover = Literal["object", "pixels"]


class Origin(Settings):
    """What a promise was calibrated on; it holds for nothing else."""

    model: str = ""
    """Digest of the model and its heads."""
    data: str = ""
    """The images, such as "davis2017:FOLDER"."""
    score: str = "quality"
    """What was taken as the quality of a mask."""
    prompt: str = ""
    """How the masks were asked for."""


class Guarantee(Settings):
    """What all promises have."""

    alpha: Share
    """The risk that is not exceeded."""
    images: Annotated[int, Field(ge=1)]
    """Of the calibration."""
    masks: Annotated[int, Field(ge=1)]
    """Of the calibration."""
    origin: Origin = Origin()

    def to_json(self) -> dict[str, Any]:
        """As a JSON value, which `guarantee_from_json` reads."""
        return self.model_dump(mode="json")


class KeepThreshold(Guarantee):
    """Keep masks of at least this quality, and a bounded loss is to be expected.

    risk "marginal": E[loss · 1{kept}] ≤ alpha, over all masks, those that are not kept costing nothing, and
    over calibrations. risk "selective": E[loss | kept] ≤ alpha for all but a share `delta` of calibrations.
    """

    kind: Literal["keep"] = "keep"
    risk: Risk
    loss: str
    """What is lost by a mask, in [0, 1], such as "1 - IoU"."""
    delta: Share | None
    """Share of calibrations that may fail; null for a marginal risk, whose promise is an expectation."""
    threshold: float | None
    """The lowest quality that is kept; null when nothing may be kept."""

    def keeps(self, quality: npt.ArrayLike) -> BoolArray:
        """(n,) bool: which masks to keep."""
        scores = np.asarray(quality, np.float64)
        if self.threshold is None:
            return np.zeros(scores.shape, np.bool_)
        kept: BoolArray = scores >= self.threshold
        return kept

    def measured(self, quality: npt.ArrayLike, loss: npt.ArrayLike, groups: Groups = None) -> float:
        """The risk on other masks, to be compared with alpha; NaN for a selective one that keeps nothing."""
        scores, losses = paired(quality=quality, loss=loss)
        weights = group_weights(groups, len(scores))
        kept = weights * self.keeps(scores)
        whole = float(weights.sum() if self.risk == "marginal" else kept.sum())
        return float(kept @ losses) / whole if whole else float("nan")


class LowerBound(Guarantee):
    """P(IoU ≥ quality − offset) ≥ 1 − alpha, over masks and calibrations."""

    kind: Literal["lower-bound"] = "lower-bound"
    offset: float
    """What is taken from the quality, a difference of IoU; below 0 where qualities promise too little."""

    def bound(self, quality: npt.ArrayLike) -> Floats:
        """(n,) what the IoU is at least, in [0, 1]."""
        return np.clip(np.asarray(quality, np.float64) - self.offset, 0, 1)

    def measured(self, quality: npt.ArrayLike, iou: npt.ArrayLike, groups: Groups = None) -> float:
        """Share of other masks whose IoU meets the bound, to be compared with 1 − alpha."""
        scores, truth = paired(quality=quality, iou=iou)
        return _mean(scores - truth <= self.offset, groups)


class CoverMargin(Guarantee):
    """Masks with this margin cover their objects.

    cover "object": P(the whole object is covered) ≥ 1 − alpha. cover "pixels": of an object's pixels a share
    of at least 1 − alpha is covered on average. Both over masks and calibrations.
    """

    kind: Literal["cover"] = "cover"
    cover: Cover
    margin: Annotated[float, Field(ge=0)]
    """Share of the object's size, the square root of the mask's area."""

    def apply(self, mask: BoolArray) -> BoolArray:
        """(H, W) mask with the margin."""
        return with_margin(mask, self.margin)

    def measured(self, needs: Sequence[CoverNeed], groups: Groups = None) -> float:
        """Share of other objects, or mean share of their pixels, that is covered: compare with 1 − alpha."""
        if self.cover == "object":
            return _mean(np.array([need.margin <= self.margin for need in needs]), groups)
        step = int(np.searchsorted(GRID, self.margin, side="right")) - 1
        return _mean(1 - np.array([need.missed_J[step] for need in needs], np.float64), groups)


_KINDS: dict[str, type[Guarantee]] = {
    "keep": KeepThreshold,
    "lower-bound": LowerBound,
    "cover": CoverMargin,
}


def guarantee_from_json(value: object, source: str) -> KeepThreshold | LowerBound | CoverMargin:
    """Read what `to_json` gave; strictly, for it may have been edited.

    Args:
        value: the JSON value.
        source: where it comes from, for messages.

    Raises:
        ConfigError: an unknown kind, a missing or unknown key, a value of another type or out of range.
    """
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigError(f"{source}: no guarantee; its kind must be one of {', '.join(_KINDS)}.")
    found = build_settings(_KINDS[kind], value, source)
    assert isinstance(found, KeepThreshold | LowerBound | CoverMargin)
    return found


def _mean(values: npt.NDArray[Any], groups: Groups) -> float:
    """Mean over images of the mean over an image's masks; NaN without any."""
    weights = group_weights(groups, len(values))
    return float(weights @ values / weights.sum()) if len(values) else float("nan")
