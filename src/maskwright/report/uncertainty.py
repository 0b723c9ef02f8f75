"""Tables and the page of an evaluation of uncertainty.

DIR/report.html                             needs no other file
DIR/1-nano-point-estimates.png …            risk and coverage, reliability, and each mask as a dot
DIR/1-nano-point-as-used.png …              mean IoU while the most uncertain masks are replaced
DIR/1-nano-point-overrated.png …            the masks that are believed most wrongly
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from maskwright.io.files import make_folder, write_text
from maskwright.io.images import write_png
from maskwright.methods.scores import PromptKind
from maskwright.methods.uncertainty.collect import Survey
from maskwright.methods.uncertainty.evaluate import Findings, UncertaintyResult
from maskwright.methods.uncertainty.protocols import IOU_HEAD, PROTOCOLS, Judged, take
from maskwright.metrics.statistics import Estimate
from maskwright.models.segmenter import Segmenter
from maskwright.models.uncertainty import QUALITY
from maskwright.report.evaluation_tables import Row, TextTable, number
from maskwright.report.html import Html, element, facts, page, picture, table
from maskwright.report.overlay import draw
from maskwright.report.sheet import side_by_side
from maskwright.report.uncertainty_plots import estimate_plots, replacement_plots
from maskwright.types import ByteArray

SHOWN = 4
SIDE = 480
MISSES = ("overrated", "underrated")
USED, PUBLISHED = "as used", "published protocol"
ESTIMATES: dict[str, tuple[str, ...]] = {
    "Pearson [95 %]": ("pearson",),
    "Spearman": ("spearman",),
    "AUROC IoU < 0.5": ("auroc", "0.5"),
    "AUROC IoU < 0.75": ("auroc", "0.75"),
    "AURC": ("aurc",),
    "ECE": ("calibration", "ece"),
    "Brier IoU ≥ 0.5": ("brier", "0.5"),
}
"""Columns of the first table, and where their figures are."""


def tables(results: Sequence[UncertaintyResult]) -> list[TextTable]:
    """Estimates against the truth; relative areas, as used and as published; differences; the ablation."""
    used = [(result, result.used) for result in results]
    published = [(result, result.published) for result in results if result.published is not None]
    found = [
        _estimates(f"How well each estimate tells a mask's IoU ({USED})", used),
        _relative(f"Relative AUC: 1 is the oracle's order, 0.5 is chance ({USED})", used),
    ]
    if published:
        found.append(_relative(f"Relative AUC ({PUBLISHED}: best of three for a click)", published))
    found += [_differences(f"Heads minus what is free, on the same masks ({USED})", used)]
    found += [_ablation(f"Heads that see only part of what they read ({USED})", used)]
    return [one for one in found if any(one.groups)]


class UncertaintyReport:
    """Gathers an evaluation's pictures in a folder, and writes the page when all is measured.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = make_folder(folder)
        self._sections: list[Html] = []

    def add(self, result: UncertaintyResult, survey: Survey | None) -> None:
        """Draw what was measured of one model's masks; with the survey that asked for them, some of these."""
        title = f"{result.model}, {result.prompt}"
        pictures = {
            "estimates": (estimate_plots(result.used), "Estimates and truth"),
            "as used": (replacement_plots(result.used.judged), "The most uncertain replaced first, as used"),
        }
        if result.published is not None:
            drawn = replacement_plots(result.published.judged)
            pictures["published"] = (drawn, "The same with the published protocol: best of three")
        if survey is not None:
            pictures |= _misses(result, survey)
        stem = _file_name(f"{len(self._sections) + 1} {title}")
        shown = []
        for kind, (pixels, caption) in pictures.items():
            name = _file_name(f"{stem} {kind}")
            write_png(self.folder / f"{name}.png", pixels)
            # Photos as PNG would make the page tens of megabytes.
            form: Literal["jpeg", "png"] = "jpeg" if kind in MISSES else "png"
            shown.append(picture(pixels, f"{title}: {caption}", caption, kind=form, zoom=name))
        self._sections.append(_card(title, *shown))

    def finish(self, found: Sequence[TextTable], run: Mapping[str, Any]) -> Path:
        """Write the page and return it.

        Args:
            found: the tables.
            run: "data", "seed", "machine" and "versions".
        """
        machine, versions = run["machine"], run["versions"]
        known = {
            "data": str(run["data"]),
            "seed": str(run["seed"]),
            "device": str(machine["gpu"] or machine["processor"]),
            "maskwright": str(versions["maskwright"]),
            "torch": str(versions["torch"]),
        }
        lead = (
            "Is a mask that is called good a good one, and is help asked for where it helps? Brackets are "
            "95 % intervals by bootstrap over images or videos."
        )
        cards = [_card(one.title, _table(one)) for one in found]
        sections = [element("section", facts(known)), *cards, *self._sections]
        target = self.folder / "report.html"
        write_text(target, page("Uncertainty against the truth", lead, *sections))
        return target


def _estimates(title: str, found: Sequence[tuple[UncertaintyResult, Findings]]) -> TextTable:
    groups = tuple(
        tuple(
            (
                *_where(result, part),
                name,
                *(_cell(part.figures.get((*at, name)), at == ("pearson",)) for at in ESTIMATES.values()),
            )
            for name in part.judged.general
        )
        for result, part in found
    )
    return TextTable(title, ("model", "prompt", "masks", "estimate", *ESTIMATES), groups, numbers_from=4)


def _relative(title: str, found: Sequence[tuple[UncertaintyResult, Findings]]) -> TextTable:
    """A row a ranker; the heads for gaps have a figure only where they are meant."""

    def rows(result: UncertaintyResult, part: Findings) -> Iterator[Row]:
        for name in part.judged.doubts:
            paths = [("relative_auc", protocol, name) for protocol in PROTOCOLS]
            if any(path in part.figures for path in paths):
                yield (*_where(result, part), name, *(_cell(part.figures.get(path), True) for path in paths))

    groups = tuple(tuple(rows(result, part)) for result, part in found)
    names = (protocol.replace("_", " ") for protocol in PROTOCOLS)
    return TextTable(title, ("model", "prompt", "masks", "ranker", *names), groups, numbers_from=4)


def _differences(title: str, found: Sequence[tuple[UncertaintyResult, Findings]]) -> TextTable:
    wanted = (*ESTIMATES.values(), *(("relative_auc", protocol) for protocol in PROTOCOLS))
    groups = tuple(
        tuple(
            (*_where(result, part), " ".join(path[:-1]).replace("_", " "), path[-1], _cell(gap, True, "+"))
            for path, gap in part.differences.items()
            if path[:-1] in wanted
        )
        for result, part in found
    )
    headings = ("model", "prompt", "masks", "figure", "difference", "[95 %]")
    return TextTable(title, headings, groups, numbers_from=5)


def _ablation(title: str, found: Sequence[tuple[UncertaintyResult, Findings]]) -> TextTable:
    def rows(result: UncertaintyResult, part: Findings) -> Iterator[Row]:
        for seen, values in part.ablation.items():
            by_family = {path[:-1]: value for path, value in values.items()}
            paths = [("pearson",), *(("relative_auc", protocol) for protocol in PROTOCOLS)]
            cells = (f"{by_family[path]:.3f}" if path in by_family else "" for path in paths)
            yield (*_where(result, part), seen, *cells)

    groups = tuple(tuple(rows(result, part)) for result, part in found)
    names = (protocol.replace("_", " ") for protocol in PROTOCOLS)
    return TextTable(title, ("model", "prompt", "masks", "seen", "Pearson", *names), groups, numbers_from=4)


def _where(result: UncertaintyResult, part: Findings) -> Row:
    return (result.model, result.prompt, str(len(part.judged)))


def _cell(found: Estimate | None, interval: bool, sign: str = "") -> str:
    if found is None:
        return ""
    return number(found.value, (found.low, found.high), sign) if interval else f"{found.value:{sign}.3f}"


def _misses(result: UncertaintyResult, survey: Survey) -> dict[str, tuple[ByteArray, str]]:
    """Sheets of the masks that are believed much and bad, and of those believed little and good."""
    judged = result.used.judged
    estimates = judged.estimates()
    name = QUALITY if QUALITY in estimates else IOU_HEAD
    excess = estimates[name] - judged.iou
    [segmenter] = [one for one in survey.segmenters if one.name == result.model]
    prompt: PromptKind = "box" if result.prompt == "box" else "point"
    order = np.argsort(excess, kind="stable")
    kinds = {
        MISSES[0]: (order[::-1][:SHOWN], f"Believed and bad: {name} far above the IoU"),
        MISSES[1]: (order[:SHOWN], f"Doubted and good: {name} far below the IoU"),
    }
    return {
        kind: (_sheet(judged, rows, estimates[name], survey, segmenter, prompt), caption)
        for kind, (rows, caption) in kinds.items()
    }


def _sheet(
    judged: Judged,
    rows: Any,  # noqa: ANN401
    estimate: Any,  # noqa: ANN401
    survey: Survey,
    segmenter: Segmenter,
    prompt: PromptKind,
) -> ByteArray:
    """The truth with the prompt and the mask of each row, side by side."""
    columns = take(judged.rows, rows).columns
    shown, captions = [], []
    for place, row in enumerate(rows):
        item, instance, token = (int(columns[key][place]) for key in ("item", "instance", "mask"))
        sample, mask, asked = survey.mask(segmenter, item, instance, prompt, token)
        truth = draw(
            sample.image,
            sample.masks,
            points=None if asked.points is None else asked.points.numpy(),
            boxes=None if asked.boxes is None else asked.boxes.numpy(),
            max_side=SIDE,
        )
        shown += [truth, draw(sample.image, mask, max_side=SIDE)]
        file = Path(sample.image.source)
        captions.append(f"{file.parent.name}/{file.name}, object {instance}: truth and prompt")
        captions.append(f"IoU {judged.iou[row]:.2f}, estimated {estimate[row]:.2f}")
    return side_by_side(shown, captions, columns=4, height=240)


def _table(content: TextTable) -> Html:
    rows = [row for group in content.groups for row in group]
    return table(content.headings, rows, numbers_from=content.numbers_from)


def _card(title: str, *content: Html) -> Html:
    return element("section", element("h2", title), *content, class_="card")


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=]+", "-", text)
