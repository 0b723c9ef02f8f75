"""Calibrators of heads: from what a head says to what it should have said, on masks it has not learned from.

In use they are the table `UncertaintyHeads.calibration`. Predictions and targets lie in [0, 1]; a gap is
passed shifted, as the head says it. Axes: n masks, J knots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, logit
from torch import Tensor

from maskwright.errors import InputError
from maskwright.methods.uncertainty.settings import CalibrationKind
from maskwright.metrics.ranking import Floats, paired

LEAST_SLOPE = 0.01
"""Of the logit, 1 / T: a head that ranks the wrong way round is flattened, not turned round."""


EPSILON = 1e-6
"""Where the logit of a value near 0 or 1 is cut off."""


@dataclass(frozen=True, eq=False)
class IdentityCalibrator:
    """Leaves values as they are."""

    def __call__(self, values: Tensor) -> Tensor:
        """The values."""
        return values


@dataclass(frozen=True, eq=False)
class TemperatureCalibrator:
    """q = σ(logit(p) / T + b): Platt scaling of a probability, temperature scaling where b is 0.

    Strictly rising, so it never changes an order (Guo et al., ICML 2017).

    Args:
        temperature: T > 0.
        bias: b.
    """

    temperature: float
    bias: float

    def __call__(self, values: Tensor) -> Tensor:
        """Calibrate values in [0, 1] of any shape."""
        return torch.sigmoid(torch.logit(values.float(), eps=EPSILON) / self.temperature + self.bias)


@dataclass(frozen=True, eq=False)
class IsotonicCalibrator:
    """Linear between knots, never falling; values outside [0, 1] are taken as the nearest end.

    Args:
        knots: (J,) rising strictly from 0 to 1.
        heights: (J,) in [0, 1], never falling.
    """

    knots: Floats
    heights: Floats

    def __call__(self, values: Tensor) -> Tensor:
        """Calibrate values of any shape."""
        return torch.from_numpy(np.interp(values.numpy(), self.knots, self.heights)).float()


Calibrator = IdentityCalibrator | TemperatureCalibrator | IsotonicCalibrator


def fit_calibrator(kind: CalibrationKind, predicted: npt.ArrayLike, target: npt.ArrayLike) -> Calibrator:
    """Fit a calibrator of a kind.

    Args:
        kind: "none", "isotonic" or "temperature".
        predicted: (n,) what the head says; what lies outside [0, 1] is taken as the nearest end.
        target: (n,) what it should have said, in [0, 1].

    Raises:
        InputError: for no values, values that are not finite, different lengths, targets outside [0, 1].
    """
    scores, truth = paired(predicted=predicted, target=target)
    if truth.min() < 0 or truth.max() > 1:
        raise InputError(f"targets must lie in [0, 1], not [{truth.min():.3g}, {truth.max():.3g}].")
    return _FITS[kind](np.clip(scores, 0, 1), truth)


def fit_isotonic(predicted: Floats, target: Floats) -> IsotonicCalibrator:
    """Centred isotonic regression (Oron & Flournoy, Stat. Biopharm. Res. 2017).

    Isotonic regression pools neighbours until the means of their targets never fall, which leaves steps of
    equal values. Here each step becomes a knot at the mean of its predictions, and the line between knots
    rises, so that the order of masks within a step is kept. Below the first and above the last knot it is
    flat: nothing is known there.
    """
    knots, index, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    means = np.bincount(index, weights=target) / counts
    pooled = isotonic_regression(means, weights=counts)
    starts = pooled.blocks[:-1]
    weights = np.add.reduceat(counts, starts)
    centres = np.add.reduceat(counts * knots, starts) / weights
    # The ends may be knots already.
    inside = (centres > 0) & (centres < 1)
    heights = pooled.x[starts].clip(0, 1)
    heights = np.concatenate([heights[:1], heights[inside], heights[-1:]])
    return IsotonicCalibrator(np.pad(centres[inside], 1, constant_values=(0, 1)), heights)


def fit_temperature(predicted: Floats, target: Floats) -> TemperatureCalibrator:
    """Temperature and bias of least cross-entropy with the targets, as soft labels (Platt 1999; Guo 2017).

    One further, imagined mask, which is right as it is, pulls both towards leaving values alone: it keeps
    them finite where all targets are 0 or 1, and does not matter among hundreds.
    """
    logits = logit(np.clip(predicted, EPSILON, 1 - EPSILON))

    def objective(parameters: Floats) -> tuple[float, Floats]:
        slope, bias = parameters
        raised = slope * logits + bias
        # −t log σ(z) − (1 − t) log(1 − σ(z)) = log(1 + eᶻ) − t z
        loss = np.logaddexp(0, raised).sum() - target @ raised + ((slope - 1) ** 2 + bias**2) / 2
        off = expit(raised) - target
        return float(loss), np.array([off @ logits + slope - 1, off.sum() + bias])

    found = minimize(
        objective,
        np.array([1.0, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(LEAST_SLOPE, None), (None, None)],
    )
    slope, bias = found.x
    return TemperatureCalibrator(float(1 / slope), float(bias))


def _leave(predicted: Floats, target: Floats) -> IdentityCalibrator:
    return IdentityCalibrator()


_FITS: dict[CalibrationKind, Callable[[Floats, Floats], Calibrator]] = {
    "none": _leave,
    "isotonic": fit_isotonic,
    "temperature": fit_temperature,
}
