"""Records of contours: written and read back, as JSON and as Parquet; bad files are refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import FileError, MaskError
from maskwright.io.contour_files import (
    Contour,
    ContourRecord,
    read_contour_row,
    read_contours,
    shard_names,
    write_contour_shard,
    write_contours,
)
from maskwright.io.rle import RLE


def lines(height: int, width: int, seed: int) -> RLE:
    return RLE.encode(np.random.default_rng(seed).random((height, width)) < 0.2)


@st.composite
def records(draw: st.DrawFn) -> ContourRecord:
    side, sides = st.integers(1, 12), st.tuples(st.integers(1, 5000), st.integers(1, 5000))
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    contour = st.builds(Contour, text, st.builds(lines, side, side, st.integers(0, 99)))
    labels = st.lists(contour, max_size=3).map(tuple)
    path = text.map(lambda name: "/" + name.replace("\0", ""))
    return draw(st.builds(ContourRecord, path, st.none() | sides, labels, labels))


@settings(max_examples=8, deadline=None)
@given(given=st.lists(records(), max_size=3))
def test_records_survive_both_forms(
    tmp_path_factory: pytest.TempPathFactory, given: list[ContourRecord]
) -> None:
    folder = tmp_path_factory.mktemp("records")
    shard, again = folder / "shard.parquet", folder / "again.parquet"
    named = [(f"part/{number}", record) for number, record in enumerate(given)]
    for path in (shard, again):
        write_contour_shard(path, named)
    assert shard.read_bytes() == again.read_bytes()
    assert shard_names(shard) == [name for name, _ in named]
    for row, record in enumerate(given):
        write_contours(folder / "one.json", record)
        assert read_contours(folder / "one.json") == record
        assert read_contour_row(shard, row) == record


def test_the_published_form_is_read(tmp_path: Path) -> None:
    """Width before height for the photo, height before width for the labels, which are squares."""
    square = lines(18, 18, 0)
    entry = {"source": "chendelong/DirectSAM-1800px-0424", "label": square.to_coco()}
    content = {
        "image_path": "/data/coco2017/train2017/000000000009.jpg",
        "image_size": [640, 480],
        "pseudo_label": [entry],
        "human_label": [{"source": "COCONut-s", "label": square.to_coco()}],
        "info": "whatever else there is",
    }
    (tmp_path / "0000000.json").write_text(json.dumps(content))
    record = read_contours(tmp_path / "0000000.json")
    assert record.image_size == (480, 640)
    assert record.pseudo == (Contour("chendelong/DirectSAM-1800px-0424", square),)
    assert record.human[0].source == "COCONut-s"
    del content["info"]
    assert record.to_json() == content


def test_the_variant_of_people_alone_is_read() -> None:
    content = {"image_path": "a.jpg", "human_label": [{"source": "SA1B", "label": lines(5, 7, 0).to_coco()}]}
    record = ContourRecord.from_json(content, "a.json")
    assert (record.image_size, record.pseudo, record.human[0].label.size) == (None, (), (5, 7))


def test_a_newer_label_of_the_same_source_replaces_the_old_one() -> None:
    old, other, new = Contour("a", lines(4, 4, 0)), Contour("b", lines(4, 4, 1)), Contour("a", lines(4, 4, 2))
    record = ContourRecord("x.jpg", None, (old, other))
    assert record.with_pseudo(new).pseudo == (other, new)


LABEL = {"size": [4, 5], "counts": [10, 4, 6]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "it is list, not an object"),
        ({"pseudo_label": []}, "no 'image_path' that names a file; it says None"),
        ({"image_path": 7, "pseudo_label": []}, "no 'image_path'"),
        ({"image_path": "a\0b", "pseudo_label": []}, "no 'image_path'"),
        ({"image_path": "a.jpg"}, "neither 'pseudo_label' nor 'human_label'"),
        ({"image_path": "a.jpg", "human_label": {}}, "'human_label' is a list of labels"),
        ({"image_path": "a.jpg", "human_label": [LABEL]}, r"human_label\[0\] has no 'source' and no 'label'"),
        ({"image_path": "a.jpg", "human_label": [3]}, r"human_label\[0\] is 3, not an object"),
        ({"image_path": "a.jpg", "pseudo_label": [{"source": "m"}]}, r"pseudo_label\[0\] has no 'label'"),
        ({"image_path": "a.jpg", "pseudo_label": [{"source": 1, "label": LABEL}]}, "its source is 1"),
        *(
            (
                {"image_path": "a.jpg", "image_size": size, "human_label": []},
                "'image_size' is .width, height.",
            )
            for size in ("big", [1], [0, 5], [1.5, 2], [True, 2])
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(content: Any, reason: str) -> None:
    with pytest.raises(FileError, match=rf"a\.json.*{reason}"):
        ContourRecord.from_json(content, "a.json")


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ({"size": [4, 5], "counts": [10, 4]}, "the runs cover 14 pixels"),
        ({"size": [4, 5], "counts": [10, -4, 14]}, "runs cannot be negative"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, "beyond the limit"),
        ({"size": [10**30, 1], "counts": "0"}, "beyond the limit"),
        ({"size": [4, 5], "counts": "ü"}, "characters that no run-length"),
        ({"size": [4, 5], "counts": None}, "text or a list of numbers"),
        ({"counts": "0"}, "has 'size' and 'counts'"),
        (None, "has 'size' and 'counts'"),
    ],
)
def test_labels_that_are_no_masks_are_refused_before_a_pixel_is_made(label: Any, reason: str) -> None:
    content = {"image_path": "a.jpg", "pseudo_label": [{"source": "m", "label": label}]}
    with pytest.raises(MaskError, match=rf"a\.json: pseudo_label\[0\]: .*{reason}"):
        ContourRecord.from_json(content, "a.json")


def test_damaged_and_foreign_shards_are_refused(tmp_path: Path) -> None:
    shard = tmp_path / "00000.parquet"
    write_contour_shard(shard, [("a/0", ContourRecord("a.jpg", (4, 4), (Contour("m", lines(300, 300, 0)),)))])
    with pytest.raises(FileError, match="has 1 photos, and none in row 1"):
        read_contour_row(shard, 1)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "bad.parquet").write_bytes(data)
    with pytest.raises(FileError, match=r"bad\.parquet.* is damaged"):
        read_contour_row(tmp_path / "bad.parquet", 0)
    (tmp_path / "cut.parquet").write_bytes(data[:30])
    with pytest.raises(FileError, match=r"cut\.parquet: it is damaged or cut off"):
        shard_names(tmp_path / "cut.parquet")


def test_a_name_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="not valid Unicode"):
        write_contour_shard(tmp_path / "x.parquet", [("a/0", ContourRecord("\udcff.jpg", None))])
