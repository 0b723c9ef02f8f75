"""Sets of contours: which labels are taken, how they are united, splits, moved photos, what is refused."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.contour_sets import MODEL, column, entry, photo, row, write
from scipy.ndimage import distance_transform_edt, label

from maskwright.data.boundary_targets import boundary_target
from maskwright.data.check import check_dataset
from maskwright.data.dataset import SampleError
from maskwright.data.dsa import DSA
from maskwright.data.registry import open_dataset
from maskwright.errors import DatasetError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two subsets: three photos with labels of two models and two datasets, one labelled by people alone."""
    for number in range(3):
        image = photo(tmp_path / f"photos/{number}.png", seed=number)
        pseudo = [entry(MODEL, column(0.25, 3)), entry("gen1:abc", column(0.75, 1, 102))]
        human = [entry("LVIS", row(0.5, 8)), entry("PACO", row(0.25, 8))]
        write(tmp_path / f"set/COCO/{number:07d}.json", image, pseudo, human)
    write(tmp_path / "set/COCO/_0000000.json", "nowhere.jpg", [], [])
    image = photo(tmp_path / "photos/alone.png", seed=9)
    lines = np.zeros((48, 64), np.bool_)
    lines[:, 32] = True
    write(tmp_path / "set/SA1B_contour/0000000.json", image, None, [entry("SA1B", lines)], None)
    return tmp_path / "set"


def target(root: Path, options: str = "", index: int = 0, side: int = 128, thickness: int = 3) -> Any:
    dataset = open_dataset(f"dsa:{root}{options}")
    return boundary_target(dataset, index, resolution=side, thickness=thickness).fraction > 0


def test_what_was_merged_before_is_left_out_and_the_rest_is_sorted(root: Path) -> None:
    dataset = DSA(root)
    names = [dataset.mask_path(k).relative_to(root).as_posix() for k in range(len(dataset))]
    assert names == [*(f"COCO/000000{k}.json" for k in range(3)), "SA1B_contour/0000000.json"]
    assert [path.name for path in map(dataset.image_path, range(4))] == [
        "0.png",
        "1.png",
        "2.png",
        "alone.png",
    ]
    assert len(DSA(root / "COCO")) == 3
    sample = dataset[0]
    assert sample.masks.shape == (3, 48, 64)
    assert sample.categories == ("gen1:abc", "LVIS", "PACO")


def test_lines_of_all_sizes_and_widths_become_one_width(root: Path) -> None:
    merged = target(root)
    assert merged.shape == (128, 128)
    # The newest model's column at 3/4, and people's rows at 1/2 and 1/4; nothing at 1/4 from the older model.
    assert merged[20, 90:102].sum() == 3
    assert merged[64 - 8 : 64 + 8, 10].sum() == 3
    assert merged[32 - 8 : 32 + 8, 10].sum() == 3
    assert not merged[50, 20:44].any()
    # A line goes on to the very edge, although thinning shortens lines.
    assert merged[[0, -1], 96].all()
    assert merged[64, [0, -1]].all()


def test_stored_widths_stay_as_they_are(root: Path) -> None:
    stored = target(root, "?width=stored")
    # Eight of 180 pixels are five or six of 128, one of 102 is one or two.
    assert stored[64 - 8 : 64 + 8, 10].sum() in (5, 6)
    assert stored[20, 90:102].sum() in (1, 2)


@pytest.mark.parametrize("side", [37, 64, 128, 180, 300])
@pytest.mark.parametrize("thickness", [1, 2, 3, 5])
def test_no_size_breaks_a_line_or_changes_its_width(root: Path, side: int, thickness: int) -> None:
    lines = target(root, "?label=human&human=LVIS", side=side, thickness=thickness)
    assert label(lines, np.ones((3, 3)))[1] == 1
    middle = lines[:, side // 8 : -side // 8 or None].sum(axis=0)
    assert set(middle) == {thickness}
    rows = np.flatnonzero(lines[:, side // 2])
    assert abs(rows.mean() + 0.5 - side / 2) <= 1 + side / 180


def test_thinned_lines_stay_where_they_were_drawn(root: Path) -> None:
    rng = np.random.default_rng(0)
    from maskwright.data.outlines import thicken
    from maskwright.data.thin_lines import thin_lines

    walk = np.zeros((90, 120), np.bool_)
    y = 45
    for x in range(120):
        walk[y, x] = True
        y = int(np.clip(y + rng.integers(-1, 2), 5, 84))
    for width in (3, 5, 7):
        thin = thin_lines(thicken(walk, width))
        assert label(thin, np.ones((3, 3)))[1] == 1
        assert thin[:, 0].any() and thin[:, -1].any()  # noqa: PT018
        assert distance_transform_edt(~walk)[thin].max() <= 2
        assert distance_transform_edt(~thin)[walk].max() <= 3


@pytest.mark.parametrize(
    ("options", "sources"),
    [
        ("", ["gen1:abc", "LVIS", "PACO"]),
        ("?label=pseudo", ["gen1:abc"]),
        ("?label=human", ["LVIS", "PACO"]),
        (f"?label=pseudo&pseudo={MODEL}", [MODEL]),
        ("?pseudo=gen1&human=PACO", ["gen1:abc", "PACO"]),
        ("?pseudo=gen1:abc&human=SA1B", ["gen1:abc"]),
    ],
)
def test_the_sources_that_are_asked_for_are_taken(root: Path, options: str, sources: list[str]) -> None:
    dataset = open_dataset(f"dsa:{root}{options}")
    assert isinstance(dataset, DSA)
    assert [each.source for each in dataset.chosen(0)] == sources


def test_sources_that_nobody_has_are_named_with_those_there_are(root: Path) -> None:
    with pytest.raises(DatasetError, match=rf"'gen2' has labelled .*known: {MODEL}, gen1:abc"):
        open_dataset(f"dsa:{root}?pseudo=gen2")
    with pytest.raises(DatasetError, match=r"'LVVIS' .*known: LVIS, PACO, SA1B.* Did you mean 'LVIS'"):
        open_dataset(f"dsa:{root}?human=LVVIS")


def test_a_photo_without_the_label_is_an_error_of_its_own(root: Path) -> None:
    with pytest.raises(SampleError, match=r"SA1B_contour.* has no pseudo-label of 'gen1'; it has: none"):
        open_dataset(f"dsa:{root}?pseudo=gen1")[3]
    with pytest.raises(SampleError, match="has no pseudo-label as asked for; it is labelled by SA1B"):
        open_dataset(f"dsa:{root}?label=pseudo")[3]
    with pytest.raises(SampleError, match="has no human label as asked for"):
        open_dataset(f"dsa:{root}?label=human&human=SA1B")[0]
    # Merged, what there is is taken.
    assert target(root, index=3)[5].sum() == 3


def test_of_each_subset_the_last_hundredth_validates(tmp_path: Path) -> None:
    image = photo(tmp_path / "a.png")
    for subset, count in (("a", 200), ("b", 10)):
        for number in range(count):
            write(tmp_path / f"set/{subset}/{number:07d}.json", image, None, [entry("x", column(0.5, 1, 9))])
    parts = {split: DSA(tmp_path / "set", split=split) for split in ("all", "train", "val")}
    assert {name: len(part) for name, part in parts.items()} == {"all": 210, "train": 207, "val": 3}
    held = [parts["val"].mask_path(k).relative_to(tmp_path / "set").as_posix() for k in range(3)]
    assert held == ["a/0000198.json", "a/0000199.json", "b/0000009.json"]


def test_photos_that_have_moved_are_found_by_the_end_of_their_path(root: Path, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "photos", tmp_path / "new/photos")
    photo(tmp_path / "new/0.png", seed=77)
    for path in sorted(root.rglob("*.json")):
        path.write_text(path.read_text().replace(str(tmp_path / "photos"), "/elsewhere/photos"))
    with pytest.raises(DatasetError, match=r"/elsewhere/photos/0\.png does not exist\. .*images=FOLDER"):
        DSA(root)
    dataset = DSA(root, images=str(tmp_path / "new"))
    assert dataset.image_path(0) == tmp_path / "new/photos/0.png"
    assert dataset[3].image.size == (48, 64)


def test_relative_paths_begin_at_the_folder_of_the_set(tmp_path: Path) -> None:
    photo(tmp_path / "set/photos/a.png")
    write(tmp_path / "set/x/0.json", "photos/a.png", None, [entry("x", column(0.5, 1))])
    photo(tmp_path / "b.png")
    write(tmp_path / "set/x/1.json", "../b.png", None, [entry("x", column(0.5, 1))])
    dataset = DSA(tmp_path / "set")
    assert [dataset[k].image.size for k in range(2)] == [(48, 64)] * 2


def test_another_photo_than_the_recorded_one_is_refused(root: Path, tmp_path: Path) -> None:
    photo(tmp_path / "photos/1.png", 48, 64)
    photo(tmp_path / "photos/2.png", 50, 40)
    dataset = DSA(root)
    for index, code in ((1, "exif_rotation"), (2, "size_mismatch")):
        with pytest.raises(SampleError, match="records a photo of 64×48") as read:
            dataset[index]
        assert read.value.problem.code == code
        with pytest.raises(SampleError, match="it has changed, or is another one"):
            boundary_target(dataset, index)


def test_a_broken_record_is_reported_and_the_check_goes_on(root: Path) -> None:
    (root / "COCO/0000001.json").write_text('{"image_path": "x.jpg", "pseudo_label": [{"source": "m"}]}')
    report = check_dataset(f"dsa:{root}")
    [problem] = report.errors
    assert (problem.code, problem.path) == ("malformed_mask", str(root / "COCO/0000001.json"))
    assert problem.message == "pseudo_label[0] has no 'label'."
    assert report.items == 4


def test_it_travels_to_processes_that_load_data(root: Path) -> None:
    dataset = DSA(root)
    dataset.record(0)
    again = pickle.loads(pickle.dumps(dataset))
    assert again.record(0) == dataset.record(0)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "holds no items"),
        (
            {"set.json": '{"format": "maskwright-labels", "version": 1, "kind": "masks"}'},
            "kind 'masks', not contours",
        ),
        ({"set.json": '{"format": "maskwright-labels", "version": 9, "kind": "contours"}'}, "version 9"),
        ({"set.json": "[]"}, "is not of a labelled set"),
        (
            {
                "set.json": '{"format": "maskwright-labels", "version": 1, "kind": "contours", "images": 3, '
                '"files": "dsa"}'
            },
            "0 of 3 photos are done",
        ),
    ],
)
def test_folders_of_something_else_are_refused(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(DatasetError, match=reason):
        open_dataset(f"dsa:{tmp_path}")


def test_photos_without_labels_are_a_dataset(root: Path, tmp_path: Path) -> None:
    dataset = open_dataset(f"photos:{tmp_path / 'photos'}")
    assert len(dataset) == 4
    assert dataset[0].masks.shape == (0, 48, 64)
    with pytest.raises(DatasetError, match="does not exist"):
        open_dataset(f"photos:{tmp_path / 'nothing'}")
