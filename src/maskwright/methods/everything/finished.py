"""A folder of measurements that can be taken up again.

OUT/run.json        what is measured and how, so that nothing else can mix with it
OUT/results.jsonl   one record a finished photo
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from maskwright.config import difference
from maskwright.errors import ConfigError
from maskwright.io.files import make_folder, read_json, shown, write_json
from maskwright.io.records import RecordWriter, read_records

SETTINGS, RECORDS = "run.json", "results.jsonl"


class FinishedPhotos:
    """What is finished in a folder, and a place for more; made again with the same settings, it carries on.

    Args:
        folder: made if it is not there.
        settings: what is measured and how, JSON-serialisable.
        overwrite: forget what an earlier run finished.

    Raises:
        ConfigError: the folder holds photos measured with other settings; the message says which.
        FileError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.folder = make_folder(folder)
        if overwrite:
            (self.folder / RECORDS).unlink(missing_ok=True)
        self._records = {record["photo"]: record for record in read_records(self.folder / RECORDS)}
        self._claim(json.loads(json.dumps(settings)))

    def get(self, photo: str, files: Iterable[Path]) -> Any:  # noqa: ANN401
        """What was measured of a photo, by its name; None if nothing was, or one of its files has changed."""
        record = self._records.get(photo)
        return record["result"] if record is not None and record["files"] == _stamp(files) else None

    def add(self, photo: str, files: Iterable[Path], result: Mapping[str, Any]) -> None:
        """Note what was measured of a photo."""
        with RecordWriter(self.folder / RECORDS) as records:
            records.append({"photo": photo, "files": _stamp(files), "result": result})

    def _claim(self, mine: dict[str, Any]) -> None:
        path = self.folder / SETTINGS
        # A run that finished nothing stands in nobody's way.
        changes = difference(read_json(path), mine) if self._records and path.exists() else []
        if changes:
            raise ConfigError(
                f"{shown(self.folder)} holds photos measured with other settings: {'; '.join(changes)}. "
                "Choose another folder, or --overwrite to start anew."
            )
        write_json(path, mine)


def _stamp(files: Iterable[Path]) -> list[list[int] | None]:
    """Changes when a file is written again, appears or goes."""
    stats = [path.stat() if path.exists() else None for path in files]
    return [None if status is None else [status.st_size, status.st_mtime_ns] for status in stats]
