"""Running trackers over videos: numbers that stay, late objects, failures, resuming, and the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.video.clips import SIZE, ByColour, make_clip, photo, scene
from PIL import Image as PILImages

from maskwright.data.sequences import open_videos
from maskwright.errors import ConfigError, InputError, MaskError
from maskwright.io.masks import LabelMap, read_label_map
from maskwright.io.palette import voc_colours, write_palette_png
from maskwright.methods.video.follow import Following, TrackRun, follow
from maskwright.methods.video.registry import TRACKERS, make_tracker
from maskwright.methods.video.simple import Copy, PreviousMask, widened_box
from maskwright.methods.video.tracker import Tracker, merge, split
from maskwright.models.nano import Nano, NanoConfig
from maskwright.models.segmenter import Segmenter
from maskwright.types import Embedding, Image, Masks, Prompts


def fail(path: Path, error: Exception) -> None:
    raise AssertionError(f"{path}: {error}")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "davis")


def followed(tracker: Tracker, clip: Path) -> list[LabelMap]:
    (video,) = open_videos(f"davis2017:{clip}")
    found = [labels for _, labels, _ in follow(tracker, video, fail) if labels is not None]
    assert len(found) == len(video)
    return found


def test_merge_takes_the_largest_positive_logit() -> None:
    logits = np.array([[[1, 2, -1, -2]], [[3, 1, -2, -1]]], np.float32)
    assert merge([4, 9], logits).tolist() == [[9, 4, 0, 0]]


def test_merge_and_split_are_inverse() -> None:
    labels = scene(3)
    masks = split(labels, [1, 2, 3])
    assert (merge([1, 2, 3], masks * np.float32(2) - 1) == labels).all()


def test_objects_keep_their_numbers_when_another_vanishes_or_comes(clip: Path) -> None:
    for number, labels in enumerate(followed(ByColour(), clip)):
        assert np.array_equal(labels, scene(number)), number


def test_only_new_objects_are_taken_from_annotations(clip: Path) -> None:
    """Copy leaves object 1 where it was, though later annotations tell where it went."""
    found = followed(Copy(), clip)
    assert ((found[7] == 1) == (scene(0) == 1)).all()
    assert ((found[7] == 2) == (scene(0) == 2)).all()
    assert ((found[7] == 3) == (scene(2) == 3)).all()
    assert not (found[1] == 3).any()


def test_a_tracker_gets_the_settled_masks_of_the_frame_before() -> None:
    following = Following(ByColour())
    for number in range(6):
        following.step(photo(scene(number)), scene(number) if number == 0 else None)
    seen: Any = following._tracks[0][1]
    assert [mask.any() for mask in seen.previous[-1]] == [True, False]
    assert (seen.previous[2] == split(scene(2), [1, 2])).all()


def test_frames_before_the_first_annotation_are_background(clip: Path) -> None:
    (clip / "Annotations/480p/squares/00000.png").unlink()
    found = followed(ByColour(), clip)
    assert not found[0].any()
    assert np.array_equal(found[1], scene(1))


def test_a_frame_of_another_size_is_refused() -> None:
    following = Following(Copy())
    following.step(photo(scene(0)), scene(0))
    with pytest.raises(InputError, match="64×48"):
        following.step(Image(np.zeros((40, 64, 3), np.uint8)), None)


def test_results_are_palette_files_named_as_the_frames(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "davis", step=3)
    videos = open_videos(f"davis2017:{clip}")
    run = TrackRun(tmp_path / "out", ByColour())
    assert [number for _, number in run.track(run.pending(videos), fail)] == list(range(8))
    files = sorted((tmp_path / "out/squares").iterdir())
    assert [path.name for path in files] == [f"{3 * number:05d}.png" for number in range(8)]
    assert np.array_equal(read_label_map(files[5]), scene(5))
    with PILImages.open(files[5]) as image:
        assert image.mode == "P"
        assert (image.getpalette() or [])[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def test_a_run_carries_on_with_what_is_not_finished(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_clip(tmp_path / "davis", name, count=4)
    videos = open_videos(f"davis2017:{tmp_path / 'davis'}")
    run = TrackRun(tmp_path / "out", ByColour())
    for video, number in run.track(run.pending(videos), fail):
        if (video.name, number) == ("b", 1):
            break  # killed
    again = TrackRun(tmp_path / "out", ByColour())
    assert [video.name for video in again.pending(videos)] == ["b", "c"]
    list(again.track(again.pending(videos), fail))
    assert not TrackRun(tmp_path / "out", ByColour()).pending(videos)
    assert len(list((tmp_path / "out").glob("*/*.png"))) == 12
    # A file that changed makes its video pending again.
    make_clip(tmp_path / "davis", "a", count=5)
    videos = open_videos(f"davis2017:{tmp_path / 'davis'}")
    assert [video.name for video in again.pending(videos)] == ["a"]


def test_another_tracker_may_not_mix_in(clip: Path, tmp_path: Path) -> None:
    videos = open_videos(f"davis2017:{clip}")
    run = TrackRun(tmp_path / "out", ByColour())
    list(run.track(videos, fail))
    with pytest.raises(ConfigError, match="tracked by by colour, not by copy"):
        TrackRun(tmp_path / "out", Copy())
    assert TrackRun(tmp_path / "out", Copy(), overwrite=True).pending(videos) == videos


def test_a_bad_frame_is_named_and_the_others_go_on(clip: Path, tmp_path: Path) -> None:
    bad = clip / "JPEGImages/480p/squares/00003.png"
    bad.write_bytes(bad.read_bytes()[:60])
    (clip / "Annotations/480p/squares/00002.png").write_bytes(b"no image")
    videos = open_videos(f"davis2017:{clip}")
    failed: list[str] = []
    run = TrackRun(tmp_path / "out", ByColour())
    list(run.track(videos, lambda path, error: failed.append(path.name)))
    assert failed == ["00002.png", "00003.png"]
    assert len(list((tmp_path / "out/squares").glob("*.png"))) == 7
    assert np.array_equal(read_label_map(tmp_path / "out/squares/00007.png"), scene(7))
    assert run.pending(videos) == videos


def tiny_segmenter() -> Segmenter:
    torch.manual_seed(0)
    sizes = {"image_size": 64, "stem": 8, "fine": 8, "middle": 16, "coarse": 32, "width": 32, "detail": 8}
    return Segmenter(Nano(NanoConfig(**sizes, depth=1, heads=2, decoder_heads=2, mlp=32)))


def test_previous_mask_asks_with_box_centre_and_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = tiny_segmenter()
    asked: list[Any] = []
    decode = segmenter.decode

    def listen(embedding: Embedding, prompts: Prompts) -> Masks:
        asked.append(prompts)
        return decode(embedding, prompts)

    monkeypatch.setattr(segmenter, "decode", listen)
    track = PreviousMask(segmenter).start(photo(scene(0)), split(scene(0), [1, 2]))
    logits = track.step(photo(scene(1)), split(scene(0), [1, 2]))
    assert logits.shape == (2, *SIZE)
    assert asked[0].boxes[0].tolist() == [0, 0, 28, 30]
    assert asked[0].points.shape == (2, 1, 2)
    gone = split(scene(1), [1, 2])
    gone[1] = False
    answer = track.logits_Khw
    track.step(photo(scene(2)), gone)
    assert asked[1].boxes[0].tolist() == [0, 0, 30, 30]
    assert asked[1].boxes[1].tolist() == asked[0].boxes[1].tolist()  # looked for where it was last
    assert (asked[1].masks == answer).all()


def test_a_box_is_widened_inside_the_image() -> None:
    mask = np.zeros((50, 60), np.bool_)
    mask[20:30, 55:58] = True
    assert widened_box(mask).tolist() == [45, 10, 60, 40]


def test_trackers_are_found_by_name() -> None:
    assert {"copy", "previous-mask", "sam2-memory"} <= set(TRACKERS)
    assert make_tracker("copy", "nano").signature == "copy"
    with pytest.raises(ConfigError, match="Did you mean 'copy'"):
        make_tracker("coppy", "nano")


def test_palette_files_hold_labels_to_255(tmp_path: Path) -> None:
    labels = np.arange(256).reshape(16, 16)
    write_palette_png(tmp_path / "x.png", labels)
    assert (read_label_map(tmp_path / "x.png") == labels).all()
    assert voc_colours()[15].tolist() == [192, 128, 128]
    for bad in (256, -1):
        with pytest.raises(MaskError, match="0 to 255"):
            write_palette_png(tmp_path / "y.png", np.array([[bad]]))
