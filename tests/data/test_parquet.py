"""Parquet shards of photos and label maps, as the hub keeps them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.miniatures import SIZE, photo
from data.part_sets import encoded, make_shards, packed, stripes

from maskwright.data.check import check_dataset
from maskwright.data.registry import build_dataset, open_dataset
from maskwright.errors import DatasetError, FileError, ImageError


def write_rows(path: Path, images: list[bytes | None], labels: list[bytes | None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table([pa.array(images), pa.array(labels)], names=["image", "label"]), path)
    return path


def test_rows_of_all_shards_in_any_order(tmp_path: Path) -> None:
    dataset = open_dataset(f"parquet:{make_shards(tmp_path)}")
    assert len(dataset) == 6
    expected = [encoded(photo(k), "JPEG") for k in range(6)]
    for k in (0, 1, 2, 3, 5, 4, 0, 2, 2):
        sample = dataset[k]
        assert encoded(sample.image.pixels) == encoded(open_pixels(expected[k]))
        assert sample.ids == sample.categories == (5, 9)
        assert sample.masks[0].sum() == SIZE[0] * 16
        shard = tmp_path / "data" / f"train-0000{k // 3}-of-00002.parquet"
        assert sample.source == f"{shard}[{k % 3}][label]"
        assert dataset.image_path(k) == dataset.mask_path(k) == shard


def open_pixels(data: bytes) -> np.ndarray:
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)))


def test_splits_are_told_by_names_and_folders(tmp_path: Path) -> None:
    make_shards(tmp_path, splits=("train", "validation"), shards=1)
    (tmp_path / "default/test").mkdir(parents=True)
    (tmp_path / "data/train-00000-of-00001.parquet").rename(tmp_path / "default/test/0000.parquet")
    for split, count in (("validation", 3), ("val", 3), ("test", 3), ("all", 6)):
        assert len(open_dataset(f"parquet:{tmp_path}?split={split}")) == count
    with pytest.raises(DatasetError, match="no shard of the split 'train'; there are data/validation-"):
        open_dataset(f"parquet:{tmp_path}")


def test_plain_bytes_and_other_columns(tmp_path: Path) -> None:
    make_shards(tmp_path, image="picture", label="mask", record=False)
    assert len(open_dataset(f"parquet:{tmp_path}?image=picture&label=mask")[0].ids) == 2
    with pytest.raises(DatasetError, match=r"no column 'image' of image files; there are picture, mask"):
        open_dataset(f"parquet:{tmp_path}")
    with pytest.raises(DatasetError, match=r"no column 'id' of image files"):
        open_dataset(f"parquet:{tmp_path}?image=picture&label=id")


def test_colours_need_to_be_asked_for(tmp_path: Path) -> None:
    make_shards(tmp_path, labels=packed(stripes(0, 1, 257, 65537)))
    with pytest.raises(FileError, match=r"\[0\]\[label\] holds colours"):
        open_dataset(f"parquet:{tmp_path}")[0]
    assert open_dataset(f"parquet:{tmp_path}?encoding=colours")[0].ids == (1, 257, 65537)


def test_modes_background_and_ignore(tmp_path: Path) -> None:
    make_shards(tmp_path)
    assert open_dataset(f"parquet:{tmp_path}?mode=instances")[0].categories is None
    parts = open_dataset(f"parquet:{tmp_path}?components=true&background=")[0]
    assert parts.categories == (0, 5, 5, 9)
    assert parts.partition
    ignored = open_dataset(f"parquet:{tmp_path}?ignore=9")[0]
    assert ignored.ids == (5,)
    assert ignored.uncertainty is not None


def test_photos_are_split_row_by_row(tmp_path: Path) -> None:
    make_shards(tmp_path)
    parts = [open_dataset(f"parquet:{tmp_path}?fold={k}/3") for k in (1, 2, 3)]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert len({sample.source for part in parts for sample in part}) == 6


def test_a_reader_travels_to_another_process(tmp_path: Path) -> None:
    dataset = open_dataset(f"parquet:{make_shards(tmp_path)}")
    first = dataset[0]
    copy = pickle.loads(pickle.dumps(dataset))
    assert (copy[1].image.pixels == dataset[1].image.pixels).all()
    assert (copy[0].masks == first.masks).all()


def test_rows_that_cannot_be_used_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    image, label = encoded(photo()), encoded(stripes(0, 5).astype(np.uint8))
    bomb = b"\x89PNG\r\n\x1a\n" + bytes.fromhex("0000000d49484452000fffff000fffff0800000000")
    rows: list[tuple[bytes | None, bytes | None]] = [
        (image, label),
        (None, label),
        (image, None),
        (b"text", label),
        (image, encoded(stripes(0, 5).astype(np.uint8)[:9])),
        (image, encoded(photo(), "JPEG")),
        (bomb, label),
        (image, label),
    ]
    path = write_rows(tmp_path / "train-0.parquet", *map(list, zip(*rows, strict=True)))
    report = check_dataset(f"parquet:{tmp_path}")
    assert [problem.code for problem in report.errors] == [
        "missing_image",
        "missing_mask",
        "unreadable",
        "size_mismatch",
        "malformed_mask",
        "unreadable",
    ]
    for row, problem in enumerate(report.errors, start=1):
        assert f"{path.name}[{row}]" in str(problem)
    assert report.masks == 2
    with pytest.raises(ImageError, match=r"\[6\]"):
        build_dataset(f"parquet:{tmp_path}").probe(6)


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    root = make_shards(tmp_path)
    first, second = sorted(root.rglob("*.parquet"))
    first.write_bytes(first.read_bytes()[:-100])
    (problem,) = build_dataset(f"parquet:{root}").unpaired
    assert (problem.code, problem.path) == ("unreadable", str(first))
    with pytest.raises(DatasetError, match="damaged or cut off"):
        open_dataset(f"parquet:{root}")
    first.unlink()
    dataset = open_dataset(f"parquet:{root}")
    content = bytearray(second.read_bytes())
    content[4:40] = bytes(36)
    second.write_bytes(bytes(content))
    with pytest.raises(FileError, match=r"train-00001-of-00002\.parquet"):
        dataset[0]


def test_row_groups_beyond_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(f"parquet:{make_shards(tmp_path)}")
    monkeypatch.setattr("maskwright.data.parquet.MAX_GROUP", 100)
    with pytest.raises(FileError, match=r"train-00000-of-00002\.parquet: a row group holds"):
        dataset[0]
