"""Running a tracker over a video, frame by frame, and over many videos into a folder of label maps.

OUT/run.json                the tracker, so that another one cannot mix with this one
OUT/finished.jsonl          one record per finished video; written last, it marks the video as done
OUT/SEQUENCE/00000.png      the label map of each frame, as a palette PNG: the layout of DAVIS's results
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import maskwright
from maskwright.data.sequences import Video, objects
from maskwright.errors import ConfigError, FileError, InputError
from maskwright.io.files import make_folder, read_json, shown, write_json
from maskwright.io.masks import LabelMap
from maskwright.io.palette import write_palette_png
from maskwright.io.records import RecordWriter, read_records
from maskwright.methods.video.tracker import Track, Tracker, merge, split
from maskwright.types import FloatArray, Image

SETTINGS, RECORDS = "run.json", "finished.jsonl"

OnFailure = Callable[[Path, Exception], None]


class Following:
    """One video's objects while a tracker follows them.

    Objects that appear later are started where an annotation has them first. They get a track of their own,
    so that the tracks of the others go on as they were.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.ids: list[int] = []
        self._tracks: list[tuple[int, Track]] = []  # how many of `ids`, in order, and their track
        self._labels: LabelMap | None = None

    def step(self, image: Image, given: LabelMap | None) -> LabelMap:
        """Find the objects in a frame.

        Args:
            image: the next frame.
            given: its annotation, if there is one; of it only objects that are new are taken.

        Raises:
            InputError: the frame has another size than the first one.
        """
        if self._labels is not None and image.size != self._labels.shape:
            size, first = image.size[::-1], self._labels.shape[::-1]
            raise InputError(f"{image.source} is {size[0]}×{size[1]}, but the video {first[0]}×{first[1]}.")
        labels = self._track(image)
        new = [] if given is None else [number for number in objects(given) if number not in self.ids]
        if new and given is not None:
            masks = split(given, new)
            self._tracks.append((len(new), self.tracker.start(image, masks)))
            self.ids += new
            labels = np.where(masks.any(axis=0), given, labels)
        self._labels = labels
        return labels

    def _track(self, image: Image) -> LabelMap:
        if self._labels is None or not self._tracks:
            return np.zeros(image.size, np.int32)
        previous = split(self._labels, self.ids)
        logits: list[FloatArray] = []
        start = 0
        for count, track in self._tracks:
            logits.append(track.step(image, previous[start : start + count]))
            start += count
        return merge(self.ids, np.concatenate(logits))


def follow(
    tracker: Tracker, video: Video, on_failure: OnFailure
) -> Iterator[tuple[int, LabelMap | None, float]]:
    """Track a video, yielding each frame's number, label map and seconds.

    A frame that cannot be read is reported and yields None for a label map; the tracker never sees it. An
    annotation that cannot be read is reported, and its frame is tracked without it.

    Raises:
        MaskwrightError: any other that the tracker raises.
    """
    following = Following(tracker)
    for number, path in enumerate(video.frames):
        start = time.perf_counter()
        labels = None
        try:
            image = video.image(number)
            labels = following.step(image, _given(video, number, on_failure))
        except (FileError, InputError) as error:
            on_failure(path, error)
        yield number, labels, time.perf_counter() - start


def _given(video: Video, number: int, on_failure: OnFailure) -> LabelMap | None:
    """The annotation of a frame, if it has one that can be read."""
    if number not in video.annotations:
        return None
    try:
        return video.labels(number)
    except FileError as error:
        on_failure(video.annotations[number], error)
        return None


class TrackRun:
    """One folder of results and what is finished in it; made again with the same tracker, it carries on.

    Args:
        folder: made if it is not there.
        tracker: follows the objects.
        overwrite: forget what an earlier run finished, and start anew.

    Raises:
        ConfigError: the folder holds videos finished by another tracker.
        FileError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path, tracker: Tracker, *, overwrite: bool = False) -> None:
        self.folder = make_folder(folder)
        self.tracker = tracker
        if overwrite:
            (self.folder / RECORDS).unlink(missing_ok=True)
        self.finished = {record["video"]: record for record in read_records(self.folder / RECORDS)}
        self._claim()

    def pending(self, videos: Sequence[Video]) -> list[Video]:
        """The videos that are not finished, or whose files have changed since."""
        return [video for video in videos if not self._is_finished(video)]

    def track(self, videos: Sequence[Video], on_failure: OnFailure) -> Iterator[tuple[Video, int]]:
        """Track videos and write their label maps, yielding each frame when it is written or has failed.

        A video with a frame or an annotation that failed is not finished: the next run tracks it again.
        """
        with RecordWriter(self.folder / RECORDS) as records:
            for video in videos:
                failures: list[Path] = []

                def note(path: Path, error: Exception, failures: list[Path] = failures) -> None:
                    failures.append(path)
                    on_failure(path, error)

                target = make_folder(self.folder / video.name)
                seconds = []
                for number, labels, taken in follow(self.tracker, video, note):
                    path = result_path(target, video, number)
                    if labels is None:
                        path.unlink(missing_ok=True)  # what an earlier run left there
                    else:
                        write_palette_png(path, labels)
                        seconds.append(taken)
                    yield video, number
                if not failures:
                    record = {
                        "video": video.name,
                        "frames": len(video),
                        "files": _stamp(video),
                        "seconds_per_frame": round(float(np.mean(seconds)), 4),
                    }
                    records.append(record)
                    self.finished[video.name] = record

    def _is_finished(self, video: Video) -> bool:
        record = self.finished.get(video.name)
        return record is not None and record["files"] == _stamp(video)

    def _claim(self) -> None:
        path = self.folder / SETTINGS
        mine: dict[str, Any] = {"maskwright": maskwright.__version__, "tracker": self.tracker.signature}
        if self.finished and path.exists():
            theirs = read_json(path).get("tracker")
            if theirs != mine["tracker"]:
                raise ConfigError(
                    f"{shown(self.folder)} holds videos tracked by {theirs}, not by {mine['tracker']}. "
                    "Choose another folder, or --overwrite to start anew."
                )
        write_json(path, mine)


def result_path(folder: Path, video: Video, number: int) -> Path:
    """Where the label map of a frame is, in the video's folder of results."""
    return folder / f"{video.frames[number].stem}.png"


def _stamp(video: Video) -> str:
    """Changes when a frame or an annotation is added, removed or written again."""
    digest = hashlib.sha256()
    for path in [*video.frames, *video.annotations.values()]:
        status = path.stat()
        text = f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0"
        digest.update(text.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
