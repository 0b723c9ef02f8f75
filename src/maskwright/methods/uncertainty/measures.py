"""How well heads say what they should, and the fit of their calibration.

Axes: A rows, K heads.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from maskwright.methods.uncertainty.calibrators import fit_calibrator
from maskwright.methods.uncertainty.data import Rows
from maskwright.methods.uncertainty.settings import CalibrationKind
from maskwright.metrics.ranking import pearson, spearman
from maskwright.metrics.score_calibration import score_calibration
from maskwright.models.uncertainty import KNOTS, UncertaintyHeads

Floats = npt.NDArray[np.float32]

WITHIN = (0.1, 0.05, 0.01)


@torch.no_grad()
def outputs(heads: UncertaintyHeads, rows: Rows) -> Floats:
    """(A, K) outputs in [0, 1], not calibrated."""
    device = heads.calibration.device
    parts = [heads(torch.from_numpy(part).to(device)).cpu().numpy() for part in rows.chunks()]
    return np.concatenate(parts)


@torch.no_grad()
def calibrate(heads: UncertaintyHeads, rows: Rows, kind: CalibrationKind) -> None:
    """Fit the calibration of each head on rows that no head has learned from, and put it into the heads."""
    places = torch.linspace(0, 1, KNOTS)
    said = outputs(heads, rows)
    for k in range(said.shape[1]):
        heads.calibration[k] = fit_calibrator(kind, said[:, k], rows.targets[:, k])(places)


def measure(heads: UncertaintyHeads, rows: Rows) -> dict[str, float]:
    """Figures of each head as it is used, calibrated, by "HEAD_FIGURE"; a figure that is not defined is 0.

    R², mse, mean |error| and the share of rows within 0.1, 0.05 and 0.01 (as the published training tells),
    Pearson's and Spearman's correlation, and the expected calibration error after and before calibration;
    and, first of all, "r2", the mean of all heads' R².
    """
    raw = outputs(heads, rows)
    with torch.no_grad():
        said = heads.calibrated(torch.from_numpy(raw).to(heads.calibration.device)).cpu().numpy()
    columns = zip(said.T.astype(np.float64), raw.T, rows.targets.T.astype(np.float64), strict=True)
    found = [
        _figures(final, true) | {"raw_ece": score_calibration(first, true).ece}
        for final, first, true in columns
    ]
    # By figure, so that the curves of a run show the R² of all heads.
    named = {
        f"{name}_{figure}": own[figure]
        for figure in found[0]
        for name, own in zip(heads.config.names, found, strict=True)
    }
    return {"r2": sum(own["r2"] for own in found) / len(found), **named}


def _figures(said: npt.NDArray[np.float64], true: npt.NDArray[np.float64]) -> dict[str, float]:
    error = np.abs(said - true)
    spread = float(((true - true.mean()) ** 2).mean())
    mse = float((error**2).mean())
    within = {f"within_{limit:g}": float((error < limit).mean()) for limit in WITHIN}
    return {
        "r2": 1 - mse / spread if spread else 0.0,
        "mse": mse,
        "mae": float(error.mean()),
        **within,
        "pearson": _defined(pearson(said, true)),
        "spearman": _defined(spearman(said, true)),
        "ece": score_calibration(said, true).ece,
    }


def _defined(value: float) -> float:
    return 0.0 if math.isnan(value) else value
