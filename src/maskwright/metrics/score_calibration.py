"""How far a predicted quality can be believed as a number: do masks promised an IoU of 0.8 have it?

A calibrated quality q is the mean true IoU of all masks that get it. Unlike the certainty of pixels
(`calibration.py`) what it is compared with is no event but a number in [0, 1]. Axes: n masks, B bins.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from maskwright.errors import InputError
from maskwright.metrics.ranking import Floats, paired

Binning = Literal["width", "mass"]

BINS = 15
"""Guo et al. (ICML 2017), section 6."""


@dataclass(frozen=True)
class Bin:
    """Masks with about the same predicted quality.

    Args:
        low, high: bounds of their predictions.
        n: how many.
        predicted: mean prediction.
        actual: mean true IoU.
    """

    low: float
    high: float
    n: int
    predicted: float
    actual: float


@dataclass(frozen=True)
class ScoreCalibration:
    """What `score_calibration` finds.

    Args:
        bins: those with masks, by rising prediction: the reliability diagram.
        mse: mean squared error of single predictions; for a true value of 0 or 1 it is the Brier score.
        bias: mean prediction − mean true value; above 0 the predictions promise too much.
    """

    bins: tuple[Bin, ...]
    mse: float
    bias: float

    @property
    def n(self) -> int:
        """All masks."""
        return sum(part.n for part in self.bins)

    @property
    def ece(self) -> float:
        """Expected calibration error Σ n_b / n · |predicted_b − actual_b| (Guo et al. 2017, eq. 3)."""
        return sum(part.n * abs(part.predicted - part.actual) for part in self.bins) / self.n

    @property
    def mce(self) -> float:
        """Maximum calibration error, max_b |predicted_b − actual_b| (eq. 5); ruled by bins of few masks."""
        return max(abs(part.predicted - part.actual) for part in self.bins)

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON value."""
        names = ("n", "ece", "mce", "mse", "bias")
        return {name: getattr(self, name) for name in names} | {"bins": [asdict(part) for part in self.bins]}


def score_calibration(
    predicted: npt.ArrayLike, actual: npt.ArrayLike, bins: int = BINS, binning: Binning = "width"
) -> ScoreCalibration:
    """Compare predicted with true quality, bin by bin.

    Both errors grow with the number of bins when masks are few, even for a perfect prediction (chance moves
    each bin's mean by about σ / √n_b), so compare only figures of the same masks and bins.

    Args:
        predicted: (n,) predicted quality; what lies outside [0, 1] falls into the first or last bin.
        actual: (n,) true IoU, in [0, 1].
        bins: their number B; where masks are few or many predictions equal, some stay empty and are left out.
        binning: "width": bins of equal width 1 / B; "mass": of about equally many masks, their bounds being
            predictions, equal ones always together.

    Raises:
        InputError: for no values, values that are not finite, different lengths, true values outside [0, 1],
            or no bins.
    """
    scores, truth = paired(predicted=predicted, actual=actual)
    if truth.min() < 0 or truth.max() > 1:
        raise InputError(f"true values must lie in [0, 1], not [{truth.min():.3g}, {truth.max():.3g}].")
    if bins < 1:
        raise InputError(f"a calibration needs at least one bin, not {bins}.")
    edges, index = _equal_widths(scores, bins) if binning == "width" else _equal_masses(scores, bins)
    counts = np.bincount(index, minlength=bins)
    sums = (np.bincount(index, weights=column, minlength=bins) for column in (scores, truth))
    columns = zip(edges, edges[1:], counts, *sums, strict=False)
    found = tuple(
        Bin(float(low), float(high), int(n), float(promised / n), float(had / n))
        for low, high, n, promised, had in columns
        if n
    )
    return ScoreCalibration(found, float(((scores - truth) ** 2).mean()), float((scores - truth).mean()))


def event_brier(predicted: npt.ArrayLike, actual: npt.ArrayLike, threshold: float = 0.5) -> float:
    """Brier score of the event that a mask is good, its IoU at least `threshold`: mean (p − event)².

    Args:
        predicted: (n,) the event's predicted probability. An expected IoU is no such thing, so a quality has
            a Brier score above that of the probability made from it; it still tells how useful it is as one.
        actual: (n,) true IoU.
        threshold: what makes a mask good.

    Raises:
        InputError: for no values, values that are not finite, or different lengths.
    """
    scores, truth = paired(predicted=predicted, actual=actual)
    return float(((scores - (truth >= threshold)) ** 2).mean())


def _equal_widths(scores: Floats, bins: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Bounds (B + 1,) and each score's bin: [b / B, (b + 1) / B), the last with 1."""
    index = np.clip(np.floor(scores * bins), 0, bins - 1).astype(np.int64)
    return np.linspace(0, 1, bins + 1), index


def _equal_masses(scores: Floats, bins: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Bounds (B + 1,), quantiles of the scores, and each score's bin, which holds its upper bound."""
    edges = np.quantile(scores, np.linspace(0, 1, bins + 1), method="inverted_cdf")
    return edges, np.searchsorted(edges[1:-1], scores, side="left")
