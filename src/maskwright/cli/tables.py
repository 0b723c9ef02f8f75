"""Tables of results on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from maskwright.io.files import shown

if TYPE_CHECKING:
    from maskwright.report.evaluation_tables import TextTable


ROWS = 100
"""Of longer tables of scores only so many rows are shown."""


def score_table(
    records: Sequence[Mapping[str, Any]], names: Mapping[str, str], kind: str, nothing: str
) -> Table:
    """What was found in which image, and how sure it is, as rich shows it; low quality has a question mark.

    Args:
        records: of `report.segmentation`, one an image.
        names: which extra rows of theirs to show, and what to call them; the score follows, and then what
            uncertainty heads tell, if they tell it of every mask.
        kind: what the names of what was found are.
        nothing: what stands in place of a name where an image has nothing.
    """
    from maskwright.models.uncertainty import DOUBTFUL, QUALITY, VALUES

    def text(name: str, value: float | str | bool | None) -> str:
        if isinstance(value, float):
            return f"{value:.3f}" + "?" * (name == QUALITY and value < DOUBTFUL)
        if isinstance(value, str):
            return value
        return "–" if value is None else ("yes" if value else "no")

    known = [set(record["extra"]) for record in records if record["masks"]]
    told = [name for name in VALUES if known and all(name in row for row in known)]
    rows: list[tuple[str, str, Sequence[str]]] = []
    for record in records:
        extra = record["extra"] | {"score": record["scores"]}
        columns = [[text(name, value) for value in extra.get(name, ())] for name in (*names, "score", *told)]
        found = list(zip(_labels(record), zip(*columns, strict=True), strict=True))
        rows += [(shown(record["path"]), *row) for row in found or [(nothing, ())]]
    titles = (name.replace("_", " ") for name in told)
    table = Table("image", kind, *names.values(), "predicted IoU", *titles)
    for path, label, values in rows[:ROWS]:
        table.add_row(path, label, *values)
    if len(rows) > ROWS:
        table.caption = f"and {len(rows) - ROWS} more rows"
    return table


def _labels(record: Mapping[str, Any]) -> Sequence[str]:
    """Categories, or the numbers of the prompts; where these have several masks, with those of the masks."""
    if record["categories"] is not None:
        return list(record["categories"])
    prompts, choices = record["extra"]["prompt"], record["extra"]["choice"]
    pairs = zip(prompts, choices, strict=True)
    return [f"{prompt}-{choice}" if any(choices) else str(prompt) for prompt, choice in pairs]


def rich_table(content: TextTable) -> Table:
    """A table of strings as rich shows it, its groups apart."""
    table = Table(*content.headings, title=content.title, title_justify="left")
    for column in table.columns[content.numbers_from :]:
        column.justify = "right"
    for group in content.groups:
        for row in group:
            table.add_row(*row, end_section=row is group[-1])
    return table
