"""IoU and boundary IoU over clicks, one line a model, with their intervals as bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maskwright.methods.scores import Step
from maskwright.report.palette import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION, as_shares
from maskwright.training.curves import new_figure, rendered
from maskwright.types import ByteArray

# Dark ones first, for these stand on white; the marker tells lines apart where colours do not.
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE)
_MARKERS = "osD^vX"


def click_curves(
    curves: Mapping[str, Sequence[Step]], counts: Sequence[int], title: str, first: str
) -> ByteArray:
    """Draw the curves of several models.

    Args:
        curves: a model's name, and its mean scores after each click.
        counts: clicks to mark: those that the tables give.
        title: what was measured, and how.
        first: what the first prompt was.

    Returns:
        (H, W, 3) pixels.
    """
    figure = new_figure(11, 4.4)
    figure.suptitle(title, fontsize=11)
    for axes, metric, label in zip(
        figure.subplots(1, 2), ("miou", "boundary_iou"), ("mean IoU", "mean boundary IoU"), strict=True
    ):
        for place, (name, steps) in enumerate(curves.items()):
            _line(axes, place, name, steps, metric, counts)
        axes.set_xlabel(f"prompts: 1 is the {first}, each further one a corrective click")
        axes.set_ylabel(label)
        axes.set_xticks(range(1, 1 + max(len(steps) for steps in curves.values())))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    return rendered(figure)


def _line(
    axes: Any,  # noqa: ANN401
    place: int,
    name: str,
    steps: Sequence[Step],
    metric: str,
    counts: Sequence[int],
) -> None:
    colour = as_shares(_COLOURS[place % len(_COLOURS)])
    clicks = [step.click for step in steps]
    ends = [getattr(step, f"{metric}_ci95") for step in steps]
    axes.fill_between(clicks, *zip(*ends, strict=True), color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        clicks,
        [getattr(step, metric) for step in steps],
        color=colour,
        marker=_MARKERS[place % len(_MARKERS)],
        markersize=5,
        markevery=[place for place, click in enumerate(clicks) if click in counts],
        label=name,
    )
