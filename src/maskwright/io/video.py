"""Frames of video files, by number.

Reading on is far cheaper than jumping: a video is stored as the differences between frames, and a jump
decodes from the last whole picture before its aim. So the last video stays open at its place.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskwright.errors import ImageError
from maskwright.io.decode import MAX_PIXELS
from maskwright.io.files import require_file, shown
from maskwright.types import Image

READ_ON = 64
"""Up to this many frames ahead, reading on is cheaper than a jump."""


@dataclass
class _Open:
    """A video at a place: the number of the frame that is read next."""

    path: Path
    capture: cv2.VideoCapture
    process: int
    following: int = 0


@dataclass
class VideoReader:
    """Reads frames of video files, one file open at a time; threads take turns.

    Copies in other processes open the file anew, for a place in a file is shared between them.
    """

    _open: _Open | None = None
    _lock: Any = field(default_factory=threading.Lock)

    def read(self, path: str | os.PathLike[str], number: int) -> Image:
        """Decode frame `number`, counted from 0, as RGB, turned upright.

        Raises:
            ImageError: the file is missing, no video, damaged, or has no such frame.
        """
        assert number >= 0, number
        with self._lock:
            opened = self._at(Path(path), number)
            found, pixels = opened.capture.read()
            if not found or pixels is None:
                self._open = None
                raise ImageError(f"{shown(path)} has no frame {number}, or is damaged there.")
            opened.following = number + 1
        return Image(np.ascontiguousarray(pixels[..., ::-1]), f"{os.fspath(path)}[{number}]")

    def _at(self, path: Path, number: int) -> _Open:
        opened = self._open
        if opened is None or opened.path != path or opened.process != os.getpid():
            opened = self._open = _Open(path, open_video(path), os.getpid())
        if 0 <= number - opened.following <= READ_ON:
            while opened.following < number and opened.capture.grab():
                opened.following += 1
        else:
            opened.capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        return opened

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]


def open_video(path: Path) -> cv2.VideoCapture:
    """Open an MP4 or MOV file.

    Raises:
        ImageError: the file is missing, no such video, cannot be decoded here, or is beyond `MAX_PIXELS`.
    """
    require_file(path)
    with path.open("rb") as file:
        start = file.read(12)
    # By its content a file could also be a list of other files or addresses, which would be opened.
    if start[4:8] != b"ftyp":
        raise ImageError(f"{shown(path)} is no MP4 video: it does not begin as one.")
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise ImageError(f"{shown(path)} cannot be decoded: it is cut off, damaged or of an unknown codec.")
    height, width = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
    if height * width > MAX_PIXELS:
        raise ImageError(f"{shown(path)} is {width}×{height}, beyond the limit of {MAX_PIXELS:,} pixels.")
    return capture
