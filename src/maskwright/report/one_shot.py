"""The folder of a personalisation's evaluation: a page with the figures and every mask.

DIR/report.html          needs no other file
DIR/cat.jpg              the reference and all test photos of an object, with the masks that were found
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from maskwright.data.one_shot import OneShot
from maskwright.io.files import make_folder, write_bytes, write_text
from maskwright.methods.personalize.evaluation import ImageScore, PersonalizeResult, whole
from maskwright.report.evaluation_tables import TextTable
from maskwright.report.html import element, encode, page, picture, table
from maskwright.report.overlay import draw
from maskwright.report.sheet import side_by_side
from maskwright.types import BoolArray, ByteArray, Sample

SIDE, HEIGHT, COLUMNS = 640, 300, 4
HEADINGS = ("object", "photos", "IoU", "accuracy", "IoU a photo", "boundary IoU")


def tables(result: PersonalizeResult, title: str) -> list[TextTable]:
    """A row an object, and one for all."""
    summary = result.summary()
    rows = tuple(
        (
            scored.name,
            str(len(scored.images)),
            *_figures(
                scored.iou,
                scored.accuracy,
                sum(one.iou for one in scored.images) / len(scored.images),
                sum(one.boundary_iou for one in scored.images) / len(scored.images),
            ),
        )
        for scored in result.objects
    )
    means = (summary[name] for name in ("miou", "macc", "miou_per_image", "boundary_iou"))
    whole_row = ("all", str(summary["images"]), *_figures(*means))
    return [TextTable(title, HEADINGS, (rows, (whole_row,)), numbers_from=1)]


@dataclass(eq=False)
class OneShotReport:
    """Collects the masks of an evaluation while it runs.

    Args:
        folder: made if it is not there.
    """

    folder: Path
    _sheets: dict[str, list[tuple[ByteArray, str]]] = field(default_factory=dict)

    def add(self, task: OneShot, sample: Sample, mask: BoolArray, score: ImageScore) -> None:
        """Note one test photo; of a new object its references, too."""
        if task.name not in self._sheets:
            self._sheets[task.name] = [_reference(task, index) for index in task.references]
        shown = draw(sample.image, mask, max_side=SIDE)
        self._sheets[task.name].append((shown, f"{Path(score.image).stem}: IoU {score.iou:.2f}"))

    def finish(self, found: list[TextTable]) -> Path:
        """Write page and pictures; returns the page."""
        make_folder(self.folder)
        sections = [
            element("section", table(one.headings, [r for g in one.groups for r in g])) for one in found
        ]
        for name, shown in self._sheets.items():
            sheet = side_by_side(
                [pixels for pixels, _ in shown], [text for _, text in shown], columns=COLUMNS, height=HEIGHT
            )
            write_bytes(self.folder / f"{name}.jpg", encode(sheet))
            sections.append(element("section", element("h2", name), picture(sheet, name, zoom=name)))
        target = self.folder / "report.html"
        lead = "Each object was shown once, in its first photo here, and looked for in the others."
        write_text(target, page("Objects found again", lead, *sections))
        return target


def _reference(task: OneShot, index: int) -> tuple[ByteArray, str]:
    sample = task.data[index]
    return draw(sample.image, whole(sample), max_side=SIDE), f"reference {task.data.image_path(index).stem}"


def _figures(*values: float) -> tuple[str, ...]:
    return tuple(f"{value:.3f}" for value in values)
