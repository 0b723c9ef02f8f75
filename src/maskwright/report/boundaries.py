"""The folder of a boundary benchmark: a page with the figures, the curves, and the best and worst photos.

DIR/report.html       needs no other file
DIR/precision.png     precision over recall, with lines of equal F
DIR/levels.png        F, covering, Rand index and variation of information over the threshold
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from maskwright.io.files import make_folder, write_text
from maskwright.io.images import write_png
from maskwright.methods.everything.evaluate import BenchmarkResult
from maskwright.report.evaluation_tables import TextTable
from maskwright.report.html import Html, element, facts, page, picture, table
from maskwright.report.palette import BLUE, GREEN, ORANGE, VERMILION, as_shares
from maskwright.training.curves import new_figure, rendered
from maskwright.types import ByteArray

SHOWN = 5
"""So many photos of the highest and of the lowest F are listed."""


def tables(result: BenchmarkResult, title: str) -> list[TextTable]:
    """Boundaries, regions, and the photos of the lowest and the highest F."""
    lines, regions = result.boundaries, result.regions
    found = [
        TextTable(
            f"boundaries: {title}",
            ("photos", "ODS", "at", "recall", "precision", "OIS", "AP", "R50"),
            (
                (
                    (
                        str(len(result.photos)),
                        f"{lines.ods.f:.3f}",
                        f"{lines.ods.threshold:.2f}",
                        f"{lines.ods.recall:.3f}",
                        f"{lines.ods.precision:.3f}",
                        f"{lines.ois.f:.3f}",
                        f"{lines.ap:.3f}",
                        f"{lines.r50:.3f}",
                    ),
                ),
            ),
            numbers_from=0,
        )
    ]
    names = {"covering": "covering", "pri": "Rand index (PRI)", "voi": "variation of information, bits (VOI)"}
    best = {"covering": f"{regions.best_covering:.3f}"}
    rows = tuple(
        (names[name], f"{value.ods:.3f}", f"{value.level:.2f}", f"{value.ois:.3f}", best.get(name, "–"))
        for name, value in result.region_figures().items()
    )
    headings = ("measure", "ODS", "at", "OIS", "best")
    found.append(TextTable(f"regions: {title}", headings, (rows,), numbers_from=1))
    ranked = sorted(
        zip(lines.per_image, result.photos, strict=True), key=lambda pair: (pair[0].f, pair[1].name)
    )
    rows = tuple(
        (photo.name, f"{best.f:.3f}", f"{best.threshold:.2f}", f"{best.recall:.3f}", f"{best.precision:.3f}")
        for best, photo in ranked
    )
    headings = ("photo", "F", "at", "recall", "precision")
    groups = (rows[:SHOWN], rows[-SHOWN:]) if len(rows) > 2 * SHOWN else (rows,)
    found.append(
        TextTable(f"photos of the lowest and the highest F: {title}", headings, groups, numbers_from=1)
    )
    return found


def write_report(folder: Path, result: BenchmarkResult, title: str, known: Mapping[str, str]) -> Path:
    """Write the page and its pictures.

    Args:
        folder: made if it is not there.
        result: what was measured.
        title: of the tables.
        known: facts about the run.

    Returns:
        The page.

    Raises:
        FileError: something cannot be written.
    """
    make_folder(folder)
    pictures = {"precision": precision_curve(result, title), "levels": level_curves(result)}
    shown = []
    for name, pixels in pictures.items():
        write_png(folder / f"{name}.png", pixels)
        shown.append(picture(pixels, name, zoom=name))
    sections = [
        element("section", facts(known)),
        *map(_table, tables(result, title)),
        element("section", element("h2", "curves"), *shown, class_="card"),
    ]
    lead = (
        "Boundaries against those that people drew: each predicted pixel is matched with at most one true "
        "one nearby. ODS is F at one threshold for all photos, OIS with each photo at its own best."
    )
    target = folder / "report.html"
    write_text(target, page("Boundaries, as BSDS500 scores them", lead, *sections))
    return target


def precision_curve(result: BenchmarkResult, title: str) -> ByteArray:
    """Precision over recall, the point of the best F, and lines of equal F."""
    figure = new_figure(5.6, 5.2)
    axes = figure.subplots()
    for f in np.arange(0.1, 1, 0.1):
        recall = np.geomspace(f / (2 - f), 1, 100)
        axes.plot(recall, f * recall / (2 * recall - f), color="0.85", linewidth=0.8, zorder=0)
        axes.annotate(f"{f:.1f}", (1.005, f / (2 - f)), fontsize=7, color="0.5", annotation_clip=False)
    lines, best = result.boundaries, result.boundaries.ods
    label = f"{title}: F {best.f:.3f}"
    axes.plot(lines.recall, lines.precision, color=as_shares(BLUE), marker=".", markersize=3, label=label)
    axes.plot([best.recall], [best.precision], color=as_shares(VERMILION), marker="o")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision", aspect="equal")
    axes.legend(fontsize=8, loc="lower left")
    return rendered(figure)


def level_curves(result: BenchmarkResult) -> ByteArray:
    """F, covering and Rand index over the threshold, and beside them the variation of information."""
    figure = new_figure(9, 3.4)
    shares, bits = figure.subplots(1, 2)
    lines, regions = result.boundaries, result.regions
    for values, name, colour in (
        (lines.f, "F of boundaries", BLUE),
        (regions.coverings, "covering", VERMILION),
        (regions.rands, "Rand index", GREEN),
    ):
        shares.plot(lines.thresholds, values, color=as_shares(colour), label=name)
    shares.set_ylim(0, 1.02)
    shares.legend(fontsize=8)
    bits.plot(regions.levels, regions.informations, color=as_shares(ORANGE))
    bits.set_ylabel("variation of information, bits")
    bits.set_ylim(bottom=0)
    for axes in (shares, bits):
        axes.set_xlabel("threshold")
        axes.grid(alpha=0.3)
    return rendered(figure)


def _table(content: TextTable) -> Html:
    rows = [row for group in content.groups for row in group]
    shown = table(content.headings, rows, numbers_from=content.numbers_from)
    return element("section", element("h2", content.title), shown, class_="card")
