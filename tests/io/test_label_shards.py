from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from maskwright.errors import FileError, ImageError
from maskwright.io.byte_maps import decode_map, encode_map
from maskwright.io.label_shards import (
    MaskRow,
    RefinedRow,
    decode_probability,
    encode_probability,
    read_masks,
    read_refined,
    to_logits,
    write_masks,
    write_refined,
)
from maskwright.io.rle import RLE


def mask_row(image: str, index: int) -> MaskRow:
    rng = np.random.default_rng(index)
    rle = RLE.encode(rng.random((10, 12)) < 0.5)
    prob = encode_probability(rng.normal(size=(8, 8)).astype(np.float32))
    return MaskRow(
        image=image, path=f"photos/{image}", height=10, width=12, index=index, rle=rle.counts.encode(),
        area=rle.area, bbox_x=0, bbox_y=1, bbox_w=11, bbox_h=9, point_x=3.25, point_y=4.5,
        crop_x=0, crop_y=0, crop_w=12, crop_h=10, predicted_iou=0.9, stability=0.96,
        side=32, resize="pad", prob=prob,
    )  # fmt: skip


ROWS = [mask_row(image, index) for image in ("ü/a.jpg", "b.jpg", "c.jpg") for index in range(3)]


def test_rows_come_back_whole_or_photo_by_photo(tmp_path: Path) -> None:
    write_masks(tmp_path / "0.parquet", ROWS)
    assert read_masks(tmp_path / "0.parquet") == ROWS
    assert read_masks(tmp_path / "0.parquet", "b.jpg") == ROWS[3:6]
    assert read_masks(tmp_path / "0.parquet", "nobody.jpg") == []
    refined = [RefinedRow(row.image, row.index, row.prob) for row in ROWS[::2]]
    write_refined(tmp_path / "r.parquet", refined)
    assert read_refined(tmp_path / "r.parquet") == refined
    assert [row.index for row in read_refined(tmp_path / "r.parquet", "ü/a.jpg")] == [0, 2]


def test_equal_rows_are_equal_bytes_with_a_group_a_photo(tmp_path: Path) -> None:
    write_masks(tmp_path / "0.parquet", ROWS)
    write_masks(tmp_path / "1.parquet", ROWS)
    assert (tmp_path / "0.parquet").read_bytes() == (tmp_path / "1.parquet").read_bytes()
    assert pq.ParquetFile(tmp_path / "0.parquet").num_row_groups == 3


def test_an_empty_shard_is_a_shard(tmp_path: Path) -> None:
    write_masks(tmp_path / "0.parquet", [])
    assert read_masks(tmp_path / "0.parquet") == []
    assert read_masks(tmp_path / "0.parquet", "a.jpg") == []


def test_damage_is_noticed_by_name(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    write_masks(path, ROWS)
    whole = path.read_bytes()
    for cut in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(FileError, match=r"0\.parquet: it is damaged"):
            read_masks(path)
    noticed = 0
    for place in range(len(whole) // 25, len(whole), len(whole) // 25):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            assert read_masks(path) == ROWS  # a byte that nobody reads
        except FileError:
            noticed += 1
    assert noticed > 12


def test_another_kind_of_shard_is_refused(tmp_path: Path) -> None:
    write_masks(tmp_path / "0.parquet", ROWS)
    with pytest.raises(FileError, match="no shard of refined masks"):
        read_refined(tmp_path / "0.parquet")
    with pytest.raises(FileError, match="does not exist"):
        read_masks(tmp_path / "1.parquet")


def test_a_name_that_is_no_unicode_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"udcff.*rename"):
        write_masks(tmp_path / "0.parquet", [replace(ROWS[0], image="a\udcff.jpg")])
    assert not list(tmp_path.iterdir())


def test_a_probability_is_kept_to_half_a_step() -> None:
    logits = torch.linspace(-12, 12, 35).view(5, 7)
    kept = decode_probability(encode_probability(logits))
    assert kept.dtype == np.float32
    assert np.abs(kept - logits.sigmoid().numpy()).max() <= 0.5 / 255 + 1e-6
    back = to_logits(kept)
    assert np.isfinite(back).all()
    assert [back.min(), back.max()] == pytest.approx([-np.log(509), np.log(509)], rel=1e-5)
    inside = logits.abs().numpy() < 2
    assert np.abs(back - logits.numpy())[inside].max() < 0.03
    again = decode_probability(encode_probability(back))
    assert (again == kept)[(kept > 0) & (kept < 1)].all()


def test_a_map_that_is_none_is_refused_by_name() -> None:
    data = encode_map(np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert (decode_map(data, "x") == np.arange(256).reshape(16, 16)).all()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 255
    for bad in (b"", b"nonsense", data[: len(data) // 2], bytes(flipped)):
        with pytest.raises(ImageError, match="shard 3, mask 7"):
            decode_map(bad, "shard 3, mask 7")
    with pytest.raises(ImageError, match="more than 100"):
        decode_map(data, "x", max_pixels=100)
