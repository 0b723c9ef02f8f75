"""The folder of a benchmark that can be taken up again.

OUT/run.json             what was scored and how, so that nothing else can mix with it
OUT/finished.jsonl       one record a finished photo: the counts at every threshold
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from maskwright.errors import ConfigError, FileError
from maskwright.io.files import make_folder, read_json, shown, write_json
from maskwright.io.records import RecordWriter, read_records
from maskwright.methods.everything.evaluate import Counted, Photo, Source, find_prediction

SETTINGS, RECORDS = "run.json", "finished.jsonl"


class BenchmarkFolder:
    """What is finished in a folder, and a place for more; made again with the same settings, it carries on.

    Args:
        folder: made if it is not there.
        settings: what is scored and how, JSON-serialisable.
        source: of the predictions.
        overwrite: forget what an earlier run finished.

    Raises:
        ConfigError: the folder holds photos scored with other settings.
        FileError: the folder cannot be made or read.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], source: Source, *, overwrite: bool = False
    ) -> None:
        self.folder = make_folder(folder)
        self._source = source
        if overwrite:
            (self.folder / RECORDS).unlink(missing_ok=True)
        self._finished = {record["image"]: record for record in read_records(self.folder / RECORDS)}
        self._claim(dict(settings))

    def finished(self, photos: Iterable[Photo]) -> dict[str, Counted]:
        """Those of the photos that are finished, by name, unless a file of theirs has changed since."""
        known = ((photo, self._finished.get(photo.name)) for photo in photos)
        return {
            photo.name: Counted.from_json(record["counts"])
            for photo, record in known
            if record is not None and record["files"] == self._stamp(photo)
        }

    def add(self, photo: Photo, counted: Counted) -> None:
        """Note that a photo is finished."""
        record = {"image": photo.name, "files": self._stamp(photo), "counts": counted.to_json()}
        with RecordWriter(self.folder / RECORDS) as records:
            records.append(record)

    def _stamp(self, photo: Photo) -> list[list[int]] | None:
        """Changes when a file is written again; None when the prediction is not there."""
        try:
            predicted = (
                find_prediction(self._source, photo) if isinstance(self._source, Path) else photo.image
            )
        except FileError:
            return None
        stats = [path.stat() for path in (predicted, photo.truth)]
        return [[status.st_size, status.st_mtime_ns] for status in stats]

    def _claim(self, mine: dict[str, Any]) -> None:
        path = self.folder / SETTINGS
        theirs = read_json(path) if self._finished and path.exists() else mine
        if theirs != mine:
            different = [
                name for name in mine if not isinstance(theirs, dict) or theirs.get(name) != mine[name]
            ]
            raise ConfigError(
                f"{shown(self.folder)} holds photos scored with another {', '.join(different) or 'setting'}. "
                "Choose another folder, or --overwrite to start anew."
            )
        write_json(path, mine)
