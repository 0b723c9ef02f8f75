"""Label formats: what is written, what is lost and said to be lost."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from export.scene import LABELS, MASKS, same
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.errors import FileError, InputError
from maskwright.export.labelled import LabelledImage
from maskwright.export.labels import FILE_FORMATS, FORMATS, read_labels, write_labels
from maskwright.io.lossy import LossyConversionWarning
from maskwright.io.masks import labels_to_rles, read_label_map, read_mask
from maskwright.io.polygons import Polygon, from_geojson, rasterise
from maskwright.io.rle import RLE, encode_all
from maskwright.types import BoolArray


def test_yolo(tmp_path: Path) -> None:
    with pytest.warns(
        LossyConversionWarning, match=r"yolo .* 1 holes \(filled\); 3 scores; the values trust"
    ):
        write_labels(LABELS, tmp_path, format="yolo")
    assert (tmp_path / "data.yaml").read_text().endswith('names:\n  0: "cat"\n  1: "dog: \\"big\\""\n')
    assert (tmp_path / "labels/x.txt").read_text() == ""
    filled = MASKS.copy()
    filled[1, 6, 4] = True
    lines = (tmp_path / "labels/a/x.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["1", "0", "0"]
    for line, mask in zip(lines, filled, strict=True):
        ring = np.array(line.split()[1:], np.float64).reshape(-1, 2) * (12, 9)
        assert (rasterise([Polygon(ring)], (9, 12)) == mask).all()
    assert len((tmp_path / "labels/b/x.txt").read_text().splitlines()) == 2


def test_yolo_cannot_tell_extensions_apart(tmp_path: Path) -> None:
    twins = [LabelledImage("a/x.jpg", 4, 5), LabelledImage("a/x.png", 4, 5)]
    with pytest.raises(InputError, match=r"a/x\.jpg and a/x\.png in one file a/x\.txt"):
        write_labels(twins, tmp_path, format="yolo")
    assert list(tmp_path.iterdir()) == []


def test_masks_without_pixels(tmp_path: Path) -> None:
    label = LabelledImage("x.jpg", 4, 5, (RLE.encode(np.zeros((4, 5), np.bool_)),))
    for name in FORMATS:
        place = tmp_path / name / ("x.json" if name in FILE_FORMATS else "")
        if name == "yolo":
            with pytest.warns(LossyConversionWarning, match="1 masks without pixels"):
                write_labels([label], place, format=name)
        else:
            write_labels([label], place, format=name)
    [back] = read_labels(tmp_path / "coco" / "x.json")
    assert same(back, label)
    assert json.loads((tmp_path / "geojson/x.jpg.geojson").read_text())["features"][0]["geometry"] == {
        "type": "MultiPolygon",
        "coordinates": [],
    }


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8))))
def test_every_exact_format_is_exact(tmp_path_factory: pytest.TempPathFactory, masks: BoolArray) -> None:
    folder = tmp_path_factory.mktemp("out")
    label = LabelledImage("x.jpg", masks.shape[1], masks.shape[2], encode_all(masks))
    for name in ("geojson", "png"):
        write_labels([label], folder / name, format=name)
    features = json.loads((folder / "geojson/x.jpg.geojson").read_text())["features"]
    for index, mask in enumerate(masks):
        assert (rasterise(from_geojson(features[index]["geometry"]), mask.shape) == mask).all()
        assert (read_mask(folder / f"png/x.jpg.{index}.png") == mask).all()


def test_geojson_keeps_what_is_known(tmp_path: Path) -> None:
    write_labels(LABELS, tmp_path, format="geojson")
    content = json.loads((tmp_path / "a/x.jpg.geojson").read_text())
    assert content["image"] == {"path": "a/x.jpg", "height": 9, "width": 12}
    assert content["features"][2]["properties"] == {"category": "cat", "score": 0.25, "trust": "low"}
    assert len(content["features"][1]["geometry"]["coordinates"]) == 2


def test_png_keeps_what_is_known(tmp_path: Path) -> None:
    write_labels(LABELS, tmp_path, format="png")
    with (tmp_path / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    for row, mask in zip(rows, [*MASKS, *MASKS[[0, 2]]], strict=True):
        assert (read_mask(tmp_path / row["file"]) == mask).all()
    assert rows[2] | {"file": ""} == {
        "file": "", "label": "255", "image": "a/x.jpg", "category": "cat", "score": "0.25", "trust": "low"
    }  # fmt: skip


def test_label_maps(tmp_path: Path) -> None:
    write_labels(LABELS, tmp_path, format="labelmap")
    numbers = read_label_map(tmp_path / "a/x.jpg.png")
    assert all(((numbers == index + 1) == mask).all() for index, mask in enumerate(MASKS))
    assert not read_label_map(tmp_path / "x.png.png").any()
    overlapping = LabelledImage("x.jpg", 9, 12, encode_all(np.stack([MASKS[0], np.ones((9, 12), np.bool_)])))
    with pytest.warns(
        LossyConversionWarning, match=r"labelmap .* x\.jpg: masks overlap: a label map loses 12"
    ):
        write_labels([overlapping], tmp_path, format="labelmap")
    assert ((read_label_map(tmp_path / "x.jpg.png") == 1) == MASKS[0]).all()


@pytest.mark.parametrize("format_", [name for name in FORMATS if name not in FILE_FORMATS])
@pytest.mark.parametrize("path", ["../x.jpg", "/tmp/x.jpg", "a/../../x.jpg", "C:\\x.jpg"])
def test_no_image_path_leads_out_of_the_folder(tmp_path: Path, format_: str, path: str) -> None:
    label = LabelledImage(path, 9, 12, encode_all(MASKS[:1]))
    with pytest.raises(FileError, match="may not leave"):
        write_labels([label], tmp_path / "a" / "b", format=format_)
    assert [item.name for item in tmp_path.rglob("*") if item.is_file()] == []


@pytest.mark.parametrize("format_", FORMATS)
def test_odd_paths_and_same_stems(tmp_path: Path, format_: str) -> None:
    paths = [
        "a/x.jpg",
        "b/x.jpg",
        "-x.jpg",
        "ü.jpg",
        "a b\nc.jpg",
        "n" * 251 + ".jpg",
        os.fsdecode(b"\xe9.jpg"),
    ]
    paths += [] if format_ == "yolo" else ["a/x.png", "a/x"]
    labels = [LabelledImage(path, 9, 12, encode_all(MASKS[:1])) for path in paths]
    place = tmp_path / "out" / ("x.json" if format_ in FILE_FORMATS else "")
    write_labels(labels, place, format=format_)
    files = [item for item in (tmp_path / "out").rglob("*") if item.is_file()]
    assert len(files) >= (1 if format_ in FILE_FORMATS else len(paths))
    if format_ == "coco":
        assert [label.path for label in read_labels(place)] == paths


def test_real_nuclei_go_through_every_exact_format(data_root: Path, tmp_path: Path) -> None:

    path = sorted((data_root / "DSB2018/labels").iterdir())[3]
    numbers = read_label_map(path)
    rles, _ = labels_to_rles(numbers)
    label = LabelledImage(path.name, numbers.shape[0], numbers.shape[1], rles)
    write_labels([label], tmp_path / "coco.json")
    assert read_labels(tmp_path / "coco.json")[0].masks == rles
    write_labels([label], tmp_path, format="labelmap")
    again = read_label_map(tmp_path / f"{path.name}.png")
    assert labels_to_rles(again)[0] == rles
    other_reader = cv2.imread(str(tmp_path / f"{path.name}.png"), cv2.IMREAD_UNCHANGED)
    assert other_reader is not None
    assert other_reader.max() == len(rles)
