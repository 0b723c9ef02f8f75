"""Label formats: what is written, what is read back, what is lost and said to be lost."""

from __future__ import annotations

import csv
import json
import os
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.errors import ConfigError, FileError, InputError, MaskError
from maskwright.export.brush import encode_brush
from maskwright.export.labelled import LabelledImage
from maskwright.export.labels import FILE_FORMATS, FORMATS, read_labels, write_labels
from maskwright.io.lossy import LossyConversionWarning
from maskwright.io.masks import read_label_map, read_mask
from maskwright.io.polygons import Polygon, from_geojson, rasterise
from maskwright.io.records import RecordWriter, read_records
from maskwright.io.rle import RLE, encode_all
from maskwright.types import BoolArray, Geometry, Masks

MASKS = np.zeros((3, 9, 12), np.bool_)
MASKS[0, 1:4, 1:5] = True
MASKS[1, 5:8, 2:11] = True
MASKS[1, 6, 4] = False  # a hole
MASKS[2, 0, 0] = MASKS[2, 8, 8:] = True  # two parts
PLAIN = LabelledImage("b/x.jpg", 9, 12, encode_all(MASKS[[0, 2]]), categories=("cat", 'dog: "big"'))
RICH = LabelledImage(
    "a/x.jpg",
    9,
    12,
    encode_all(MASKS),
    (0.9, 0.5, 0.25),
    ('dog: "big"', "cat", "cat"),
    {"trust": (1, None, "low")},
)
EMPTY = LabelledImage("x.png", 4, 5)
LABELS = [RICH, PLAIN, EMPTY]


def same(a: LabelledImage, b: LabelledImage) -> bool:
    fields = ("path", "height", "width", "masks", "scores", "names")
    return all(getattr(a, name) == getattr(b, name) for name in fields) and dict(a.extra) == dict(b.extra)


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


def decode_brush(data: list[int], size: tuple[int, int]) -> BoolArray:
    """Label Studio's decoder, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in data)
    position = 0

    def read(width: int) -> int:
        nonlocal position
        position += width
        return int(bits[position - width : position], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeated, count = read(1), read(sizes[read(2)]) + 1
        values += [read(word)] * count if repeated else [read(word) for _ in range(count)]
    assert len(bits) - position < 8
    pixels = np.array(values).reshape(*size, 4)
    assert (pixels == pixels[..., :1]).all()
    return np.asarray(pixels[..., 3] == 255)


@settings(deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_brush_encoding_is_exact(mask: BoolArray) -> None:
    data = encode_brush(mask)
    assert all(0 <= byte <= 255 for byte in data)
    assert (decode_brush(data, mask.shape) == mask).all()


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 63, 64, 65, 16_383, 16_384, 16_385, 32_768, 50_000])
def test_long_runs_of_the_brush_encoding(width: int) -> None:
    mask = np.zeros((3, width), np.bool_)
    mask[1] = True
    assert (decode_brush(encode_brush(mask), (3, width)) == mask).all()
    assert len(encode_brush(mask)) < 100


def test_label_studio(tmp_path: Path) -> None:
    odd = LabelledImage("ü b/x#1.jpg", 9, 12, encode_all(MASKS[:1]), (0.5,), ("a<b",))
    with pytest.warns(LossyConversionWarning, match="trust"):
        write_labels([RICH, odd], tmp_path / "tasks.json", format="labelstudio")
    first, second = json.loads((tmp_path / "tasks.json").read_text())
    assert second["data"]["image"] == "/data/local-files/?d=%C3%BC%20b/x%231.jpg"
    regions = first["predictions"][0]["result"]
    assert [region["value"]["brushlabels"] for region in regions] == [['dog: "big"'], ["cat"], ["cat"]]
    assert [region["score"] for region in regions] == [0.9, 0.5, 0.25]
    for region, mask in zip(regions, MASKS, strict=True):
        size = (region["original_height"], region["original_width"])
        assert (decode_brush(region["value"]["rle"], size) == mask).all()
    setup = ET.parse(tmp_path / "tasks.xml").getroot()
    assert {label.get("value") for label in setup.iter("Label")} == {"cat", 'dog: "big"', "a<b"}
    brush, image = setup.find("BrushLabels"), setup.find("Image")
    assert brush is not None
    assert image is not None
    assert (brush.get("name"), brush.get("toName")) == (regions[0]["from_name"], regions[0]["to_name"])
    assert image.get("value") == "$image"


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


def test_records_for_resuming(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "done.jsonl") as writer:
        for label in LABELS:
            writer.append(label.to_record())
    back = [LabelledImage.from_record(record) for record in read_records(tmp_path / "done.jsonl")]
    assert all(same(a, b) for a, b in zip(LABELS, back, strict=True))
    for broken in ({}, {"height": "x"}, RICH.to_record() | {"scores": 5}, RICH.to_record() | {"extra": 5}):
        with pytest.raises(InputError, match="lacks or misuses"):
            LabelledImage.from_record(broken)
    with pytest.raises(MaskError):
        LabelledImage.from_record(RICH.to_record() | {"masks": ["?"]})


def test_labels_of_a_model_output() -> None:
    low_res = torch.full((2, 3, 16, 16), -5.0)
    low_res[0, 2, 4:8] = 5
    iou = torch.tensor([[0.1, 0.2, 0.9], [0.5, 0.25, 0.125]])
    masks = Masks(low_res, iou, Geometry((24, 32), 64), extras={"trust": iou / 2})
    label = LabelledImage.from_masks("x.jpg", masks, ["cat", "dog"])
    assert (label.height, label.width) == (24, 32)
    assert list(label.scores or ()) == pytest.approx([0.9, 0.5])
    assert list(label.extra["trust"]) == pytest.approx([0.45, 0.25])
    assert (label.masks[0].decode() == masks.binary()[0, 2]).all()
    assert label.masks[1].area == 0
    assert label.names == ("cat", "dog")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": (1.0,)}, "1 scores for 3 masks"),
        ({"categories": ("a",)}, "1 categories for 3 masks"),
        ({"extra": {"trust": ()}}, "0 trust for 3 masks"),
        ({"scores": (1.0, 2.0, float("nan"))}, "not a finite number"),
        ({"height": 8}, r"a mask is \(9, 12\), the image \(8, 12\)"),
    ],
)
def test_labels_that_do_not_agree_are_refused(changes: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"path": "x.jpg", "height": 9, "width": 12, "masks": encode_all(MASKS)} | changes
    with pytest.raises(InputError, match=message):
        LabelledImage(**fields)


def test_names_that_coco_uses_are_refused_as_extra_values(tmp_path: Path) -> None:
    label = LabelledImage("x.jpg", 9, 12, encode_all(MASKS[:1]), extra={"area": (3,)})
    with pytest.raises(InputError, match=r"\['area'\] have names that COCO uses"):
        write_labels([label], tmp_path / "x.json")


def test_real_nuclei_go_through_every_exact_format(data_root: Path, tmp_path: Path) -> None:
    from maskwright.io.masks import labels_to_rles

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
