"""Named models: fetched once, checked each time, and without a network told where to put what."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import huggingface_hub
import pytest

from maskwright.errors import OfflineError, WeightsError
from maskwright.models import hub
from maskwright.models.hub import NAMED, NamedModel, fetch, local_file, locate, models_folder, verify

CONTENT = b"weights"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own: no models, no cache."""
    monkeypatch.setenv("MASKWRIGHT_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setitem(NAMED, "known", NamedModel("sam", 1, "MIT", "sub/known.pth", "some/repo", SHA))
    monkeypatch.setitem(NAMED, "unknown", NamedModel("sam", 1, "MIT", "unknown.pth", "some/repo"))
    return tmp_path


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, str | None], list[str]]:
    """Stand in for the hub; returns the list of downloads. Its cache names files by the stated checksum."""

    def serve(content: bytes, stated: str | None = None) -> list[str]:
        downloads: list[str] = []

        def download(repo: str, filename: str) -> str:
            downloads.append(f"{repo}/{filename}")
            blob = home / "blobs" / (stated or "no-checksum")
            blob.parent.mkdir(exist_ok=True)
            blob.write_bytes(content)
            link = home / "snapshots" / filename
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(blob)
            monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(link))
            return str(link)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        return downloads

    return serve


def test_a_model_is_fetched_once_and_checked_each_time(server: Any) -> None:
    downloads = server(CONTENT)
    path = fetch("known")
    assert path.read_bytes() == CONTENT
    assert fetch("known") == locate("known") == local_file("known") == path
    assert downloads == ["some/repo/sub/known.pth"]


def test_a_wrong_download_is_removed(server: Any, home: Path) -> None:
    server(b"tampered")
    with pytest.raises(WeightsError, match=f"known must have {SHA}.*was removed.*again"):
        fetch("known")
    assert not list((home / "blobs").iterdir())
    assert not (home / "snapshots" / "sub" / "known.pth").is_symlink()


def test_a_cached_file_that_changed_is_removed(server: Any) -> None:
    server(CONTENT)
    path = fetch("known")
    path.write_bytes(b"tampered")
    with pytest.raises(WeightsError, match="was removed"):
        fetch("known")
    assert not path.exists()


@pytest.mark.parametrize("stated", [SHA, None])
def test_without_a_published_checksum_the_first_one_holds(server: Any, stated: str | None) -> None:
    server(CONTENT, stated)
    path = fetch("unknown")
    assert json.loads((models_folder() / "checksums.json").read_text()) == {"unknown": SHA}
    path.write_bytes(b"tampered")
    with pytest.raises(WeightsError, match=f"must have {SHA}"):
        verify("unknown", path)


def test_the_hubs_own_checksum_is_held_against_the_first_download(server: Any) -> None:
    server(b"tampered", SHA)
    with pytest.raises(WeightsError, match=f"must have {SHA}"):
        fetch("unknown")
    assert not (models_folder() / "checksums.json").exists()


def test_a_file_placed_by_hand_needs_no_network(home: Path) -> None:
    with pytest.raises(OfflineError) as caught:
        fetch("known", offline=True)
    message = str(caught.value)
    place = home / "models" / "known" / "known.pth"
    assert f"put it at {place}" in message
    assert "https://huggingface.co/some/repo/resolve/main/sub/known.pth" in message
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert fetch("known", offline=True) == place


def test_a_wrong_file_placed_by_hand_is_refused_but_stays(home: Path) -> None:
    mine = home / "elsewhere" / "mine.pth"
    mine.parent.mkdir()
    mine.write_bytes(b"another file")
    place = home / "models" / "known" / "known.pth"
    place.parent.mkdir(parents=True)
    place.symlink_to(mine)
    with pytest.raises(WeightsError, match=f"known must have {SHA}. Put the right file there"):
        fetch("known", offline=True)
    assert place.is_symlink()
    assert mine.read_bytes() == b"another file"


def test_a_packaged_file_is_never_removed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PACKAGED", home)
    monkeypatch.setitem(NAMED, "packaged", NamedModel("nano", 1, "MIT", "packaged.safetensors", sha256=SHA))
    path = home / "packaged.safetensors"
    path.write_bytes(b"another file")
    with pytest.raises(WeightsError, match="Install Maskwright again"):
        verify("packaged", fetch("packaged"))
    assert path.exists()


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_the_environment_can_forbid_the_network(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)

    def connect(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    for name in ("known", "sam-hq-vit-b", "facebook/sam-vit-base"):
        with pytest.raises(OfflineError, match="the network is off"):
            locate(name)


def test_a_failing_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(
        OfflineError, match=r"could not be fetched \(no route to host\); try again, or fetch https:"
    ):
        fetch("known")
    with pytest.raises(OfflineError, match="facebook/sam-vit-base could not be fetched"):
        locate("facebook/sam-vit-base")


def test_a_hub_id_fetches_safetensors_and_pickles_only_without_them(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    wanted: list[list[str]] = []

    def download(repo: str, allow_patterns: list[str], local_files_only: bool = False) -> str:
        if local_files_only:
            raise FileNotFoundError
        wanted.append(allow_patterns)
        if "model.safetensors" in offered and "model*.safetensors" in allow_patterns:
            (home / "model.safetensors").touch()
        return str(home)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    offered: list[str] = []
    assert locate("some/model") == home
    assert [("pytorch_model*.bin" in patterns) for patterns in wanted] == [False, True]
    wanted.clear()
    offered.append("model.safetensors")
    locate("some/model.v2")
    assert len(wanted) == 1


def test_the_table_of_names_is_complete() -> None:
    names = [f"{family}-vit-{size}" for family in ("sam", "sam-hq") for size in "blh"]
    names += [f"sam2.1-{size}" for size in ("tiny", "small", "base-plus", "large")]
    names += ["sam-hq-vit-tiny", "mobile-sam"]
    shown = {name for name, model in NAMED.items() if model.task == "prompts"}
    assert set(names) | {"nano", "nano-small"} == shown - {"known", "unknown"}
    for name in names:
        model = NAMED[name]
        assert model.licence == "Apache-2.0"
        assert model.parameters > 10e6
        assert model.sha256 is None or len(bytes.fromhex(model.sha256)) == 32
        assert (model.sha256 is None) == (name in ("sam-hq-vit-b", "sam-hq-vit-l", "sam-hq-vit-h"))
    assert hub.PACKAGED.name == "weights"
