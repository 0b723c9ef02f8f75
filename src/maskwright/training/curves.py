"""Loss, metric and learning-rate curves of a run as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskwright.io.images import write_png
from maskwright.types import ByteArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = list[dict[str, Any]]

LINES = 12
"""More metrics than these, the first, are not drawn: their names would leave no room."""


def draw_curves(steps: Rows, evaluations: Rows, path: Path) -> None:
    """Draw the curves.

    Args:
        steps: log rows with "step", "lr" and losses named "loss" or "loss_…".
        evaluations: rows with "step" and metrics named "val_…".
        path: PNG to write.
    """
    figure = new_figure(12, 3.6)
    losses, metrics, rate = figure.subplots(1, 3)
    for name in _names(steps, "loss"):
        _line(losses, steps, name, smooth=True)
    for name in _names(evaluations, "val_")[:LINES]:
        _line(metrics, evaluations, name, marker="o")
    _line(rate, steps, "lr")
    for axes, title in ((losses, "training loss"), (metrics, "validation"), (rate, "learning rate")):
        axes.set_title(title)
        axes.set_xlabel("optimiser steps")
        axes.grid(alpha=0.3)
        if axes.lines and axes is not rate:
            axes.legend(fontsize=8)
    write_png(path, rendered(figure))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, ready to be drawn on."""
    # The canvas is used directly: pyplot would keep state in the process and may open a window.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure


def rendered(figure: Figure) -> ByteArray:
    """The pixels (H, W, 3) of a figure made by `new_figure`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    assert isinstance(figure.canvas, FigureCanvasAgg)
    figure.canvas.draw()  # type: ignore[no-untyped-call]
    return np.array(figure.canvas.buffer_rgba(), np.uint8)[..., :3]  # type: ignore[no-untyped-call]


def _names(rows: Rows, start: str) -> list[str]:
    """In the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row if name.startswith(start)))


def _line(axes: Any, rows: Rows, name: str, *, smooth: bool = False, marker: str = "") -> None:  # noqa: ANN401
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    if not points:
        return
    x, y = np.array(points, dtype=float).T
    label = name.removeprefix("val_")
    window = len(y) // 20
    if smooth and window > 1:
        (faint,) = axes.plot(x, y, linewidth=0.5, alpha=0.35)
        mean = np.convolve(y, np.ones(window) / window, mode="valid")
        axes.plot(x[window - 1 :], mean, color=faint.get_color(), label=label)
    else:
        axes.plot(x, y, marker=marker, markersize=3, label=label)
