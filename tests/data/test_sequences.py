"""Videos as sequences: layouts, gaps, palettes, users' own folders, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from methods.video.clips import SIZE, make_clip, photo, scene
from PIL import Image as PILImages

from maskwright.data.sequences import folder_video, objects, open_videos
from maskwright.errors import DatasetError, FileError, MaskError
from maskwright.io.palette import write_palette_png


def test_frames_are_listed_and_never_counted(tmp_path: Path) -> None:
    root = make_clip(tmp_path, count=4, step=5)
    (root / "Annotations/480p/squares/00005.png").unlink()
    (video,) = open_videos(f"davis2017:{root}")
    assert [path.stem for path in video.frames] == ["00000", "00005", "00010", "00015"]
    assert sorted(video.annotations) == [0, 2, 3]
    assert (video.labels(2) == scene(2)).all()
    assert (video.image(3).pixels == photo(scene(3)).pixels).all()


def test_sequences_are_chosen_by_name(tmp_path: Path) -> None:
    for name in "abc":
        make_clip(tmp_path, name, count=1)
    names = [video.name for video in open_videos(f"davis2017:{tmp_path}?sequences=c,a")]
    assert names == ["c", "a"]
    assert [video.name for video in open_videos(f"davis2017:{tmp_path}?exclude=b")] == ["a", "c"]
    with pytest.raises(DatasetError, match="no sequence 'd'"):
        open_videos(f"davis2017:{tmp_path}?sequences=d")
    with pytest.raises(DatasetError, match="without every"):
        open_videos(f"davis2017:{tmp_path}?every=2")
    with pytest.raises(DatasetError, match="holds no videos"):
        open_videos(f"labels:{tmp_path}")


def test_void_is_background(tmp_path: Path) -> None:
    labels = scene(0)
    labels[0, :5] = 255
    root = make_clip(tmp_path, count=1, make=lambda number: labels)
    (video,) = open_videos(f"davis2017:{root}")
    assert objects(video.labels(0)) == [1, 2]


def test_a_label_map_of_another_size_is_refused(tmp_path: Path) -> None:
    root = make_clip(tmp_path, count=2)
    write_palette_png(root / "Annotations/480p/squares/00001.png", np.ones((48, 63), np.uint8))
    (video,) = open_videos(f"davis2017:{root}")
    with pytest.raises(FileError, match="63×48, but its frame 64×48"):
        video.labels(1)


def test_broken_sets_are_refused(tmp_path: Path) -> None:
    root = make_clip(tmp_path, count=2)
    stray = root / "Annotations/480p/squares/00007.png"
    write_palette_png(stray, scene(0))
    with pytest.raises(DatasetError, match=r"00007.png belongs to no frame"):
        open_videos(f"davis2017:{root}")
    for path in (root / "Annotations/480p/squares").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="nothing to track"):
        open_videos(f"davis2017:{root}")
    (root / "JPEGImages/480p/empty").mkdir()
    with pytest.raises(DatasetError, match="no frames"):
        open_videos(f"davis2017:{root}?sequences=empty")


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "holiday"
    folder.mkdir()
    for number in (1, 2, 10):
        PILImages.fromarray(photo(scene(number)).pixels).save(folder / f"f{number:03d}.jpg")
    return folder


@pytest.mark.parametrize("kind", ["labels", "white", "one bit", "red"])
def test_a_users_mask_may_have_any_form(frames: Path, kind: str) -> None:
    mask = scene(1) == 1
    path = frames / "first.png"  # beside the frames, and none of them
    pixels = {
        "labels": scene(1).astype(np.uint8),
        "white": mask.astype(np.uint8) * np.uint8(255),
        "one bit": mask,
        "red": (mask[..., None] * np.array([128, 0, 0])).astype(np.uint8),
    }[kind]
    PILImages.fromarray(pixels).save(path)
    video = folder_video(frames, path)
    assert (video.name, len(video)) == ("holiday", 3)
    assert objects(video.labels(0)) == ([1, 2] if kind == "labels" else [1])
    assert ((video.labels(0) == 1) == mask).all()


def test_bad_folders_and_masks_are_refused(frames: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        folder_video(tmp_path / "nowhere", tmp_path / "m.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no frames"):
        folder_video(tmp_path / "empty", tmp_path / "m.png")
    PILImages.fromarray(photo(scene(1)).pixels).save(tmp_path / "photo.png")
    with pytest.raises(MaskError, match="several colours"):
        folder_video(frames, tmp_path / "photo.png")
    PILImages.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "empty.png")
    with pytest.raises(MaskError, match="shows no object"):
        folder_video(frames, tmp_path / "empty.png")
    PILImages.fromarray(np.ones((9, 9), np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(FileError, match="9×9, but its frame 64×48"):
        folder_video(frames, tmp_path / "small.png")
    PILImages.fromarray(np.zeros((4, 4, 3), np.uint8)).save(frames / "f001.png")
    with pytest.raises(DatasetError, match="same stem"):
        folder_video(frames, tmp_path / "m.png")


def test_real_clips(data_root: Path) -> None:
    bike, judo = open_videos(f"davis2017:{data_root / 'samples/davis2017_multi'}")
    assert (len(bike), objects(bike.labels(0))) == (4, [1, 2])
    assert (len(judo), sorted(judo.annotations)) == (16, [0, 5, 8, 13])
    with pytest.raises(FileError, match="853×480"):
        judo.labels(5)  # one column short, in the published file
    videos = open_videos(f"davis2016:{data_root / 'DAVIS2016'}")
    assert len(videos) == 14
    assert objects(videos[0].labels(0)) == [1]
