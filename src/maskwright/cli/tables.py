"""Tables of results on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from maskwright.report.evaluation_tables import TextTable


def rich_table(content: TextTable) -> Table:
    """A table of strings as rich shows it, its groups apart."""
    table = Table(*content.headings, title=content.title, title_justify="left")
    for column in table.columns[content.numbers_from :]:
        column.justify = "right"
    for group in content.groups:
        for row in group:
            table.add_row(*row, end_section=row is group[-1])
    return table
