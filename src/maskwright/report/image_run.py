"""A run over many images into a folder: one image after the other, recorded when it is done, carried on.

OUT/run.json        the settings, so that another run cannot mix with this one
OUT/results.jsonl   one record per finished image; written last, it marks the image as done
OUT/coco.json       all masks, and other formats as asked
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import maskwright
from maskwright.errors import ConfigError, FileError, InputError
from maskwright.export.labels import FILE_FORMATS, LabelledImage, write_labels
from maskwright.io.files import confine, make_folder, read_json, write_json
from maskwright.io.images import read_image
from maskwright.io.inputs import ImageFile
from maskwright.io.records import RecordWriter, read_records
from maskwright.types import Image

SETTINGS, RECORDS = "run.json", "results.jsonl"

Found = TypeVar("Found")
Record = dict[str, Any]
"""`LabelledImage.to_record()`, and of the image: "source", "bytes", "modified_ns", and the
"seconds" that it took."""


class ImageRun(ABC, Generic[Found]):
    """One output folder and what is finished in it; made again with the same settings, it carries on.

    Args:
        folder: made if it is not there.
        overwrite: delete what an earlier run made in the folder, and start anew.

    Raises:
        ConfigError: the folder holds images finished with other settings; the message says which.
        FileError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        self.folder = make_folder(folder)
        # Of an image that was done twice, because its file changed, the last record stands.
        self.finished = {record["path"]: record for record in read_records(self.folder / RECORDS)}
        if overwrite:
            self._discard()
        self._claim()

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """All that decides the results: a run with anything else is another run."""

    @abstractmethod
    def ask(self, image: ImageFile, pixels: Image) -> Found:
        """Find what there is to find in one image.

        Raises:
            FileError, InputError: this image cannot be done; the run goes on.
        """

    @abstractmethod
    def write(self, image: ImageFile, pixels: Image, found: Found) -> Record:
        """Write an image's files; return its record, but for what `segment` adds."""

    @abstractmethod
    def files(self, record: Record) -> list[str]:
        """The files that a record names, relative to the folder."""

    def pending(self, images: Sequence[ImageFile]) -> list[ImageFile]:
        """The images that are not finished, or whose files have changed since."""
        return [image for image in images if not self._is_finished(image)]

    def segment(self, images: Sequence[ImageFile]) -> Iterator[tuple[ImageFile, Record | Exception]]:
        """Segment images, yielding each with its record, or with why it failed; the run goes on after that.

        Only errors of one image are yielded (it cannot be read, its prompts do not fit); others, such as a
        full disk, end the run.
        """
        with RecordWriter(self.folder / RECORDS) as records:
            for image in images:
                try:
                    start = time.perf_counter()
                    pixels = read_image(image.path)
                    found = self.ask(image, pixels)
                except (FileError, InputError) as error:
                    yield image, error
                    continue
                files = self.write(image, pixels, found)
                taken = {"seconds": round(time.perf_counter() - start, 4)}
                record = {**taken, **files, **_stamp(image)}
                records.append(record)
                self.finished[image.name] = record
                yield image, record

    def records(self, images: Sequence[ImageFile]) -> list[Record]:
        """The records of those of the images that are finished."""
        return [self.finished[image.name] for image in images if image.name in self.finished]

    def labels(self) -> list[LabelledImage]:
        """All finished images, sorted by name."""
        return [LabelledImage.from_record(self.finished[name]) for name in sorted(self.finished)]

    def write_labels(self, formats: Sequence[str] = ("coco",)) -> list[Path]:
        """Write the labels of all finished images: coco.json, labelstudio.json, or a folder of that name.

        Raises:
            ConfigError: for an unknown format.
            FileError: when something cannot be written.
        """
        labels = self.labels()
        places = []
        for name in formats:
            places.append(self.folder / (f"{name}.json" if name in FILE_FORMATS else name))
            write_labels(labels, places[-1], name)
        return places

    def place(self, image: ImageFile, part: str, ending: str) -> str:
        """Where a file about an image goes, relative to the folder; its own folder is made."""
        path = image.output(self.folder / part, ending)
        make_folder(path.parent)
        return path.relative_to(self.folder).as_posix()

    def _is_finished(self, image: ImageFile) -> bool:
        record = self.finished.get(image.name)
        return record is not None and all(record.get(key) == value for key, value in _stamp(image).items())

    def _discard(self) -> None:
        """Delete the files that the records name, and the records; nothing else in the folder is ours."""
        for record in self.finished.values():
            for name in self.files(record):
                confine(self.folder, name).unlink(missing_ok=True)
        (self.folder / RECORDS).unlink(missing_ok=True)
        self.finished = {}

    def _claim(self) -> None:
        path = self.folder / SETTINGS
        mine = self.described()
        # A run that finished nothing, such as one with a mistyped prompt, stands in nobody's way.
        if not path.exists() or not self.finished:
            write_json(path, {"maskwright": maskwright.__version__, **mine})
            return
        theirs = read_json(path)
        changed = [
            f"{key} was {_brief(theirs.get(key))} and now is {_brief(mine.get(key))}"
            for key in dict.fromkeys([*mine, *theirs])
            if theirs.get(key) != mine.get(key) and key != "maskwright"
        ]
        if changed:
            raise ConfigError(
                f"{self.folder} holds a run with other settings: {'; '.join(changed)}. Choose another "
                "folder, give the same settings to carry on, or --overwrite to start anew."
            )


def _stamp(image: ImageFile) -> dict[str, Any]:
    """What tells that an image file is still the same."""
    status = image.path.stat()
    return {"source": str(image.path), "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _brief(value: Any) -> str:  # noqa: ANN401
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
