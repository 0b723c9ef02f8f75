"""SA-V: items, groups, masklets that do not fit, and both layouts."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from data.miniatures import rectangle, save
from data.videos import (
    VIDEO_SIZE,
    make_sav_frames,
    make_sav_train,
    masklet_json,
    number_of,
    write_json,
    write_video,
)

from maskwright.data.check import check_dataset
from maskwright.data.dataset import SampleError
from maskwright.data.registry import build_dataset, open_dataset
from maskwright.errors import DatasetError, FileError, ImageError
from maskwright.io.rle import RLE


def test_every_fourth_frame_is_an_item_with_the_objects_seen(tmp_path: Path) -> None:
    dataset = open_dataset(f"sav:{make_sav_train(tmp_path)}")
    assert len(dataset) == 6 + 3
    samples = list(dataset)
    assert [number_of(sample.image.pixels) for sample in samples] == [0, 4, 8, 12, 16, 20, 0, 4, 8]
    # Frame 1 shows nothing; the second video's masklets end after its first frame.
    assert [sample.ids for sample in samples] == [(0, 1), (), *[(0, 1)] * 4, (0,), (), ()]
    assert (samples[0].masks[1] == rectangle(1, 2, 7, 8, VIDEO_SIZE)).all()
    assert samples[0].categories == ("manual", "manual")
    assert samples[2].image.source.endswith("sav_000001.mp4[8]")
    assert samples[2].source.endswith("sav_000001_manual.json[2]")


def test_groups_are_the_videos_and_cost_no_decoding(tmp_path: Path) -> None:
    dataset = open_dataset(f"sav:{make_sav_train(tmp_path)}")
    for path in tmp_path.rglob("*.mp4"):
        path.write_bytes(b"")
    groups = [Path(dataset.group(index)).stem for index in range(9)]
    assert groups == ["sav_000001"] * 6 + ["sav_007003"] * 3
    part, rest = (open_dataset(f"sav:{tmp_path}?video_fold={text}") for text in ("1/2", "-1/2"))
    assert {len(part), len(rest)} == {6, 3}
    assert part.group(0) != rest.group(0)


@pytest.mark.parametrize(
    ("query", "counts"),
    [
        ("masklets=auto", [3, 0, 3, 3, 3, 3]),
        ("masklets=both", [5, 0, 5, 5, 5, 5, 1, 0, 0]),
        ("masklets=both&subsets=0&every=2", [5, 5, 5]),
        ("subsets=7,0&every=4", [1, 2, 2]),
        ("subsets=7", [1, 0, 0]),
    ],
)
def test_options_choose_masklets_folders_and_frames(tmp_path: Path, query: str, counts: list[int]) -> None:
    dataset = open_dataset(f"sav:{make_sav_train(tmp_path)}?{query}")
    assert [len(sample.ids) for sample in dataset] == counts


def test_both_kinds_have_ids_of_their_own(tmp_path: Path) -> None:
    sample = open_dataset(f"sav:{make_sav_train(tmp_path)}?masklets=both")[0]
    assert sample.ids == (0, 1, 2, 3, 4)
    assert sample.categories == ("manual", "manual", "auto", "auto", "auto")


def test_reading_backwards_and_across_videos_gives_the_same(tmp_path: Path) -> None:
    dataset = open_dataset(f"sav:{make_sav_train(tmp_path)}")
    order = [8, 0, 5, 3, 4, 7, 1]
    expected = [0, 4, 8, 12, 16, 20, 0, 4, 8]
    assert [number_of(dataset[k].image.pixels) for k in order] == [expected[k] for k in order]


def test_a_dataset_with_an_open_video_can_be_sent_to_another_process(tmp_path: Path) -> None:
    dataset = open_dataset(f"sav:{make_sav_train(tmp_path)}")
    before = dataset[3].image.pixels
    assert (pickle.loads(pickle.dumps(dataset))[3].image.pixels == before).all()


def test_files_without_their_partner_are_reported(tmp_path: Path) -> None:
    make_sav_train(tmp_path)
    (tmp_path / "sav_train/sav_000/sav_000001.mp4").unlink()
    (tmp_path / "sav_train/sav_007/sav_007003_manual.json").unlink()
    problems = build_dataset(f"sav:{tmp_path}").unpaired
    assert sorted((problem.code, Path(problem.path).name) for problem in problems) == [
        ("missing_image", "sav_000001_auto.json"),
        ("missing_image", "sav_000001_manual.json"),
        ("missing_mask", "sav_007003.mp4"),
    ]
    with pytest.raises(DatasetError, match="3 files lack their partner"):
        open_dataset(f"sav:{tmp_path}")
    with pytest.raises(DatasetError, match=r"no folder sav_train/sav_003"):
        open_dataset(f"sav:{tmp_path}?subsets=3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_id": "sav_000009"}, "is of the video 'sav_000009', not of sav_000001"),
        ({"masklet_id": [0, 0]}, "masklet_id"),
        ({"masklet": {}}, "masklet_id"),
        ({"masklet_id": [0]}, "one for each masklet_id"),
        ({"masklet": [["x", "y"]]}, r"masklet\[0\]\[0\]"),
        (
            {"masklet": [[RLE.encode(np.ones((9, 11), bool)).to_coco()]]},
            "is 11×9, but sav_000001.mp4 is 64×48",
        ),
        ({"masklet": [[{"size": list(VIDEO_SIZE), "counts": "junk!"}]]}, "run-length|cut off|characters"),
        ({"masklet": [[{"size": [10**9, 10**9], "counts": "0"}]]}, "limit"),
    ],
)
def test_a_json_file_that_does_not_fit_is_named(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    make_sav_train(tmp_path)
    file = tmp_path / "sav_train/sav_000/sav_000001_manual.json"
    write_json(file, masklet_json("sav_000001", 22, 2, 6, **changes))
    with pytest.raises(SampleError, match=message) as caught:
        open_dataset(f"sav:{tmp_path}")[0]
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", '{"video_frame_count": null}', '{"video_frame_count": 1e12}'])
def test_a_json_file_without_a_count_of_frames_is_a_problem_of_the_set(tmp_path: Path, content: str) -> None:
    make_sav_train(tmp_path)
    (tmp_path / "sav_train/sav_000/sav_000001_manual.json").write_text(content)
    dataset = build_dataset(f"sav:{tmp_path}")
    assert len(dataset) == 3
    assert [problem.code for problem in dataset.unpaired] == ["unreadable"]


def test_a_count_of_frames_that_stands_late_in_the_file_is_found(tmp_path: Path) -> None:
    make_sav_train(tmp_path)
    file = tmp_path / "sav_train/sav_000/sav_000001_manual.json"
    content = json.loads(file.read_text())
    write_json(file, {"long": "x" * 9000, **content})
    assert len(open_dataset(f"sav:{tmp_path}")) == 9


def test_a_video_shorter_than_its_json_or_damaged_is_reported_and_the_others_checked(tmp_path: Path) -> None:
    make_sav_train(tmp_path)
    write_video(tmp_path / "sav_train/sav_000/sav_000001.mp4", 10)
    report = check_dataset(f"sav:{tmp_path}")
    assert [problem.code for problem in report.errors] == ["unreadable"] * 3
    assert "has no frame 12" in report.errors[0].message
    assert report.sizes == {"64x48": 6}
    video = tmp_path / "sav_train/sav_007/sav_007003.mp4"
    for content, message in (
        (video.read_bytes()[:100], "cut off"),
        (b"#EXTM3U\nhttp://localhost/x", "no MP4"),
    ):
        video.write_bytes(content)
        dataset = open_dataset(f"sav:{tmp_path}")
        for look in (dataset.probe, dataset.read):
            with pytest.raises(ImageError, match=message):
                look(8)
    dataset.probe(0)


def test_frames_and_overlapping_objects_of_the_validation_set(tmp_path: Path) -> None:
    dataset = open_dataset(f"sav:{make_sav_frames(tmp_path)}?split=val")
    assert [dataset.image_path(k).parts[-2:] for k in range(4)] == [
        ("b", "00000.jpg"),
        ("a", "00000.jpg"),
        ("a", "00004.jpg"),
        ("a", "00008.jpg"),
    ]
    assert [sample.ids for sample in dataset] == [(0,), (0,), (0, 2), (0,)]
    assert (dataset[2].masks == rectangle(4, 4, 20, 16)).all()
    assert [Path(dataset.group(k)).name for k in range(4)] == ["b", "a", "a", "a"]
    assert len(open_dataset(f"sav:{tmp_path}?split=val&every=2")) == 3
    assert check_dataset(f"sav:{tmp_path}?split=val").ok


def test_the_validation_set_names_what_is_missing(tmp_path: Path) -> None:
    make_sav_frames(tmp_path)
    base = tmp_path / "sav_val"
    (base / "JPEGImages_24fps/a/00004.jpg").unlink()
    (base / "sav_val.txt").write_text("a\nc\n../sav_val\n")
    (base / "Annotations_6fps/a/first").mkdir()
    dataset = build_dataset(f"sav:{tmp_path}?split=val")
    assert len(dataset) == 2
    messages = sorted(str(problem) for problem in dataset.unpaired)
    assert [Path(problem.path).name for problem in dataset.unpaired].count("00004.png") == 2
    assert any("lists 'c'" in message for message in messages)
    assert any("lists '../sav_val'" in message for message in messages)
    assert any("its name is no number" in message for message in messages)
    (base / "sav_val.txt").unlink()
    assert len(build_dataset(f"sav:{tmp_path}?split=val")) == 3


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    make_sav_frames(tmp_path, "test")
    save(tmp_path / "sav_test/Annotations_6fps/b/002/00000.png", np.zeros((3, 4), np.uint8))
    with pytest.raises(SampleError, match=r"is 4×3, but 00000\.jpg is 32×24"):
        open_dataset(f"sav:{tmp_path}?split=test")[0]


def test_options_of_the_training_set_are_refused_elsewhere(tmp_path: Path) -> None:
    make_sav_frames(tmp_path)
    for option in ("masklets=auto", "subsets=0"):
        with pytest.raises(DatasetError, match="are for split=train"):
            open_dataset(f"sav:{tmp_path}?split=val&{option}")


def test_the_real_masklets_are_read(data_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sav_train/sav_000"
    folder.mkdir(parents=True)
    for kind in ("manual", "auto"):
        source = data_root / f"samples/sa_v/sav_000001_{kind}.json"
        (folder / source.name).write_bytes(source.read_bytes())
    write_video(folder / "sav_000001.mp4", 5, (848, 480))
    dataset = open_dataset(f"sav:{tmp_path}?masklets=both")
    # 483 frames, the last of them annotated too. The fourth manual masklet begins later, in frame 113.
    assert len(dataset) == 121
    for index in (0, 1):
        sample = dataset[index]
        assert sample.ids == (0, 1, 2, 4, *range(5, 14))
        assert sample.masks.shape == (13, 848, 480)
    write_video(folder / "sav_000001.mp4", 1)
    with pytest.raises(FileError, match=r"is 480×848, but sav_000001\.mp4 is 64×48"):
        open_dataset(f"sav:{tmp_path}")[0]
