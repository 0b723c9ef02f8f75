from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data.miniatures import SIZE, photo, rectangle, save

from maskwright.data.check import check_dataset
from maskwright.data.registry import open_dataset
from maskwright.errors import DatasetError, FileError
from maskwright.io.rle import RLE

LARGE, SMALL = rectangle(4, 4, 20, 16), rectangle(1, 1, 2, 2)


def annotation(mask: Any, number: int, **changes: Any) -> dict[str, Any]:
    """As in SA-1B's files: numbers of boxes are floats."""
    return {
        "bbox": [4.0, 4.0, 15.0, 11.0],
        "area": int(mask.sum()),
        "segmentation": RLE.encode(mask).to_coco(),
        "predicted_iou": 0.93,
        "point_coords": [[5.5, 6.5]],
        "crop_box": [0.0, 0.0, 32.0, 24.0],
        "id": 610176783 + number,
        "stability_score": 0.99,
        **changes,
    }


def make(folder: Path, name: str, annotations: Any = None, photos: Path | None = None) -> Path:
    save((photos or folder) / f"{name}.jpg", photo(len(name)))
    image = {"image_id": 1, "width": SIZE[1], "height": SIZE[0], "file_name": f"{name}.jpg"}
    entries = [annotation(LARGE, 0), annotation(SMALL, 1)] if annotations is None else annotations
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"image": image, "annotations": entries}))
    return path


def test_photos_in_folders_with_their_masks(tmp_path: Path) -> None:
    make(tmp_path / "sa_000000", "sa_1")
    make(tmp_path / "sa_000001", "sa_1")
    make(tmp_path, "sa_20", [])
    dataset = open_dataset(f"sa1b:{tmp_path}")
    assert [dataset.mask_path(k).parent.name for k in (1, 2)] == ["sa_000000", "sa_000001"]
    assert dataset[0].masks.shape == (0, *SIZE)
    assert dataset[1].ids == (610176783, 610176784)
    assert (dataset[1].masks[0] == LARGE).all()
    assert dataset[1].soft is dataset[1].uncertainty is None


def test_area_filters_use_the_crop(tmp_path: Path) -> None:
    # One pixel of 32 is 32² = 1024 pixels of 1024.
    make(tmp_path, "sa_1", [annotation(LARGE, 0), annotation(SMALL, 1)])
    assert len(open_dataset(f"sa1b:{tmp_path}?min_ratio=10.24")[0].ids) == 2
    assert open_dataset(f"sa1b:{tmp_path}?min_ratio=10.25")[0].ids == (610176783,)
    assert open_dataset(f"sa1b:{tmp_path}?max_ratio=0.2")[0].ids == (610176784,)
    make(tmp_path, "sa_1", [annotation(LARGE, 0, crop_box=[4.0, 4.0, 16.0, 12.0]), annotation(LARGE, 1)])
    assert open_dataset(f"sa1b:{tmp_path}")[0].ids == (610176784,)


def test_photos_elsewhere_and_not_all_labelled(tmp_path: Path) -> None:
    make(tmp_path / "json/a", "x", photos=tmp_path / "photos/a")
    save(tmp_path / "photos/a/y.jpg", photo())
    dataset = open_dataset(f"sa1b:{tmp_path / 'json'}?images=../photos")
    assert len(dataset) == 1
    assert dataset.image_path(0).name == "x.jpg"
    (tmp_path / "photos/a/x.jpg").unlink()
    with pytest.raises(DatasetError, match=r"x\.json: belongs to no image"):
        open_dataset(f"sa1b:{tmp_path / 'json'}?images=../photos")


def test_in_one_folder_every_photo_is_labelled(tmp_path: Path) -> None:
    make(tmp_path, "sa_1")
    save(tmp_path / "sa_2.jpg", photo())
    with pytest.raises(DatasetError, match=r"sa_2\.jpg: has no mask sa_2\.json"):
        open_dataset(f"sa1b:{tmp_path}")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([annotation(LARGE, 0, segmentation={"size": [24, 32], "counts": "zz"})], "annotation 0"),
        ([annotation(LARGE, 0, segmentation=None)], "annotation 0"),
        ([annotation(LARGE, 0), annotation(LARGE.T.copy(), 1)], "EXIF rotation"),
        ([annotation(LARGE, 0, crop_box=[0, 0, 0, 3])], "annotation 0: its crop_box is 0×3"),
        ([annotation(LARGE, 0, crop_box=[0, 0])], "annotation 0"),
        ([annotation(LARGE, 0, id="first")], "annotation 0"),
        ({}, "has no list 'annotations'"),
        ([3], "has no list 'annotations'"),
    ],
)
def test_a_malformed_file_is_refused_by_name(tmp_path: Path, entries: Any, message: str) -> None:
    make(tmp_path, "sa_1", entries)
    with pytest.raises(FileError, match=message) as caught:
        open_dataset(f"sa1b:{tmp_path}")[0]
    assert "sa_1.json" in str(caught.value)
    assert len(check_dataset(f"sa1b:{tmp_path}").errors) == 1


def test_a_cut_file_is_refused_by_name(tmp_path: Path) -> None:
    path = make(tmp_path, "sa_1")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileError, match=r"sa_1\.json is not valid JSON"):
        open_dataset(f"sa1b:{tmp_path}")[0]
