"""Files of one tensor: what any safetensors library reads, and nothing that is not whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from maskwright.errors import DatasetError, FileError
from maskwright.io.token_file import open_tensor, read_ahead, tensor_writer


def write(path: Path, rows: int = 5, dtype: str = "float32") -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((rows, 2, 3)).astype(dtype)
    with tensor_writer(path, values.shape, dtype, {"made": "here"}) as append:
        append(values[:2])
        append(values[2:])
    return values


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("rows", [0, 5])
def test_what_is_written_in_parts_is_read_back_by_us_and_by_safetensors(
    tmp_path: Path, dtype: str, rows: int
) -> None:
    path = tmp_path / "t.safetensors"
    values = write(path, rows, dtype)
    assert np.array_equal(open_tensor(path), values)
    assert np.array_equal(load_file(path)["tokens"], values)
    assert open_tensor(path).dtype == dtype
    assert not open_tensor(path).flags.writeable or not rows


def test_a_file_of_safetensors_own_is_read(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    save_file({"tokens": values}, tmp_path / "t")
    assert np.array_equal(open_tensor(tmp_path / "t"), values)


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    values = write(tmp_path / "t")
    with pytest.raises(KeyError), tensor_writer(tmp_path / "t", (9, 2, 3), "float32"):
        raise KeyError
    assert np.array_equal(open_tensor(tmp_path / "t"), values)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


GOOD = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


@pytest.mark.parametrize(
    "header",
    [
        {},
        [],
        {"other": GOOD},
        {"tokens": GOOD, "more": GOOD},
        {"tokens": {**GOOD, "dtype": "I64"}},
        {"tokens": {**GOOD, "dtype": []}},
        {"tokens": {**GOOD, "shape": [2, -3]}},
        {"tokens": {**GOOD, "shape": [2, 3.0]}},
        {"tokens": {**GOOD, "shape": [True, 6]}},
        {"tokens": {**GOOD, "shape": "23"}},
        {"tokens": {**GOOD, "shape": []}},
        {"tokens": {**GOOD, "shape": [2, 4]}},
        {"tokens": {**GOOD, "shape": [2**62, 2**62]}},
        {"tokens": {**GOOD, "data_offsets": [4, 28]}},
        {"tokens": {**GOOD, "data_offsets": None}},
        {"tokens": {"dtype": "F32"}},
        {"tokens": 3},
    ],
)
def test_a_header_that_describes_something_else_is_refused(tmp_path: Path, header: Any) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "t").write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 24)
    with pytest.raises(DatasetError, match="damaged, cut off, or no file of tokens"):
        open_tensor(tmp_path / "t")


@pytest.mark.parametrize("length", [0, 5, 8, 60, -1, -24])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, length: int) -> None:
    write(tmp_path / "t")
    data = (tmp_path / "t").read_bytes()[:length]
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(DatasetError, match="damaged, cut off"):
        open_tensor(tmp_path / "t")


@pytest.mark.parametrize("data", [b"\xff" * 64, b"\xff" * 8, b"\x02" + b"\0" * 7 + b"{}", b"[" * 5000])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(DatasetError):
        open_tensor(tmp_path / "t")


def test_more_than_the_tensor_is_refused_and_so_is_a_key_given_twice(tmp_path: Path) -> None:
    write(tmp_path / "t")
    (tmp_path / "t").write_bytes((tmp_path / "t").read_bytes() + b"\0")
    with pytest.raises(DatasetError, match="takes 120 bytes, and the file has 121"):
        open_tensor(tmp_path / "t")
    text = ("{" + ",".join([f'"tokens": {json.dumps(GOOD)}'] * 2) + "}").encode()
    (tmp_path / "t").write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 24)
    with pytest.raises(DatasetError):
        open_tensor(tmp_path / "t")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="does not exist"):
        open_tensor(tmp_path / "t")


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no advice about files")
def test_rows_near_each_other_are_read_ahead_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t"
    with tensor_writer(path, (3000, 64), "float32") as append:
        append(np.zeros((3000, 64), np.float32))
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda file, start, length, advice: asked.append((start, length))
    )
    tensor = open_tensor(path)
    read_ahead(tensor, np.array([2999, 5, 3, 5, 7]))
    begin = path.stat().st_size - 3000 * 256
    assert asked == [(begin + 3 * 256, 5 * 256), (begin + 2999 * 256, 256)]
    read_ahead(tensor, np.zeros(0, np.int64))
    read_ahead(np.zeros((3, 4)), np.array([1]))
    assert len(asked) == 2
