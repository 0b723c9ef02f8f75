"""What is kept of each whole epoch: a line of the machine's use, and the model with its parts."""

from __future__ import annotations

import shutil
from pathlib import Path

from maskwright.errors import TrainingError
from maskwright.io.files import make_folder, reason, remove_stale_parts
from maskwright.methods.base import Method
from maskwright.training.folder import RunFolder
from maskwright.training.monitor import EpochMonitor
from maskwright.training.tracking import read_table, write_table


class Epochs:
    """Writes `epoch_stats.csv` and `epochs/NNNN/`. Only the process that writes files has one.

    When a run is resumed, lines after its checkpoint are taken out again: each epoch has one line.

    Args:
        folder: of the run.
        method: whose model is kept.
        epoch: whole epochs done so far.
    """

    def __init__(self, folder: RunFolder, method: Method, epoch: int) -> None:
        self.folder, self.method = folder, method
        self.rows = [row for row in read_table(folder.epoch_stats) if row["epoch"] <= epoch]
        write_table(folder.epoch_stats, self.rows)
        self.monitor = EpochMonitor(folder.path)

    def end(self, epoch: int, seconds: float) -> list[Path]:
        """Note that an epoch is done and took so long; return the folder of its model, where it is kept.

        Raises:
            MaskwrightError: a file cannot be written or removed.
        """
        row = {"epoch": epoch, "duration_sec": round(seconds, 3), **self.monitor.read()}
        every = self.method.settings.save_models
        kept = self._keep(epoch) if every and epoch % every == 0 else []
        self.rows.append(row)
        write_table(self.folder.epoch_stats, self.rows)
        return kept

    def _keep(self, epoch: int) -> list[Path]:
        folder = make_folder(self.folder.epochs / f"{epoch:04}")
        # A run holds its folder's lock: what is half written is from one that was killed.
        remove_stale_parts(folder, older_than_s=0)
        self.method.save_epoch(folder)
        if most := self.method.settings.keep_models:
            known = [path for path in self.folder.epochs.iterdir() if path.name.isdigit()]
            # Newer ones are from before a resumption and will be written again.
            older = sorted(
                (path for path in known if int(path.name) <= epoch), key=lambda path: int(path.name)
            )
            for path in older[:-most]:
                _remove(path)
        return [folder]


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be removed: {reason(error)}.") from error
