"""How well a score puts masks in order: whom to help first, whom to keep, who has failed.

Axes: n masks. An order among masks with equal scores is a matter of luck, so every figure here is its
expectation over all these orders: a score that tells nothing gets exactly the figure of chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskwright.errors import InputError

Floats = npt.NDArray[np.float64]

DETECTED = 0.95


@dataclass(frozen=True)
class RelativeAuc:
    """Area under the mean IoU while the most uncertain masks are replaced first, and what it is worth.

    Args:
        value: (auc − worst) / (oracle − worst): 1 for the best order, 0.5 for chance, 0 for the worst; NaN
            where every order is as good, since all masks gain the same.
        auc: the area itself.
        oracle: the area when those that gain most are replaced first.
        worst: the area when those that gain least are replaced first.
    """

    value: float
    auc: float
    oracle: float
    worst: float


def relative_auc(uncertainty: npt.ArrayLike, simple: npt.ArrayLike, refined: npt.ArrayLike) -> RelativeAuc:
    """How well an uncertainty tells which masks gain most by being replaced (Kaiser et al., ICML 2025, §4).

    The masks are sorted by falling uncertainty; for every share r the first of them are replaced, and the
    area is that under mIoU(r), by the trapezoidal rule over r = 0, 1/n, …, 1. With ranks a (1 the least
    uncertain, equals share their mean) and gains g, it is mean(simple) + Σ g (a − ½) / n².

    Args:
        uncertainty: (n,) the higher, the sooner a mask is replaced.
        simple: (n,) IoU of the masks as they are.
        refined: (n,) IoU of what would replace them.

    Raises:
        InputError: for no values, values that are not finite, or different lengths.
    """
    uncertain, before, after = paired(uncertainty=uncertainty, simple=simple, refined=refined)
    gain, n = after - before, len(before)
    middle = (n + 1) / 2
    found = float(gain @ (ranks(uncertain) - middle))
    most = float(gain @ (ranks(gain) - middle))
    chance = float(before.mean() + gain.sum() / (2 * n))
    areas = (chance + part / n**2 for part in (found, most, -most))
    return RelativeAuc(0.5 + _share(found, 2 * most), *areas)


def replacement_curve(
    uncertainty: npt.ArrayLike, simple: npt.ArrayLike, refined: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """The curve under which `relative_auc` measures: the mean IoU by the share of replaced masks.

    With `refined - simple` as the uncertainty it is the oracle's curve, with its negative the worst.

    Returns:
        (n + 1,) shares r from 0 to 1 and (n + 1,) mIoU(r).

    Raises:
        InputError: as `relative_auc` does.
    """
    uncertain, before, after = paired(uncertainty=uncertainty, simple=simple, refined=refined)
    n = len(before)
    gains = np.concatenate([[0.0], np.cumsum(_in_falling_order(uncertain, after - before))])
    return np.arange(n + 1) / n, before.mean() + gains / n


def pearson(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Pearson's correlation of two (n,) columns; NaN where one of them is constant.

    Raises:
        InputError: for no values, values that are not finite, or different lengths.
    """
    first, second = paired(one=one, other=other)
    # A constant column may differ from its own mean by rounding.
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    first, second = first - first.mean(), second - second.mean()
    first, second = first / np.abs(first).max(), second / np.abs(second).max()
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def spearman(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Spearman's correlation, that of the ranks; otherwise as `pearson`."""
    first, second = paired(one=one, other=other)
    return pearson(ranks(first), ranks(second))


def failure_auroc(quality: npt.ArrayLike, iou: npt.ArrayLike, threshold: float = 0.5) -> float:
    """Chance that a failed mask has a lower quality than a good one; equal qualities count half.

    The area under the ROC curve of finding failures (Hendrycks & Gimpel, ICLR 2017).

    Args:
        quality: (n,) the higher, the better the mask is thought to be.
        iou: (n,) how good it is.
        threshold: a mask has failed when its IoU is below it.

    Returns:
        In [0, 1], 0.5 by chance; NaN where all or none have failed.

    Raises:
        InputError: for no values, values that are not finite, or different lengths.
    """
    scores, truth = paired(quality=quality, iou=iou)
    good = truth >= threshold
    goods, fails = int(good.sum()), int((~good).sum())
    # Mann & Whitney's U: how often a good mask stands above a failed one.
    above = float(ranks(scores)[good].sum()) - goods * (goods + 1) / 2
    return _share(above, goods * fails)


def failure_fpr95(quality: npt.ArrayLike, iou: npt.ArrayLike, threshold: float = 0.5) -> float:
    """Share of the good masks that are flagged where at least 95 % of the failed ones are.

    Masks are flagged from the lowest quality on, equals together; otherwise as `failure_auroc`.
    """
    scores, truth = paired(quality=quality, iou=iou)
    good = truth >= threshold
    fails = np.sort(scores[~good])
    if not len(fails) or len(fails) == len(scores):
        return float("nan")
    limit = fails[int(np.ceil(DETECTED * len(fails))) - 1]
    return float((scores[good] <= limit).mean())


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """What is lost among the masks that are kept, when the best by quality are kept.

    Args:
        coverage: (n,) share of kept masks, 1/n … 1.
        risk: (n,) mean loss of the kept ones, the selective risk.
        best: (n,) the same where the masks are sorted by their true loss.
    """

    coverage: Floats
    risk: Floats
    best: Floats

    @property
    def aurc(self) -> float:
        """Mean selective risk over all coverages (Geifman & El-Yaniv, NeurIPS 2017); lower is better."""
        return float(self.risk.mean())

    @property
    def e_aurc(self) -> float:
        """What the AURC exceeds that of the best order by (Geifman et al., ICLR 2019); 0 is perfect."""
        return float((self.risk - self.best).mean())

    @property
    def augrc(self) -> float:
        """Area under the generalised risk, risk × coverage, from coverage 0 on (Traub et al., NeurIPS 2024).

        The mean loss per mask, kept or not, over all coverages. For a loss of 0 and 1 with error rate e it
        is (1 − AUROC) e (1 − e) + e² / 2.
        """
        general = np.concatenate([[0.0], self.risk * self.coverage])
        return float((general[1:] + general[:-1]).mean() / 2)


def risk_coverage(quality: npt.ArrayLike, loss: npt.ArrayLike) -> RiskCoverage:
    """The risk-coverage curve of a quality, for any loss.

    Args:
        quality: (n,) the higher, the sooner a mask is kept.
        loss: (n,) such as 1 − IoU, or 1 for a failed mask and 0 for a good one.

    Raises:
        InputError: for no values, values that are not finite, or different lengths.
    """
    scores, losses = paired(quality=quality, loss=loss)
    kept = np.arange(1, len(scores) + 1)
    risk = np.cumsum(_in_falling_order(scores, losses)) / kept
    return RiskCoverage(kept / len(scores), risk, np.cumsum(np.sort(losses)) / kept)


def ranks(values: Floats) -> Floats:
    """(n,) ranks of finite values from 1, equals sharing their mean.

    As scipy's, without what it does around that: a bootstrap asks for hundreds of thousands of them.
    """
    order = np.argsort(values)
    ordered = values[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    after = np.append(first[1:], len(values))
    found = np.empty(len(values))
    found[order] = np.repeat((first + 1 + after) / 2, after - first)
    return found


def paired(**columns: npt.ArrayLike) -> tuple[Floats, ...]:
    """Several columns of the same n rows as float64.

    Raises:
        InputError: naming the column that is not (n,) or not finite; for no rows, or different lengths.
    """
    arrays = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    lengths = {array.shape for array in arrays.values()}
    for name, array in arrays.items():
        if array.ndim != 1 or not array.size or not np.isfinite(array).all():
            raise InputError(f"{name} must be (n,) finite values, n at least 1, not shape {array.shape}.")
    if len(lengths) > 1:
        shown = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise InputError(f"columns must have the same length: {shown}.")
    return tuple(arrays.values())


def _in_falling_order(score: Floats, values: Floats) -> Floats:
    """The values by falling score; equals all get their mean, the expectation over their orders."""
    order = np.argsort(-score, kind="stable")
    score, values = score[order], values[order]
    starts = np.flatnonzero(np.concatenate([[True], score[1:] != score[:-1]]))
    counts = np.diff(np.append(starts, len(score)))
    return np.asarray(np.repeat(np.add.reduceat(values, starts) / counts, counts), np.float64)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
