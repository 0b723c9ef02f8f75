"""The folder of an evaluation: curves over clicks, the worst and best masks, and an HTML page with all of it.

DIR/report.html                 tables, curves and masks; needs no other file
DIR/curves-1-bsds500-….png      one a dataset or task, first prompt and choice
DIR/2-nano-bsds500-…/worst-1.png …, best-1.png …
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskwright.io.files import make_folder, write_text
from maskwright.io.images import write_png
from maskwright.methods.scores import Measured
from maskwright.report.canvas import scaled
from maskwright.report.click_curves import click_curves
from maskwright.report.evaluation import Extremes
from maskwright.report.evaluation_tables import CHOICES, Comparison, TextTable, mean_of, short_name
from maskwright.report.html import Html, element, facts, page, picture, table

FIRST = {"box": "box", "point": "first click"}
# Of each combination this many of the worst and of the best masks are in the page; all are files.
SHOWN = 2
SHOWN_SIDE = 720


class EvaluationReport:
    """Gathers a run's pictures in a folder, and writes the page when all is measured.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = make_folder(folder)
        self._masks: list[Html] = []

    def add(self, title: str, extremes: Extremes) -> None:
        """Write the worst and the best masks of one combination; the page will show the first of each."""
        # Numbered, since two datasets' folders may have the same name.
        name = _file_name(f"{len(self._masks) + 1} {title}")
        shown = []
        for kind, pictures in extremes.write(self.folder / name).items():
            for rank, pixels in enumerate(pictures[:SHOWN], 1):
                small = scaled(pixels, min(1.0, SHOWN_SIDE / max(pixels.shape)))
                caption = f"{kind} {rank}"
                shown.append(picture(small, f"{title}: {caption}", caption, zoom=f"{name}-{kind}-{rank}"))
        self._masks.append(_card(title, element("div", *shown, class_="pictures large")))

    def finish(self, comparison: Comparison, run: Mapping[str, Any]) -> None:
        """Draw the curves and write the page.

        Args:
            comparison: all that was measured.
            run: "machine", "versions" and "seed".
        """
        machine, versions = run["machine"], run["versions"]
        known = {
            "seed": str(run["seed"]),
            "device": str(machine["gpu"] or machine["processor"]),
            "maskwright": str(versions["maskwright"]),
            "torch": str(versions["torch"]),
        }
        lead = (
            "Known objects were asked for with a box or a click, and corrected by clicks on the largest "
            "error. Figures are means over masks; brackets are 95 % intervals by bootstrap over images."
        )
        tables = map(_table, comparison.tables())
        sections = [element("section", facts(known)), *tables, *self._curves(comparison), *self._masks]
        write_text(self.folder / "report.html", page("Prompted evaluation", lead, *sections))

    def _curves(self, comparison: Comparison) -> list[Html]:
        """Write a picture for each question that several models answer; none where nothing was corrected."""
        if comparison.counts[-1] == 1:
            return []
        shown, called = [], comparison.labels()
        for number, (question, lines) in enumerate(_lines(comparison).items(), 1):
            where, prompt, words = short_name(question[0]), *question[1:]
            title = f"{where}, {FIRST[prompt]} first: {words}"
            curves = {called[name]: measured.curve for name, measured in lines.items()}
            pixels = click_curves(curves, comparison.counts, title, FIRST[prompt])
            name = _file_name(f"curves {number} {where} {prompt} {words.partition(' (')[0]}")
            write_png(self.folder / f"{name}.png", pixels)
            shown.append(picture(pixels, title, kind="png", zoom=name))
        note = "A line a model; its band is the 95 % interval, its markers are the counts in the tables."
        return [_card("Curves over clicks", element("p", note, class_="soft"), *shown)]


def _lines(comparison: Comparison) -> dict[tuple[str, str, str], dict[str, Measured]]:
    """What each predictor measured under (dataset or task, first prompt, choice in words)."""
    found: dict[tuple[str, str, str], dict[str, Measured]] = {}
    for result in comparison.results:
        question = (result.data, result.prompt, CHOICES[result.choice])
        found.setdefault(question, {})[result.name] = result
    for mean in comparison.means:
        question = (mean_of(mean), mean.prompt, CHOICES[mean.choice])
        found.setdefault(question, {})[mean.name] = mean
    return found


def _table(content: TextTable) -> Html:
    rows = [row for group in content.groups for row in group]
    return _card(content.title, table(content.headings, rows, numbers_from=content.numbers_from))


def _card(title: str, *content: Html) -> Html:
    return element("section", element("h2", title), *content, class_="card")


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=]+", "-", text)
