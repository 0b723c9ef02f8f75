"""A run's records: `log.jsonl` (one line an interval), two tables (one row an evaluation), TensorBoard.

The tables are `epochs.csv`, with everything, and `training_metrics.json`, with losses and validation figures.
"""

from __future__ import annotations

import csv
import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from maskwright.errors import FileError
from maskwright.io.files import reason, shown, write_json, write_text

Row = dict[str, Any]
# In the metrics of a run, the mean IoU of the held-out objects has the name that people look for.
NAMES = {"val_miou": "val_iou"}


class Tracker:
    """Writes the records. When a run is resumed, what was logged after its checkpoint is taken out again."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open the records of a run that stands at `step`."""
        self.log_path, self.table_path = folder / "log.jsonl", folder / "epochs.csv"
        self.metrics_path = folder / "training_metrics.json"
        self.steps = [row for row in _read_log(self.log_path) if row["step"] <= step]
        self.evaluations = [row for row in read_table(self.table_path) if row["step"] <= step]
        write_text(self.log_path, "".join(json.dumps(row) + "\n" for row in self.steps))
        self._write_table()
        self.board = _board(folder / "tensorboard", step)

    def step(self, row: Row) -> None:
        """Add one line to the log.

        Raises:
            FileError: it cannot be written, as on a full disk; the run goes on from its last checkpoint.
        """
        self.steps.append(row)
        try:
            with self.log_path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
        except OSError as error:
            raise FileError(
                f"cannot write {shown(self.log_path)}: {reason(error)}. Make room or fix permissions, then "
                "run the same command again to go on from the last checkpoint."
            ) from error
        self._show(row)

    def evaluation(self, row: Row) -> None:
        """Add one row to the table. It is rewritten whole, so that a new column has a header."""
        self.evaluations.append(row)
        self._write_table()
        self._show(row)

    def close(self) -> None:
        """Flush what TensorBoard buffers."""
        if self.board is not None:
            self.board.close()

    def _write_table(self) -> None:
        write_table(self.table_path, self.evaluations)
        write_json(self.metrics_path, metrics_by_name(self.evaluations))

    def _show(self, row: Row) -> None:
        if self.board is None:
            return
        for name, value in row.items():
            if name != "step" and isinstance(value, (int, float)):
                self.board.add_scalar(name, value, row["step"])


def _board(folder: Path, step: int) -> Any:  # noqa: ANN401
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)


def _read_log(path: Path) -> list[Row]:
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break  # a kill cut the last line; it lies after the checkpoint
    return rows


def metrics_by_name(evaluations: list[Row]) -> dict[str, Any]:
    """Losses and validation figures as lists of equal length, one entry an evaluation after training steps.

    The figures of the starting model are below "before". What was not measured is None.
    """
    rows = [row for row in evaluations if row["step"]]
    known = dict.fromkeys(name for row in evaluations for name in row)
    chosen = [name for start in ("epoch", "step", "loss", "val_") for name in known if name.startswith(start)]
    before = next((row for row in evaluations if not row["step"]), {})
    return {
        **{NAMES.get(name, name): [row.get(name) for row in rows] for name in chosen},
        "before": {NAMES.get(n, n): before[n] for n in chosen if n.startswith("val_") and n in before},
    }


def write_table(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV, whole, so that every column has a header."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue() if columns else "")


def read_table(path: Path) -> list[Row]:
    """Read numbers that `write_table` wrote; no file is no rows."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [{name: _number(text) for name, text in row.items() if text} for row in csv.DictReader(stream)]


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
