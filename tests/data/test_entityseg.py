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

LEFT, RIGHT = rectangle(0, 0, 12, 24), rectangle(12, 0, 32, 24)


def content(name: str = "a.jpg", **changes: Any) -> dict[str, Any]:
    """As in the release: no classes told apart in category_id, ids that start anew in each file."""
    entries = [
        {"id": k, "image_id": 5, "category_id": 1, "iscrowd": 0, "area": int(mask.sum()),
         "bbox": [0, 0, 1, 1], "segmentation": RLE.encode(mask).to_coco(), **changes}
        for k, mask in enumerate((LEFT, RIGHT))
    ]  # fmt: skip
    image = {"id": 5, "file_name": name, "height": SIZE[0], "width": SIZE[1], "img_source": "x"}
    return {"images": [image], "annotations": entries, "categories": [{"id": 1, "name": "entity"}]}


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def make(root: Path) -> Path:
    folder = root / "annotations/entity_segmentation"
    for number, place in (("01", "entity_01_11580/images_merge"), ("02", "entity_02_11598")):
        save(root / "images" / place / f"{number}.jpg", photo(int(number)))
        write(folder / f"entityv2_{number}_entity_train.json", content(f"{number}.jpg"))
    save(root / "images/entity_01_11580/images_merge/v.jpg", photo(9))
    write(folder / "entityv2_01_entity_val.json", content("entity_01_11580/v.jpg"))
    return root


def test_all_files_of_a_split_with_photos_in_any_folder(tmp_path: Path) -> None:
    dataset = open_dataset(f"entityseg:{make(tmp_path)}")
    assert [dataset.image_path(k).name for k in range(2)] == ["01.jpg", "02.jpg"]
    for sample in dataset:
        assert sample.ids == (0, 1)
        assert sample.categories is None
        assert sample.partition
        assert (sample.masks[1] == RIGHT).all()
        assert sample.uncertainty is None
    (val,) = open_dataset(f"entityseg:{tmp_path}?split=val")
    assert val.source.endswith("val.json[entity_01_11580/v.jpg]")
    assert check_dataset(f"entityseg:{tmp_path}").ok


def test_the_whole_split_in_one_file_is_taken_alone(tmp_path: Path) -> None:
    make(tmp_path)
    name = "annotations/entity_segmentation/entityv2_010203_entity_train.json"
    write(tmp_path / name, content("02.jpg"))
    assert len(open_dataset(f"entityseg:{tmp_path}")) == 1


def test_names_of_the_release_and_of_a_users_own_files(tmp_path: Path) -> None:
    save(tmp_path / "images/x/01.jpg", photo())
    write(tmp_path / "entityseg_train_01.json", content("01.jpg"))
    assert len(open_dataset(f"entityseg:{tmp_path}")) == 1
    write(tmp_path / "mine.json", content("01.jpg"))
    write(tmp_path / "others.json", content("01.jpg"))
    assert len(open_dataset(f"entityseg:{tmp_path}?annotations=mine.json,others.json")) == 2


def test_small_versions_have_photos_of_their_own(tmp_path: Path) -> None:
    make(tmp_path)
    save(tmp_path / "images_lr/01.jpg", photo())
    path = write(
        tmp_path / "annotations/entity_segmentation/entityv2_010203_entity_train_lr.json", content("01.jpg")
    )
    dataset = open_dataset(f"entityseg:{tmp_path}?annotations={path.relative_to(tmp_path)}")
    assert dataset.image_path(0).parent.name == "images_lr"


def test_classes_are_named_where_the_file_tells_them_apart(tmp_path: Path) -> None:
    make(tmp_path)
    value = content("01.jpg")
    value["categories"].append({"id": 2, "name": "sky"})
    value["annotations"][1]["category_id"] = 2
    write(tmp_path / "a.json", value)
    assert open_dataset(f"entityseg:{tmp_path}?annotations=a.json")[0].categories == ("entity", "sky")
    value = content("01.jpg", category_id_ori="tree")
    del value["categories"]
    write(tmp_path / "a.json", value)
    assert open_dataset(f"entityseg:{tmp_path}?annotations=a.json")[0].categories == ("tree", "tree")


def test_crowds_are_left_out(tmp_path: Path) -> None:
    make(tmp_path)
    value = content("01.jpg")
    value["annotations"][0]["iscrowd"] = 1
    write(tmp_path / "a.json", value)
    sample = open_dataset(f"entityseg:{tmp_path}?annotations=a.json")[0]
    assert sample.ids == (1,)
    assert not sample.partition


def test_missing_and_ambiguous_photos_are_refused_by_name(tmp_path: Path) -> None:
    make(tmp_path)
    save(tmp_path / "images/entity_03_10049/01.jpg", photo(4))
    with pytest.raises(DatasetError, match=r"photo 01\.jpg: is in several places"):
        open_dataset(f"entityseg:{tmp_path}")
    write(tmp_path / "a.json", content("entity_03_10049/01.jpg"))
    dataset = open_dataset(f"entityseg:{tmp_path}?annotations=a.json")
    assert dataset.image_path(0).parent.name == "entity_03_10049"
    write(tmp_path / "a.json", content("../nowhere.jpg"))
    with pytest.raises(DatasetError, match=r"photo \.\./nowhere\.jpg: is not below"):
        open_dataset(f"entityseg:{tmp_path}?annotations=a.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmentation": {"size": [24, 31], "counts": [0, 744]}}, r"train\.json: annotation 0"),
        ({"segmentation": None}, r"train\.json: annotation 0"),
        ({"image_id": 6}, "belongs to image 6, which is not listed"),
    ],
)
def test_malformed_annotations_are_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    make(tmp_path)
    folder = tmp_path / "annotations/entity_segmentation"
    write(folder / "entityv2_01_entity_train.json", content("01.jpg", **changes))
    with pytest.raises(FileError, match=message):
        open_dataset(f"entityseg:{tmp_path}")[0]


def test_other_json_and_missing_splits_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    write(tmp_path / "a.json", {"images": []})
    with pytest.raises(DatasetError, match="has no list 'annotations'"):
        open_dataset(f"entityseg:{tmp_path}?annotations=a.json")
    (tmp_path / "annotations/entity_segmentation/entityv2_01_entity_val.json").unlink()
    with pytest.raises(DatasetError, match="no annotations of the split val"):
        open_dataset(f"entityseg:{tmp_path}?split=val")
