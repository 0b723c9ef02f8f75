"""COCO files: ours are lossless, those of others are read, bad ones are refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export.scene import LABELS, MASKS, same

from maskwright.errors import ConfigError, FileError, InputError, MaskError
from maskwright.export.labelled import LabelledImage
from maskwright.export.labels import read_labels, write_labels
from maskwright.io.rle import RLE, encode_all


def test_coco_is_lossless(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_labels(LABELS, tmp_path / "out" / "labels.json")
    back = read_labels(tmp_path / "out" / "labels.json")
    assert all(same(a, b) for a, b in zip(LABELS, back, strict=True))
    content = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert content["annotations"][0]["area"] == 12
    assert content["annotations"][0]["bbox"] == [1, 1, 4, 3]
    assert [image["file_name"] for image in content["images"]] == ["a/x.jpg", "b/x.jpg", "x.png"]


def test_the_official_reader_takes_our_coco(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from pycocotools.coco import COCO

    write_labels(LABELS, tmp_path / "labels.json")
    coco = COCO(tmp_path / "labels.json")
    assert len(coco.getAnnIds()) == 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        masks = [coco.annToMask(coco.anns[number]) for number in (1, 2, 3)]
    assert (np.stack(masks) == MASKS).all()
    capfd.readouterr()


def test_coco_of_others_is_read(tmp_path: Path) -> None:
    runs = RLE.encode(MASKS[1]).runs().tolist()
    content = {
        "images": [{"id": 7, "file_name": "x.jpg", "height": 9, "width": 12}],
        "categories": [{"id": 0, "name": "cat"}, {"id": 900, "name": "dog"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 900,
                "segmentation": [[1, 1, 5, 1, 5, 4, 1, 4]],
                "area": float("nan"),
                "bbox": [-5, -5, 99, 99],
                "iscrowd": 0,
            },
            {
                "id": 2,
                "image_id": 7,
                "category_id": 0,
                "segmentation": {"size": [9, 12], "counts": runs},
                "iscrowd": 1,
            },
            {"id": 3, "image_id": 7, "category_id": 5, "segmentation": RLE.encode(MASKS[2]).to_coco()},
        ],
    }
    (tmp_path / "x.json").write_text(json.dumps(content))
    [label] = read_labels(tmp_path / "x.json")
    assert (np.stack([mask.decode() for mask in label.masks]) == MASKS).all()
    assert label.names == ("dog", "cat", "5")
    assert label.scores is None
    assert dict(label.extra) == {"iscrowd": (0, 1, None)}


def test_coco_results_are_read(data_root: Path) -> None:
    path = data_root / "samples/coco_results/instances_val2014_fakesegm100_results.json"
    records = json.loads(path.read_text())
    labels = read_labels(path)
    assert sum(len(label.masks) for label in labels) == len(records)
    assert labels[0].path == str(records[0]["image_id"])
    assert labels[0].masks[0].to_coco() == records[0]["segmentation"]
    assert labels[0].scores is not None
    assert labels[0].scores[0] == records[0]["score"]
    with pytest.raises(MaskError, match="boxes but no masks"):
        read_labels(path.with_name("instances_val2014_fakebbox100_results.json"))


def coco_with(**changes: Any) -> dict[str, Any]:
    annotation = {"id": 3, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2]]}
    image = {"id": 1, "file_name": "x.jpg", "height": 4, "width": 5}
    for name, value in changes.items():
        (image if name in image and name != "id" else annotation)[name] = value
    return {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "a"}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (coco_with(segmentation=[]), "annotation 3: the segmentation is empty"),
        (coco_with(segmentation=None), "annotation 3: the segmentation is empty"),
        (coco_with(segmentation={"size": [9, 9], "counts": [81]}), r"annotation 3: the mask is \(9, 9\)"),
        (coco_with(segmentation={"size": [4, 5], "counts": [21]}), "annotation 3: the runs cover 21"),
        (coco_with(image_id=9), "annotation 3 belongs to no image"),
        (coco_with(image_id=[9]), "no proper COCO file"),
        (coco_with(height=10**9, width=10**9), "beyond the limit"),
        (coco_with(height="4"), "whole numbers"),
        (coco_with(height=None), "whole numbers"),
        (coco_with(score="high"), "no proper COCO file"),
        (coco_with(score=float("nan")), "not a finite number"),
        ({"images": [{"id": 1}, {"id": 1}], "annotations": []}, "same id"),
        ({"images": [{"id": 1}], "annotations": [{}]}, "'image_id' is missing"),
        ({"images": 5, "annotations": []}, "no proper COCO file"),
        ({"images": []}, "is no COCO file"),
        (5, "is no COCO file"),
        ([5], "no proper COCO file"),
        ([{"image_id": 1}], "no masks"),
        ([{"image_id": 1, "category_id": 1, "segmentation": {"size": [2, 2], "counts": "?"}}], "cover 15"),
    ],
)
def test_bad_coco_is_refused_by_name(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    with pytest.raises(FileError, match=message) as caught:
        read_labels(path)
    assert "labels.json" in str(caught.value)


def test_what_is_missing_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "labels.json").touch()
    with pytest.raises(FileError, match=r"Did you mean 'labels\.json'"):
        read_labels(tmp_path / "label.json")
    with pytest.raises(ConfigError, match=r"unknown label format 'yolov8'\. Did you mean 'yolo'\?"):
        write_labels(LABELS, tmp_path, format="yolov8")


def test_names_that_coco_uses_are_refused_as_extra_values(tmp_path: Path) -> None:
    label = LabelledImage("x.jpg", 9, 12, encode_all(MASKS[:1]), extra={"area": (3,)})
    with pytest.raises(InputError, match=r"\['area'\] have names that COCO uses"):
        write_labels([label], tmp_path / "x.json")
