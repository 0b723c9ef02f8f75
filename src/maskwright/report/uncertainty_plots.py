"""Pictures of how far uncertainty can be believed.

Axes: A masks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskwright.methods.uncertainty.evaluate import Findings
from maskwright.methods.uncertainty.figures import curves
from maskwright.methods.uncertainty.protocols import IOU_HEAD, PROTOCOLS, Judged
from maskwright.metrics.ranking import risk_coverage
from maskwright.models.uncertainty import QUALITY
from maskwright.report.palette import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION, as_shares
from maskwright.training.curves import new_figure, rendered
from maskwright.types import ByteArray

TITLES = {
    "overall_quality": "replaced by the truth",
    "model_selection": "replaced by the largest model's",
    "prompt_refinement": "replaced by the answer to 8 clicks",
    "task_supervision": "replaced by the best proposal",
}
_COLOURS = {
    QUALITY: BLUE,
    **dict.fromkeys(("model_gap", "prompt_gap", "task_gap"), GREEN),
    **dict.fromkeys(("model_difference", "prompt_difference", "task_difference"), SKY_BLUE),
    IOU_HEAD: VERMILION,
    "entropy": ORANGE,
    "stability": PURPLE,
}
"""Of those that are drawn; the others are in the tables."""
SCATTERED = 3000
"""Dots of a scatter plot, at most."""


def estimate_plots(found: Findings) -> ByteArray:
    """What is lost when masks are kept by quality, whether qualities are true, and each mask as a dot."""
    figure = new_figure(12, 4)
    risk, reliability, scatter = figure.subplots(1, 3)
    _risk(risk, found.judged)
    _reliability(reliability, found)
    _scatter(scatter, found.judged)
    return rendered(figure)


def replacement_plots(judged: Judged) -> ByteArray:
    """The mean IoU while the most uncertain masks are replaced, one panel a protocol."""
    shown = [name for name in PROTOCOLS if name in judged.rankers]
    figure = new_figure(3.6 * len(shown) + 0.6, 3.6)
    for axes, protocol in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for name, (shares, means) in curves(judged, protocol).items():
            if name in _COLOURS:
                axes.plot(shares, means, color=as_shares(_COLOURS[name]), label=name)
            elif name in ("oracle", "random"):
                style = "--" if name == "oracle" else ":"
                axes.plot(shares, means, color="grey", linestyle=style, linewidth=1, label=name)
        axes.set_title(TITLES[protocol], fontsize=10)
        axes.set_xlabel("share of masks replaced")
        axes.set_ylabel("mean IoU")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return rendered(figure)


def _risk(axes: Any, judged: Judged) -> None:  # noqa: ANN401
    loss = 1 - judged.iou
    for name in judged.general:
        if name in _COLOURS:
            found = risk_coverage(-judged.doubts[name], loss)
            axes.plot(
                found.coverage, found.risk, color=as_shares(_COLOURS[name]), label=f"{name}: {found.aurc:.3f}"
            )
    best = risk_coverage(judged.iou, loss)
    axes.plot(best.coverage, best.risk, "--", color="grey", linewidth=1, label=f"oracle: {best.aurc:.3f}")
    axes.set_title("risk and coverage (AURC)", fontsize=10)
    axes.set_xlabel("share of masks kept")
    axes.set_ylabel("1 − mean IoU of those kept")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def _reliability(axes: Any, found: Findings) -> None:  # noqa: ANN401
    axes.plot([0, 1], [0, 1], ":", color="grey", linewidth=1)
    for name, calibration in found.calibration.items():
        said = [part.predicted for part in calibration.bins]
        had = [part.actual for part in calibration.bins]
        sizes = [4 + 120 * part.n / calibration.n for part in calibration.bins]
        label = f"{name}: ECE {calibration.ece:.3f}"
        axes.plot(said, had, color=as_shares(_COLOURS[name]), linewidth=1, label=label)
        axes.scatter(said, had, sizes, color=as_shares(_COLOURS[name]))
    axes.set_title("reliability", fontsize=10)
    axes.set_xlabel("IoU as estimated")
    axes.set_ylabel("mean IoU as it is")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def _scatter(axes: Any, judged: Judged) -> None:  # noqa: ANN401
    step = -(-len(judged) // SCATTERED)
    axes.plot([0, 1], [0, 1], ":", color="grey", linewidth=1)
    for name, estimate in reversed(judged.estimates().items()):
        dots = np.stack([estimate, judged.iou])[:, ::step]
        axes.scatter(*dots, s=5, alpha=0.4, color=as_shares(_COLOURS[name]), label=name, linewidths=0)
    axes.set_title("each mask", fontsize=10)
    axes.set_xlabel("IoU as estimated")
    axes.set_ylabel("IoU as it is")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
