"""Reading and writing of model files that are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from maskwright.errors import FileError, WeightsError
from maskwright.io import weights
from maskwright.io.weights import read_metadata, read_weights, sha256, write_safetensors

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "half": torch.tensor([0.5], dtype=torch.float16),
    "count": torch.tensor(3),
}


def assert_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for key, tensor in expected.items():
        assert actual[key].dtype == tensor.dtype
        assert torch.equal(actual[key], tensor)


def test_safetensors_round_trip_with_metadata(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "model.safetensors"
    write_safetensors(path, TENSORS, {"family": "nano", "config": '{"a": 1}'})
    read = read_weights(path)
    assert_equal(read.tensors, TENSORS)
    assert read.metadata == read_metadata(path) == {"family": "nano", "config": '{"a": 1}'}
    assert [entry.name for entry in path.parent.iterdir()] == ["model.safetensors"]


def test_what_was_read_does_not_change_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, TENSORS, {})
    read = read_weights(path).tensors
    path.write_bytes(bytes(path.stat().st_size))
    assert_equal(read, TENSORS)


def test_tied_tensors_and_views_are_written_whole(tmp_path: Path) -> None:
    table = torch.arange(12.0).reshape(3, 4)
    tied = {"table": table, "same": table, "row": table[1], "column": table[:, 2]}
    write_safetensors(tmp_path / "m.safetensors", tied, {})
    assert_equal(read_weights(tmp_path / "m.safetensors").tensors, tied)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, TENSORS, {})
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(FileError, match=r"model\.safetensors.*no space left"):
        write_safetensors(path, {"a": torch.zeros(1)}, {})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_pytorch_files_and_their_wrappers(tmp_path: Path, wrapper: str | None) -> None:
    path = tmp_path / "model.pth"
    torch.save(TENSORS if wrapper is None else {wrapper: TENSORS, "epoch": 3}, path)
    read = read_weights(path)
    assert_equal(read.tensors, TENSORS)
    assert read.metadata == read_metadata(path) == {}


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "a.safetensors")
    save_file(TENSORS, tmp_path / "b.pth")
    for name in ("a.safetensors", "b.pth"):
        assert_equal(read_weights(tmp_path / name).tensors, TENSORS)


def test_shards_are_read_together(tmp_path: Path) -> None:
    save_file({"a": TENSORS["a"]}, tmp_path / "1.safetensors")
    save_file({key: TENSORS[key] for key in ("half", "count")}, tmp_path / "2.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    names = {"a": "1.safetensors", "half": "2.safetensors", "count": "2.safetensors"}
    index.write_text(json.dumps({"metadata": {"total_size": 34}, "weight_map": names}))
    assert_equal(read_weights(index).tensors, TENSORS)
    del names["count"]
    index.write_text(json.dumps({"weight_map": names}))
    with pytest.raises(WeightsError, match="disagree on 1 keys: count"):
        read_weights(index)


def test_an_old_torch_reads_no_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(TENSORS, tmp_path / "model.pth")
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    with pytest.raises(WeightsError, match=r"2\.9\.1 is unsafe.*install 2\.11"):
        read_weights(tmp_path / "model.pth")


def test_a_misspelt_file_is_suggested(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", TENSORS, {})
    with pytest.raises(
        WeightsError, match=r"modle\.safetensors does not exist.*Did you mean 'model\.safetensors'"
    ):
        read_weights(tmp_path / "modle.safetensors")


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_metadata_and_tensors_are_of_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that saves a checkpoint while another process reads the last one."""
    path = tmp_path / "last.safetensors"
    write_safetensors(path, {"step": torch.tensor([1])}, {"step": "1"})
    header = weights._header

    def replaced(given: Path) -> dict[str, str]:
        found = header(given)
        write_safetensors(path, {"step": torch.tensor([2])}, {"step": "2"})
        return found

    monkeypatch.setattr(weights, "_header", replaced)
    read = weights.read_weights(path)
    assert read.metadata == {"step": str(int(read.tensors["step"]))}
