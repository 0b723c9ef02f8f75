"""Videos as sequences of frame files in order, with label maps of some or all frames.

Frames are listed, never counted up: a set may hold every second frame only, and its annotations fewer still.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskwright.data import davis, frames
from maskwright.data.dataset import SampleError
from maskwright.data.files import list_files, list_photos, require_folders
from maskwright.data.registry import parse_spec
from maskwright.errors import DatasetError, MaskError
from maskwright.io.files import shown
from maskwright.io.images import read_header, read_image
from maskwright.io.inputs import IMAGE_SUFFIXES
from maskwright.io.masks import LabelMap, read_label_map, read_mask
from maskwright.types import Image

# Marks pixels of which an annotation does not say what they are.
VOID = 255


@dataclass(frozen=True)
class Video:
    """The frames of one video, and where label maps of some of them are.

    Args:
        name: of the video, and of its folder of results.
        frames: photos in order; a frame's number here is its place in them.
        annotations: label map files by frame number.
        read_labels: reads a label map file: 0 is background, other numbers are objects.
    """

    name: str
    frames: tuple[Path, ...]
    annotations: Mapping[int, Path]
    read_labels: Callable[[Path], LabelMap] = read_label_map

    def __len__(self) -> int:
        return len(self.frames)

    def image(self, number: int) -> Image:
        """Decode a frame.

        Raises:
            ImageError: naming the file.
        """
        return read_image(self.frames[number])

    def labels(self, number: int) -> LabelMap:
        """Decode the label map (H, W) of an annotated frame; what it leaves open (255) becomes background.

        Raises:
            FileError: naming the file, also when it has another size than its frame.
        """
        path = self.annotations[number]
        labels = self.read_labels(path)
        labels[labels == VOID] = 0
        size = read_header(self.frames[number]).size
        if labels.shape != size:
            sizes = f"{labels.shape[1]}×{labels.shape[0]}, but its frame {size[1]}×{size[0]}"
            raise SampleError("size_mismatch", path, f"is {sizes}; a label map has the size of its frame")
        return labels


def open_videos(spec: str) -> list[Video]:
    """The videos of `davis2016:FOLDER` or `davis2017:FOLDER`, with their options but `every` and `fold`.

    Raises:
        DatasetError: for another kind, an unknown option, or a folder without the expected tree.
    """
    kind, folder, options = parse_spec(spec)
    if kind not in ("davis2016", "davis2017"):
        raise DatasetError(f"{spec} holds no videos: give davis2016:FOLDER or davis2017:FOLDER.")
    left_out = [name for name in options if name not in ("split", "resolution", "sequences", "exclude")]
    if left_out:
        raise DatasetError(f"{spec}: videos are taken whole, without {left_out[0]}.")
    images, masks = davis.find_layout(kind, folder, options.get("resolution"))
    known = frames.folders(images)
    if "split" in options:
        known, problems, _ = davis.read_split(kind, folder, images, options["split"])
        if problems:
            raise DatasetError(f"{spec}: {len(problems)} of its files are missing: {problems[0]}.")
    names = frames.choose(images, known, options.get("sequences", ()), options.get("exclude", ()))
    read = read_label_map if kind == "davis2017" else davis.read_object
    videos = [_davis_video(images / name, masks / name, read) for name in names]
    if not videos:
        raise DatasetError(f"{spec} holds no sequence. It should look like this:\n{davis.TREE}")
    return videos


def folder_video(frames: Path, mask: Path) -> Video:
    """A user's own video: a folder of frames, in the order of their names, and a label map of the first.

    The label map may number several objects, or be a mask of one: black, and white or any one colour.

    Raises:
        DatasetError: there is no such folder, or no frame in it.
        FileError: the mask cannot be read, has another size than the first frame, or shows no object.
    """
    require_folders("video", frames, (), "  FRAMES/00000.jpg 00001.jpg …, in the order of their names")
    photos = [path for path in list_photos(frames) if path.resolve() != mask.resolve()]
    if not photos:
        raise DatasetError(f"{frames} holds no frames ({', '.join(IMAGE_SUFFIXES)}).")
    video = Video(frames.resolve().name, tuple(photos), {0: mask}, _read_given)
    _check_names(video)
    if not objects(video.labels(0)):
        raise MaskError(f"{shown(mask)} is empty: it shows no object to follow.")
    return video


def objects(labels: LabelMap) -> list[int]:
    """The numbers of the objects in a label map, in ascending order."""
    return [int(number) for number in np.unique(labels) if number]


def _read_given(path: Path) -> LabelMap:
    """A user's label map, or mask of one object, which is then 1."""
    try:
        labels = read_label_map(path)
    except MaskError:
        return read_mask(path).astype(np.int32)
    return read_mask(path).astype(np.int32) if objects(labels) == [VOID] else labels


def _davis_video(photos: Path, masks: Path, read: Callable[[Path], LabelMap]) -> Video:
    frames = list_files(photos, [".jpg", ".jpeg", ".png"])
    if not frames:
        raise DatasetError(f"{photos} holds no frames. A sequence looks like this:\n{davis.TREE}")
    numbers = {path.stem: number for number, path in enumerate(frames)}
    files = list_files(masks, [".png"]) if masks.is_dir() else []
    alone = [path for path in files if path.stem not in numbers]
    if alone:
        raise DatasetError(f"{alone[0]} belongs to no frame: {photos} has no {alone[0].stem}.jpg.")
    if not files:
        raise DatasetError(f"{masks} holds no label map, so there is nothing to track in {photos}.")
    video = Video(photos.name, tuple(frames), {numbers[path.stem]: path for path in files}, read)
    _check_names(video)
    return video


def _check_names(video: Video) -> None:
    """Results are named after the frames' stems, which must then differ."""
    stems: dict[str, Path] = {}
    for path in video.frames:
        if path.stem in stems:
            raise DatasetError(f"{path} and {stems[path.stem].name} have the same stem; rename one of them.")
        stems[path.stem] = path
