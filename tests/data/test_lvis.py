"""LVIS, and what COCO's reader leaves out by area."""

import json
from pathlib import Path
from typing import Any

import pytest
from data.miniatures import SIZE, coco_content, make_coco, photo, save

from maskwright.data.registry import build_dataset, open_dataset
from maskwright.errors import DatasetError


def make_lvis(root: Path) -> Path:
    """Photos of both of COCO's folders; no file names, as in version 1."""
    content = coco_content()
    for image, folder in zip(content["images"], ("train2017", "val2017"), strict=True):
        name = image.pop("file_name")
        image["coco_url"] = f"http://images.cocodataset.org/{folder}/{name}"
        save(root / folder / name, photo())
    (root / "lvis_v1_val.json").write_text(json.dumps(content))
    return root


def test_photos_are_found_by_their_coco_url(tmp_path: Path) -> None:
    dataset = open_dataset(f"lvis:{make_lvis(tmp_path)}")
    assert [dataset.image_path(k).parts[-2:] for k in range(2)] == [
        ("train2017", "a.jpg"),
        ("val2017", "b.jpg"),
    ]
    assert dataset[0].ids == (11, 12)
    assert dataset[0].categories == ("cat", "toothbrush")
    assert dataset[0].source.endswith("lvis_v1_val.json[train2017/a.jpg]")
    assert dataset[0].image.size == SIZE


def test_photos_may_lie_in_one_folder(tmp_path: Path) -> None:
    make_lvis(tmp_path)
    (tmp_path / "photos").mkdir()
    for path in [*tmp_path.glob("*2017/*.jpg")]:
        path.rename(tmp_path / "photos" / path.name)
    assert len(open_dataset(f"lvis:{tmp_path}?images=photos")[0].ids) == 2


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://images.cocodataset.org/val2017/c.jpg", "there is no such file"),
        ("http://x/../..", "may not leave"),
        ("c.jpg", "names no photo"),
        (None, "names no photo"),
    ],
)
def test_a_photo_that_cannot_be_found_is_named(tmp_path: Path, url: Any, message: str) -> None:
    file = make_lvis(tmp_path) / "lvis_v1_val.json"
    content = json.loads(file.read_text())
    content["images"][1]["coco_url"] = url
    file.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=message):
        open_dataset(f"lvis:{tmp_path}")


def test_the_real_file_lists_its_photos(data_root: Path, tmp_path: Path) -> None:
    source = data_root / "samples/lvis/lvis_val_100.json"
    (tmp_path / source.name).write_bytes(source.read_bytes())
    content = json.loads(source.read_text())
    listed = {image["id"]: image for image in content["images"]}
    entry = listed[content["annotations"][0]["image_id"]]
    dataset = build_dataset(f"lvis:{tmp_path}")
    assert len(dataset) == len(dataset.unpaired) == 100
    index = content["images"].index(entry)
    assert dataset.image_path(index).parent.name == "val2017"
    save(dataset.image_path(index), photo(0, (entry["height"], entry["width"])))
    sample = dataset[index]
    areas = {row["id"]: row["area"] for row in content["annotations"] if row["image_id"] == entry["id"]}
    assert set(sample.ids) == set(areas)
    for name, mask in zip(sample.ids, sample.masks, strict=True):
        assert mask.sum() == pytest.approx(areas[name], rel=0.15, abs=30)


def test_small_objects_are_left_out_by_the_area_in_the_file(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"][1]["area"] = 9.99
    content["annotations"][0]["area"] = 10
    root = make_coco(tmp_path, content)
    assert open_dataset(f"coco:{root}?min_area=10")[0].ids == (11,)
    assert open_dataset(f"coco:{root}?min_area=10&crowd=keep")[0].ids == (11,)
    assert open_dataset(f"coco:{root}")[0].ids == (11, 12)
    assert open_dataset(f"coco:{root}?crowd=keep")[0].ids == (11, 12, 13)
    del content["annotations"][1]["area"]
    (root / "annotations/instances_val2017.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="annotation 12 has no area"):
        open_dataset(f"coco:{root}?min_area=10")
