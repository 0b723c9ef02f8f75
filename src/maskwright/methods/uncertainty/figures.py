"""How well doubts fit the truth: each figure a function of a table's columns, so that it can be resampled.

Axes: A rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from maskwright.methods.uncertainty.protocols import Column, Judged
from maskwright.metrics.ranking import (
    failure_auroc,
    pearson,
    relative_auc,
    replacement_curve,
    risk_coverage,
    spearman,
)
from maskwright.metrics.score_calibration import event_brier, score_calibration
from maskwright.metrics.statistics import Columns

FAILURES = (0.5, 0.75)
"""Below such an IoU a mask has failed."""
Path = tuple[str, ...]


@dataclass(frozen=True)
class Measure:
    """A figure, and the columns that it is made of.

    Args:
        columns: names of columns of the table.
        of: takes these columns.
    """

    columns: tuple[str, ...]
    of: Callable[..., float]

    def __call__(self, sample: Columns) -> float:
        """The figure of a table."""
        return self.of(*(sample[name] for name in self.columns))


def columns(judged: Judged) -> dict[str, Column]:
    """The table that measures read: doubts by ranker's name, and what is true."""
    truth = {f"simple {name}": values for name, values in judged.simple.items()}
    truth |= {f"refined {name}": values for name, values in judged.refined.items()}
    return {**judged.doubts, **truth, "iou": judged.iou}


def measures(judged: Judged) -> dict[Path, dict[str, Measure]]:
    """What is measured of these masks: families of figures, one figure a ranker."""
    families = ((_OF_DOUBT, judged.general), (_OF_ESTIMATE, tuple(judged.estimates())))
    found = {
        path: {name: Measure((name, "iou"), of) for name in names}
        for family, names in families
        for path, of in family.items()
    }
    for protocol, rankers in judged.rankers.items():
        truth = (f"simple {protocol}", f"refined {protocol}")
        found["relative_auc", protocol] = {name: Measure((name, *truth), _relative) for name in rankers}
    return found


def curves(judged: Judged, protocol: str) -> dict[str, tuple[Column, Column]]:
    """Shares and mean IoUs of each ranker of a protocol, of the oracle, and by chance."""
    simple, refined = judged.simple[protocol], judged.refined[protocol]
    rankers = {name: judged.doubts[name] for name in judged.rankers[protocol]}
    gain = refined - simple
    rankers |= {"oracle": gain, "random": np.zeros(len(gain))}
    return {name: replacement_curve(doubt, simple, refined) for name, doubt in rankers.items()}


def areas(judged: Judged) -> dict[str, dict[str, float]]:
    """Each ranker's area under the mean IoU, the best and the worst there can be, and both ends' IoUs."""
    found: dict[str, dict[str, float]] = {}
    for protocol, rankers in judged.rankers.items():
        simple, refined = judged.simple[protocol], judged.refined[protocol]
        worth = {name: relative_auc(judged.doubts[name], simple, refined) for name in rankers}
        one = next(iter(worth.values()))
        found[protocol] = {name: area.auc for name, area in worth.items()}
        found[protocol] |= {"oracle": one.oracle, "worst": one.worst}
        found[protocol] |= {"simple": float(simple.mean()), "refined": float(refined.mean())}
    return found


def _aurc(doubt: Column, iou: Column, kind: str) -> float:
    return float(getattr(risk_coverage(-doubt, 1 - iou), kind))


def _correlation(doubt: Column, iou: Column, of: Callable[[Column, Column], float]) -> float:
    return of(-doubt, iou)


def _calibration(doubt: Column, iou: Column, kind: str) -> float:
    return float(getattr(score_calibration(_iou(doubt), iou), kind))


def _relative(doubt: Column, simple: Column, refined: Column) -> float:
    return relative_auc(doubt, simple, refined).value


def _auroc(doubt: Column, iou: Column, limit: float) -> float:
    return failure_auroc(-doubt, iou, limit)


def _brier(doubt: Column, iou: Column, limit: float) -> float:
    return event_brier(_iou(doubt), iou, limit)


def _iou(doubt: Column) -> Column:
    """An estimate of the IoU; SAM's may lie outside [0, 1]."""
    return np.clip(1 - doubt, 0, 1)


_OF_DOUBT: dict[Path, Callable[[Column, Column], float]] = {
    ("pearson",): partial(_correlation, of=pearson),
    ("spearman",): partial(_correlation, of=spearman),
    **{("auroc", str(limit)): partial(_auroc, limit=limit) for limit in FAILURES},
    **{(kind,): partial(_aurc, kind=kind) for kind in ("aurc", "e_aurc", "augrc")},
}
"""Of any doubt and the true IoU."""
_OF_ESTIMATE: dict[Path, Callable[[Column, Column], float]] = {
    **{("calibration", kind): partial(_calibration, kind=kind) for kind in ("ece", "mse", "bias")},
    **{("brier", str(limit)): partial(_brier, limit=limit) for limit in FAILURES},
}
"""Of estimates of the IoU alone."""
