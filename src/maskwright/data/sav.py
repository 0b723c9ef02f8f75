"""SA-V, the videos of SAM 2 (Ravi et al. 2024), annotated at 6 frames a second: every fourth frame of 24.

The training set is MP4 files with one or two JSON files each: masklets (the masks of one object over time)
drawn by people, and masklets made by the model, which not all videos have. The validation and the test set
are folders of frames; see `sav_frames`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from maskwright.data.dataset import Dataset, Problem, SampleError
from maskwright.data.files import Pair, check_same_size, list_below, require_folders
from maskwright.data.sav_frames import STEP, TREE, SAVFrames
from maskwright.errors import DatasetError, FileError, MaskError
from maskwright.io.files import read_json
from maskwright.io.rle import RLE, decode_all
from maskwright.io.video import VideoReader, open_video
from maskwright.types import Sample

SPLITS = ("train", "val", "test")
Masklets = Literal["manual", "auto", "both"]
KINDS = {"manual": ("manual",), "auto": ("auto",), "both": ("manual", "auto")}

# The count of frames stands before the masklets, which are megabytes.
_HEAD = 4096
_COUNT = re.compile(rb'"video_frame_count"\s*:\s*([0-9]{1,6})(?:\.0*)?\s*[,}]')
MAX_FRAMES = 10**6


def open_sav(
    root: Path,
    *,
    split: str = "train",
    masklets: Masklets = "manual",
    subsets: Sequence[int] = (),
    every: int = 1,
) -> Dataset:
    """Open one split.

    Args:
        root: the folder.
        split: "train", "val" or "test".
        masklets: of the training set, those drawn by people, those made by the model, or both.
        subsets: of the training set, only these folders: 0 for sav_000; empty means all.
        every: only every so many-th of the annotated frames of a video.

    Raises:
        DatasetError: a folder is missing, or an option is not for this split.
    """
    if split == "train":
        return SAVTrain(root, masklets=masklets, subsets=subsets, every=every)
    if masklets != "manual" or subsets:
        raise DatasetError(f"masklets and subsets are for split=train of SA-V, not for split={split}.")
    return SAVFrames(root, split, every=every)


@dataclass(frozen=True)
class _Video:
    """A training video, its JSON files by kind of masklet, and the number of items it gives."""

    path: Path
    files: Mapping[str, Path]
    items: int


@dataclass(frozen=True)
class _Masklets:
    """A parsed JSON file: the objects' ids, and for each annotated frame their run-length masks."""

    ids: Sequence[int]
    frames: Sequence[Any]


class SAVTrain(Dataset):
    """The annotated frames of the training videos, a mask an object that is seen.

    Ids are the masklets'; with both kinds, those of the model's follow those of people's. The categories are
    "manual" and "auto". Videos without the wanted kind of masklet are left out. Where masklets end before the
    video does, frames have no masks.

    Nothing but file names and the first bytes of the JSON files is read on opening. Reading in order is much
    cheaper than at random, for the last video and its masklets stay open.
    """

    def __init__(
        self, root: Path, *, masklets: Masklets = "manual", subsets: Sequence[int] = (), every: int = 1
    ) -> None:
        names = [f"sav_train/sav_{number:03d}" for number in subsets] or ["sav_train"]
        require_folders("sav", root, names, TREE)
        self.kinds, self.every = KINDS[masklets], every
        problems: list[Problem] = []
        self.videos = [video for name in names for video in self._videos(root / name, problems)]
        self.offsets = list(accumulate((video.items for video in self.videos), initial=0))
        self.reader = VideoReader()
        self._parsed: tuple[Path, dict[str, _Masklets]] | None = None
        super().__init__(problems)

    def _videos(self, folder: Path, problems: list[Problem]) -> Iterator[_Video]:
        alone = set(list_below(folder, [f"_{kind}.json" for kind in KINDS["both"]]))
        for path in list_below(folder, [".mp4"]):
            files = {kind: path.with_name(f"{path.stem}_{kind}.json") for kind in KINDS["both"]}
            files = {kind: file for kind, file in files.items() if file in alone}
            alone -= set(files.values())
            if not files:
                message = f"has neither {path.stem}_manual.json nor {path.stem}_auto.json"
                problems.append(Problem("missing_mask", str(path), message))
            files = {kind: file for kind, file in files.items() if kind in self.kinds}
            if files:
                try:
                    frames = _count_frames(next(iter(files.values())))
                except SampleError as error:
                    problems.append(error.problem)
                else:
                    yield _Video(path, files, -(-frames // (STEP * self.every)))
        problems += [Problem("missing_image", str(file), "belongs to no video") for file in sorted(alone)]

    def __len__(self) -> int:
        return self.offsets[-1]

    def locate(self, index: int) -> tuple[_Video, int]:
        """The video of item `index`, and the number of the annotated frame in it, from 0."""
        place = bisect_right(self.offsets, index) - 1
        return self.videos[place], (index - self.offsets[place]) * self.every

    def image_path(self, index: int) -> Path:
        """The video file that item `index` is a frame of."""
        return self.locate(index)[0].path

    def mask_path(self, index: int) -> Path:
        """The JSON file of item `index`; with both kinds, that of people's masklets."""
        return next(iter(self.locate(index)[0].files.values()))

    def probe(self, index: int) -> None:
        """Look at the header of the video of item `index`."""
        open_video(self.image_path(index)).release()

    def read(self, index: int) -> Sample:
        """Decode item `index`."""
        video, frame = self.locate(index)
        image = self.reader.read(video.path, frame * STEP)
        masks: list[RLE] = []
        ids: list[int] = []
        kinds: list[str] = []
        first = 0
        for kind, masklets in self._masklets(video).items():
            for name, mask in _masks_of(video.files[kind], masklets, frame):
                check_same_size(Pair(video.path, video.files[kind]), image, mask.size)
                masks.append(mask)
                ids.append(first + name)
                kinds.append(kind)
            first += 1 + max(masklets.ids, default=-1)
        source = f"{self.mask_path(index)}[{frame}]"
        return Sample(image, decode_all(masks, image.size), tuple(ids), source, categories=tuple(kinds))

    def _masklets(self, video: _Video) -> dict[str, _Masklets]:
        parsed = self._parsed
        if parsed is None or parsed[0] != video.path:
            found = {kind: _read_masklets(file, video.path.stem) for kind, file in video.files.items()}
            parsed = self._parsed = (video.path, found)
        return parsed[1]


def _count_frames(file: Path) -> int:
    """A video's number of frames at 24 a second, from the beginning of its JSON file.

    Raises:
        SampleError: the file does not say.
    """
    with file.open("rb") as opened:
        found = _COUNT.search(opened.read(_HEAD))
    if found:
        return int(found[1])
    try:
        count = int(read_json(file)["video_frame_count"])
    except (FileError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise SampleError("unreadable", file, f"has no video_frame_count ({error})") from error
    if not 0 <= count < MAX_FRAMES:
        raise SampleError("unreadable", file, f"has a video_frame_count of {count}")
    return count


def _read_masklets(file: Path, video: str) -> _Masklets:
    """Parse a JSON file of masklets.

    Raises:
        FileError: it is no such file, or that of another video.
    """
    content = read_json(file)
    ids, frames = (
        content.get(key) if isinstance(content, dict) else None for key in ("masklet_id", "masklet")
    )
    if not (isinstance(ids, list) and isinstance(frames, list) and _distinct(ids)):
        raise SampleError("malformed_mask", file, "has no lists 'masklet_id' and 'masklet' as SA-V has them")
    if content.get("video_id", video) != video:
        raise SampleError("malformed_mask", file, f"is of the video {content['video_id']!a}, not of {video}")
    return _Masklets(ids, frames)


def _distinct(ids: list[Any]) -> bool:
    return all(isinstance(name, int) and name >= 0 for name in ids) and len(set(ids)) == len(ids)


def _masks_of(file: Path, masklets: _Masklets, frame: int) -> Iterator[tuple[int, RLE]]:
    """The objects that are seen in an annotated frame: id and mask."""
    found = masklets.frames[frame] if frame < len(masklets.frames) else []
    where = f"{file}: masklet[{frame}]"
    if not isinstance(found, list) or len(found) > len(masklets.ids):
        message = f"is no list of at most {len(masklets.ids)} masks, one for each masklet_id"
        raise SampleError("malformed_mask", where, message)
    for name, record in zip(masklets.ids, found, strict=False):
        try:
            mask = RLE.from_coco(record)
        except MaskError as error:
            raise SampleError("malformed_mask", f"{where}[{name}]", str(error)) from error
        if mask.area:
            yield name, mask
