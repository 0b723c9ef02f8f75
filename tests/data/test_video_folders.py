"""DAVIS in its official layouts, and MOSE."""

import json
from pathlib import Path

import numpy as np
import pytest
from data.miniatures import label_map, make_davis, make_frames, photo, save

from maskwright.data.check import check_dataset
from maskwright.data.davis import read_split
from maskwright.data.registry import build_dataset, open_dataset
from maskwright.data.sequences import open_videos
from maskwright.errors import DatasetError


def write_split(root: Path, path: str, *lines: str) -> None:
    file = root / "ImageSets" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


def frames(spec: str) -> list[tuple[str, ...]]:
    dataset = open_dataset(spec)
    return [dataset.image_path(k).parts[-3:] for k in range(len(dataset))]


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    root = make_davis(tmp_path, {"goat": [0, 1], "cow": [0], "bear": [0, 1]}, label_map())
    full = "Full-Resolution"
    make_frames(
        root / "JPEGImages" / full, root / "Annotations" / full, {"goat": [0], "cow": [0]}, label_map()
    )
    write_split(root, "2017/train.txt", "bear")
    write_split(root, "2017/val.txt", "goat", "", "cow")
    write_split(root, "2016/val.txt", "cow")
    return root


def test_splits_and_resolutions_of_davis(davis: Path) -> None:
    assert frames(f"davis2017:{davis}?split=val") == [
        ("480p", "goat", "00000.jpg"),
        ("480p", "goat", "00001.jpg"),
        ("480p", "cow", "00000.jpg"),
    ]
    assert frames(f"davis2016:{davis}?split=val") == [("480p", "cow", "00000.jpg")]
    assert frames(f"davis2017:{davis}?split=val&resolution=Full-Resolution&exclude=cow") == [
        ("Full-Resolution", "goat", "00000.jpg")
    ]
    assert len(frames(f"davis2017:{davis}")) == 5
    assert [video.name for video in open_videos(f"davis2017:{davis}?split=val")] == ["goat", "cow"]
    with pytest.raises(DatasetError, match="no sequence 'bear'; it has goat, cow"):
        open_dataset(f"davis2017:{davis}?split=val&sequences=bear")


def test_a_split_or_resolution_that_is_not_there_is_explained(davis: Path) -> None:
    with pytest.raises(DatasetError, match=r"no list ImageSets/2017/test-dev\.txt .* it has train, val"):
        open_dataset(f"davis2017:{davis}?split=test-dev")
    with pytest.raises(DatasetError, match="JPEGImages/1080p"):
        open_dataset(f"davis2017:{davis}?resolution=1080p")


def test_lists_of_the_first_release_name_photo_and_annotation(davis: Path) -> None:
    (davis / "ImageSets/2016/val.txt").unlink()
    lines = [
        f"/JPEGImages/480p/{name}.jpg /Annotations/480p/{name}.png" for name in ("goat/00001", "cow/00000")
    ]
    write_split(davis, "480p/val.txt", *lines)
    assert frames(f"davis2016:{davis}?split=val") == [
        ("480p", "goat", "00001.jpg"),
        ("480p", "cow", "00000.jpg"),
    ]
    write_split(
        davis, "480p/val.txt", *lines, "/JPEGImages/480p/cow/00007.jpg /Annotations/480p/cow/00007.png"
    )
    with pytest.raises(DatasetError, match=r"00007\.jpg: is listed in val\.txt"):
        open_dataset(f"davis2016:{davis}?split=val")
    for line, message in (
        ("/../x.jpg /x.png", "may not leave"),
        ("/JPEGImages/480p/cow/00000.jpg", "does not name a photo and an annotation"),
        ("/JPEGImages/1080p/cow/00000.jpg x.png", "choose its resolution"),
    ):
        write_split(davis, "480p/val.txt", lines[0], line)
        with pytest.raises(DatasetError, match=message):
            open_dataset(f"davis2016:{davis}?split=val")


def test_listed_sequences_that_are_not_there_are_problems(davis: Path) -> None:
    write_split(davis, "2017/val.txt", "goat", "zebra", "..")
    dataset = build_dataset(f"davis2017:{davis}?split=val")
    assert len(dataset) == 2
    assert len(dataset.unpaired) == 2
    with pytest.raises(DatasetError, match=r"2 of its files are missing: .*lists 'zebra'"):
        open_videos(f"davis2017:{davis}?split=val")
    (davis / "ImageSets/2017/val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="cannot be read as a list"):
        read_split("davis2017", davis, davis / "JPEGImages/480p", "val")


def test_items_of_a_video_share_their_group(davis: Path) -> None:
    dataset = open_dataset(f"davis2017:{davis}")
    assert [Path(dataset.group(k)).name for k in range(5)] == ["bear", "bear", "cow", "goat", "goat"]
    assert dataset[1:3].group(1) == dataset.group(2)
    kept = [open_dataset(f"davis2017:{davis}?video_fold={number}/3") for number in (1, 2, 3)]
    groups = [{part.group(k) for k in range(len(part))} for part in kept]
    assert [len(names) for names in groups] == [1, 1, 1]
    assert len(set.union(*groups)) == 3
    with pytest.raises(DatasetError, match="not both"):
        open_dataset(f"davis2017:{davis}?video_fold=1/3&fold=1/3")


@pytest.fixture
def mose(tmp_path: Path) -> Path:
    for split, shown in (("train", {"b": [0, 1], "a": [0]}), ("valid", {"c": [0]})):
        base = tmp_path / split
        make_frames(base / "JPEGImages", base / "Annotations", shown, label_map())
    save(tmp_path / "valid/JPEGImages/c/00001.jpg", photo(1))
    lengths = {"train": {"b": 2, "a": 1}, "valid": {"c": 2}}
    for split, videos in lengths.items():
        content = {"videos": {name: {"objects": {}, "length": count} for name, count in videos.items()}}
        (tmp_path / f"meta_{split}.json").write_text(json.dumps(content))
    return tmp_path


def test_mose_has_annotated_frames_with_several_objects(mose: Path) -> None:
    dataset = open_dataset(f"mose:{mose}")
    assert [dataset.image_path(k).parts[-2:] for k in range(3)] == [
        ("a", "00000.jpg"),
        ("b", "00000.jpg"),
        ("b", "00001.jpg"),
    ]
    assert dataset[0].ids == (1, 2, 3)
    assert (dataset[1].masks[2] == (label_map() == 3)).all()
    assert dataset.group(1) == dataset.group(2) != dataset.group(0)
    # Of the validation set only the first frame is annotated.
    assert len(open_dataset(f"mose:{mose}?split=valid")) == 1
    assert len(open_dataset(f"mose:{mose}?sequences=b&every=2")) == 1
    (mose / "meta_train.json").unlink()
    assert len(open_dataset(f"mose:{mose}")) == 3


def test_mose_must_have_what_its_meta_file_says(mose: Path) -> None:
    content = {"videos": {"a": {"length": 3}, "b": {}, "zebra": {"length": 1}}}
    (mose / "meta_train.json").write_text(json.dumps(content))
    save(mose / "train/Annotations/b/00005.png", np.zeros((24, 32), np.uint8))
    (mose / "train/Annotations/a/00000.png").unlink()
    report = check_dataset(f"mose:{mose}")
    assert [(problem.code, problem.message.split(",")[0]) for problem in report.errors] == [
        ("missing_image", "lists 'zebra'"),
        ("missing_image", "has 1 frames"),
        ("missing_mask", f"has no annotation in {mose / 'train/Annotations/a'}"),
        ("missing_image", "belongs to no image"),
    ]
    for damaged in ("[]", '{"videos": {"a": 3}}'):
        (mose / "meta_train.json").write_text(damaged)
        with pytest.raises(DatasetError, match="no table 'videos'"):
            open_dataset(f"mose:{mose}")
