"""`maskwright models`: what it prints, writes and returns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from maskwright.cli.main import main
from maskwright.models.hub import NAMED


def run(*arguments: str | Path) -> int:
    return main(["models", *map(str, arguments)])


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.fixture(autouse=True)
def _no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWRIGHT_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--json", tmp_path / "out.json") == 0
    rows = read(tmp_path / "out.json")["models"]
    assert [row["name"] for row in rows] == list(NAMED)
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMED)


def test_info(golden_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", golden_root / "sam2.pt", "--json", tmp_path / "out.json") == 0
    result = read(tmp_path / "out.json")
    assert (result["family"], result["layout"]) == ("sam2", "SAM 2 (Meta)")
    assert "image size 256" in result["assumed"]
    assert len(result["dropped"]) == 73
    assert result["config"]["prompt_encoder_config"]["image_size"] == 256
    assert "73 tensors that only video needs" in capsys.readouterr().out


def test_convert_and_info_of_the_result(golden_root: Path, tmp_path: Path) -> None:
    source, folder = golden_root / "sam.pth", tmp_path / "folder"
    assert run("convert", source, folder, "--num-heads", "2", "--json", tmp_path / "a.json") == 0
    assert [Path(file).name for file in read(tmp_path / "a.json")["files"]] == [
        "model.safetensors",
        "config.json",
    ]
    assert run("info", folder, "--json", tmp_path / "b.json", "--quiet") == 0
    assert read(tmp_path / "b.json")["layout"] == "transformers folder"
    assert read(tmp_path / "b.json")["parameters"] == read(tmp_path / "a.json")["parameters"]


def test_convert_a_decoder_needs_its_base(
    golden_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("convert", golden_root / "sam_hq_decoder_epoch.pth", tmp_path / "folder") == 1
    assert "base=" in capsys.readouterr().err
    assert not (tmp_path / "folder").exists()


def test_get_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("get", "sam-vit-b", "sam2.1-tiny", "--offline", "--json", tmp_path / "out.json") == 1
    failures = read(tmp_path / "out.json")["failures"]
    assert [failure["item"] for failure in failures] == ["sam-vit-b", "sam2.1-tiny"]
    assert all("put it at" in failure["reason"] for failure in failures)
    assert run("get") == 1
    assert "no model was named" in capsys.readouterr().err
    assert run("get", "sam-vitb") == 1
    assert "Did you mean 'sam-vit-b'?" in capsys.readouterr().err


def test_verify_names_a_wrong_file_and_leaves_what_was_placed_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", "sam-vit-b") == 1
    assert "maskwright models get sam-vit-b" in capsys.readouterr().err
    placed = tmp_path / "models" / "sam-vit-b" / "sam_vit_b_01ec64.pth"
    placed.parent.mkdir(parents=True)
    placed.write_bytes(b"something else")
    assert run("verify", "sam-vit-b") == 1
    assert "Put the right file there" in capsys.readouterr().err
    assert placed.exists()


def test_memory(golden_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = golden_root / "sam_hq.pth", tmp_path / "out.json"
    assert run("memory", source, "--num-heads", "2", "--depth", "3", "--json", out) == 0
    told, printed = read(out), capsys.readouterr().out
    assert (told["family"], told["image_size"], told["training"]) == ("sam_hq", 256, False)
    assert told["modules"][0]["parameters"] == 337132
    assert told["total"] == told["modules"][0]["weights"] + told["peak"]
    assert all(name in printed for name in ("vision_encoder", "hq_mask_mlp", "elsewhere", "peak MB"))
    assert "gradients MB" not in printed
    assert "worst moment" in printed
    smaller_one = ("--from-scratch", "--image-size", "64", "--training", "--json", out)
    assert run("memory", source, "--num-heads", "2", *smaller_one) == 0
    smaller = read(out)
    assert smaller["image_size"] == 64
    assert smaller["modules"][0]["optimizer"] == 2 * smaller["modules"][0]["gradients"] > 0
    assert "optimizer MB" in capsys.readouterr().out
    assert run("memory", source, "--num-heads", "2", "--prompts", "0") == 1
    assert "--prompts 0 is too small" in capsys.readouterr().err


def test_an_unknown_command_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lst") == 2
    assert "'list'" in capsys.readouterr().err
