"""Small videos, and SA-V in its layouts, made by code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from data.miniatures import photo, rectangle, save

from maskwright.io.rle import RLE

BITS = 9
BAR = 7
VIDEO_SIZE = (48, BITS * BAR + 1)


def numbered(number: int) -> npt.NDArray[np.uint8]:
    """A frame with its number as black and white bars, which survive compression."""
    frame = np.zeros((*VIDEO_SIZE, 3), np.uint8)
    for bit in range(BITS):
        frame[:, bit * BAR : (bit + 1) * BAR] = 255 * (number >> bit & 1)
    return frame


def number_of(frame: npt.NDArray[np.uint8]) -> int:
    """The number that `numbered` wrote into a frame."""
    return sum(int(frame[24, bit * BAR + 3, 0] > 127) << bit for bit in range(BITS))


def write_video(path: Path, frames: int, size: tuple[int, int] = VIDEO_SIZE) -> Path:
    """An MP4 whose frames show their numbers; the test is skipped where OpenCV cannot write one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, 24, size[::-1])
    if not writer.isOpened():
        pytest.skip("this build of OpenCV cannot write MP4 videos")
    for number in range(frames):
        frame = np.zeros((*size, 3), np.uint8)
        frame[: VIDEO_SIZE[0], : VIDEO_SIZE[1]] = numbered(number)
        writer.write(frame)
    writer.release()
    return path


def masklet_json(video: str, frames: int, masklets: int, annotated: int, **changes: Any) -> dict[str, Any]:
    """As SA-V has it: object k is a square of 5 + k pixels at column k, empty in frame 1."""
    shapes = [RLE.encode(rectangle(k, 2, 2 * k + 5, 7 + k, VIDEO_SIZE)).to_coco() for k in range(masklets)]
    empty = RLE.encode(np.zeros(VIDEO_SIZE, bool)).to_coco()
    content = {
        "video_id": video,
        "video_frame_count": float(frames),
        "video_height": float(VIDEO_SIZE[0]),
        "video_width": float(VIDEO_SIZE[1]),
        "masklet": [[empty] * masklets if k == 1 else shapes for k in range(annotated)],
        "masklet_id": list(range(masklets)),
    }
    return content | changes


def make_sav_train(root: Path) -> Path:
    """Subsets 0 and 7: a video of 22 frames with both kinds, one of 9 with masklets in frame 0 only."""
    first, second = root / "sav_train/sav_000/sav_000001", root / "sav_train/sav_007/sav_007003"
    write_video(first.with_suffix(".mp4"), 22)
    write_video(second.with_suffix(".mp4"), 9)
    write_json(first.with_name("sav_000001_manual.json"), masklet_json("sav_000001", 22, 2, 6))
    write_json(first.with_name("sav_000001_auto.json"), masklet_json("sav_000001", 22, 3, 6))
    write_json(second.with_name("sav_007003_manual.json"), masklet_json("sav_007003", 9, 1, 1))
    return root


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def make_sav_frames(root: Path, split: str = "val") -> Path:
    """Video a: frames 0 to 8, each fourth annotated, object 0 always, 2 in frame 4 only; video b: frame 0."""
    base = root / f"sav_{split}"
    for video, count in (("a", 9), ("b", 1)):
        for number in range(count):
            save(base / "JPEGImages_24fps" / video / f"{number:05d}.jpg", photo(number))
        for number in range(0, count, 4):
            for name, seen in (("000", True), ("002", number == 4)):
                mask = rectangle(4, 4, 20, 16) & seen
                path = base / "Annotations_6fps" / video / name / f"{number:05d}.png"
                save(path, mask.astype(np.uint8) * np.uint8(255 if video == "a" else 1))
    (base / f"sav_{split}.txt").write_text("b\na\n")
    return root
