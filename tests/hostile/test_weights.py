"""Model files and configurations made to do harm, or damaged: one line that names the file, no code run."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskwright.errors import MaskwrightError, WeightsError
from maskwright.io.weights import HEADER_LIMIT, read_weights
from maskwright.models.configs import check_config


class Trap:
    """Creates a marker file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, int]]:
        return os.open, (self.marker, os.O_CREAT)


class Unknown:
    """Harmless, but no tensor."""


def refuse(path: Path) -> str:
    """Read the file, expect one line of refusal that names it."""
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message


def safetensors_bytes(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_does_nothing(tmp_path: Path, legacy: bool) -> None:
    marker, path = tmp_path / "marker", tmp_path / "model.pth"
    torch.save(
        {"weight": torch.zeros(2), "trap": Trap(marker)}, path, _use_new_zipfile_serialization=not legacy
    )
    assert "refused, it asks to run posix.open" in refuse(path) or os.name == "nt"
    assert not marker.exists()


def test_a_bare_pickle_does_nothing(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"trap": Trap(marker)}))
    refuse(path)
    assert not marker.exists()


def test_there_is_no_second_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pth"
    torch.save({"weight": torch.zeros(2), "extra": Unknown()}, path)
    calls: list[dict[str, Any]] = []
    original = torch.load

    def spy(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs)
        return original(*args, **kwargs)

    monkeypatch.setattr(torch, "load", spy)
    refuse(path)
    assert [call["weights_only"] for call in calls] == [True]


@pytest.mark.parametrize("kind", ["safetensors", "pickle"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    whole = tmp_path / "whole"
    tensors = {f"layer.{i}": torch.randn(8, 8) for i in range(4)}
    if kind == "pickle":
        torch.save(tensors, whole)
    else:
        from safetensors.torch import save_file

        save_file(tensors, whole)
    data = whole.read_bytes()
    path = tmp_path / "cut.bin"
    for share in (0.0, 0.001, 0.004, 0.05, 0.3, 0.6, 0.9, 0.99):
        path.write_bytes(data[: int(share * len(data))])
        refuse(path)
    path.write_bytes(data[:-1])
    refuse(path)


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data", "length"),
    [
        (b"{}", b"", 2**63),
        (b"{}", b"", HEADER_LIMIT + 1),
        (b"{" + b" " * 64, b"", None),
        (b'{"a": ' + json.dumps(F32).encode() + b', "a": ' + json.dumps(F32).encode() + b"}", bytes(8), None),
        ({"a": F32, "b": F32}, bytes(8), None),
        ({"a": {**F32, "data_offsets": [8, 0]}}, bytes(8), None),
        ({"a": {**F32, "data_offsets": [0, 16]}}, bytes(8), None),
        ({"a": {**F32, "shape": [2**62, 4]}}, bytes(8), None),
        ({"a": {**F32, "shape": [-2]}}, bytes(8), None),
        ({"a": {**F32, "dtype": "PICKLE"}}, bytes(8), None),
        ({"a": {**F32, "dtype": "F8_E4M3", "shape": [8]}}, bytes(8), None),
        ({"__metadata__": {"config": 3}, "a": F32}, bytes(8), None),
        ({"__metadata__": ["x"], "a": F32}, bytes(8), None),
        (b"{" + b'"a":{' * 100_000, b"", None),
        (b"{\xff\xfe}", b"", None),
    ],
)
def test_a_crafted_safetensors_header_is_refused(
    tmp_path: Path, header: object, data: bytes, length: int | None
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes(header, data, length))
    before = psutil.Process().memory_info().rss
    refuse(path)
    assert psutil.Process().memory_info().rss - before < 100 * 2**20


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    tensor = torch.zeros(3, 3, dtype=dtype)
    tensor[1, 2] = value
    torch.save({"fine": torch.zeros(1), "layer.weight": tensor}, tmp_path / "model.pth")
    assert "layer.weight holds NaN or infinite values" in refuse(tmp_path / "model.pth")


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        [torch.zeros(3)],
        {},
        {"weight": 3},
        {"model": {"weight": "text"}},
        {1: torch.zeros(1)},
        {"weight": torch.zeros(2, dtype=torch.complex64)},
        {"weight": torch.zeros(2).to_sparse()},
        # A view that claims 4 TB on four bytes.
        {"weight": torch.zeros(1).expand(10**6, 10**6)},
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pth")
    refuse(tmp_path / "model.pth")


def test_an_archive_that_unpacks_to_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    assert "would unpack to 10000000 bytes" in refuse(path)


@pytest.mark.parametrize(
    "name", ["../evil.safetensors", "/etc/passwd", "..\\evil", "a/b.safetensors", "..", "", "C:\\x"]
)
def test_shards_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    assert "outside the folder" in refuse(index)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": "x.index.json"}}']
)
def test_a_broken_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    refuse(tmp_path / "model.safetensors.index.json")


def test_folders_pipes_and_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.pth").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert "neither a safetensors nor a PyTorch file" in refuse(tmp_path / "photo.pth")
    (tmp_path / "empty.pth").touch()
    assert "is empty" in refuse(tmp_path / "empty.pth")
    (tmp_path / "folder.pth").mkdir()
    assert "is a folder" in refuse(tmp_path / "folder.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    refuse(tmp_path / "pipe.pth")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prefix=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x02}q\x00", b"\x10" + bytes(7) + b"{"]),
    rest=st.binary(max_size=200),
)
def test_any_bytes_give_a_weights_error(tmp_path: Path, prefix: bytes, rest: bytes) -> None:
    path = tmp_path / "fuzz.bin"
    path.write_bytes(prefix + rest)
    refuse(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "auto_map"),
        ({"_target_": "os.system"}, "_target_"),
        ({"class_path": "os.system"}, "class_path"),
        (
            {"vision_config": {"_attn_implementation_internal": "evil/kernel"}},
            "vision_config._attn_implementation",
        ),
        ({"mask_decoder_config": {"trust_remote_code": True}}, "mask_decoder_config.trust_remote_code"),
        (
            {"vision_config": {"backbone_config": {"model_type": "timm_wrapper"}}},
            "backbone_config.model_type",
        ),
        ({"vision_config": {"model_type": "resnet"}}, "vision_config.model_type"),
        ({"vision_config": "evil"}, "vision_config must be an object"),
        ({"model_type": "llama"}, "'llama' is not supported"),
        ({"model_type": None}, "None is not supported"),
        ({"mask_decoder_config": {"num_hidden_layers": 10**9}}, "mask_decoder_config.num_hidden_layers"),
        ({"vision_config": {"fpn_hidden_size": -1}}, "fpn_hidden_size"),
        ({"vision_config": {"fpn_hidden_size": float("nan")}}, "fpn_hidden_size"),
        ({"vision_config": {"fpn_top_down_levels": [{"a": 1}]}}, "fpn_top_down_levels"),
        ({"vision_config": {"hidden_act": "x" * 1000}}, "hidden_act"),
    ],
)
def test_a_hostile_configuration_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(WeightsError) as caught:
        check_config(tmp_path / "config.json", {"model_type": "sam2", **change})
    assert named in str(caught.value)
    assert "config.json" in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    )
)
def test_any_configuration_passes_or_is_refused(value: object) -> None:
    message = "config.json"
    try:
        check_config(Path("config.json"), {"model_type": "sam", "vision_config": value})
    except MaskwrightError as error:
        message = str(error)
    assert "config.json" in message
