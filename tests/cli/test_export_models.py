"""`maskwright export onnx`, `openvino` and `compare`, and commands with --backend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImages
from tiny import photo, save_tiny_boundary, save_tiny_heads, save_tiny_model

from maskwright.cli.main import main

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def test_export_segment_and_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_tiny_model(tmp_path)
    save_tiny_heads(model)
    exported = tmp_path / "exported"
    assert main(["export", "onnx", str(model), "--out", str(exported), "--quiet"]) == 0
    names = {"encoder.onnx", "decoder.onnx", "model.json", "model.heads.safetensors"}
    assert {file.name for file in exported.iterdir()} == names
    # Photos with the masks of a square, as image and mask files.
    for number in range(2):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        mask = np.zeros((48, 64), np.uint8)
        mask[10:30, 12 + number : 40] = 255
        PILImages.fromarray(photo(48, 64, number)).save(tmp_path / "images" / f"{number}.png")
        PILImages.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
    results = {}
    for backend, source in (("torch", model), ("onnx", exported)):
        file = tmp_path / f"{backend}.json"
        out = tmp_path / f"cut-{backend}"
        argv = ["segment", str(tmp_path / "images"), "--box", "5,5,40,40", "--quiet", "--json", str(file)]
        assert main([*argv, "--model", str(source), "--backend", backend, "--out", str(out)]) == 0
        results[backend] = [one["masks"][0] for one in json.loads(file.read_text())["images"]]
    for one, other in zip(*results.values(), strict=True):
        assert one["quality"] == pytest.approx(other["quality"], abs=1e-3)
    file = tmp_path / "compare.json"
    argv = ["export", "compare", str(exported), "--model", str(model), "--data", f"pairs:{tmp_path}"]
    assert main([*argv, "--quiet", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert result["objects"] == 2
    assert abs(result["exported"][0]["iou_loss"]) < 1e-3
    assert main(["export", "compare", str(exported), "--model", "nano", "--data", f"pairs:{tmp_path}"]) == 1
    assert "was not made of nano" in capsys.readouterr().err
    argv = ["everything", str(tmp_path / "images"), "--method", "grid", "--points-per-side", "2", "--quiet"]
    argv += ["--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--pictures", "no"]
    argv += ["--model", str(exported), "--backend", "onnx", "--out", str(tmp_path / "grid")]
    assert main([*argv, "--json", str(file)]) == 0
    assert all(one["segments"] for one in json.loads(file.read_text())["images"])


def test_boundary_models_are_exported(tmp_path: Path) -> None:
    file = save_tiny_boundary(tmp_path / "b.safetensors", resolution=64)
    made = tmp_path / "out"
    assert main(["export", "onnx", str(file), "--out", str(made), "--quiet"]) == 0
    assert json.loads((made / "model.json").read_text())["resolution"] == 64
    PILImages.fromarray(photo(48, 64)).save(tmp_path / "a.png")
    argv = ["everything", str(tmp_path / "a.png"), "--model", str(made), "--backend", "onnx", "--quiet"]
    assert main([*argv, "--out", str(tmp_path / "cut")]) == 0
    assert (tmp_path / "cut" / "coco.json").is_file()


def test_segment_says_what_a_backend_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PILImages.fromarray(photo(48, 64)).save(tmp_path / "a.png")
    argv = ["segment", str(tmp_path / "a.png"), "--point", "9,9", "--out", str(tmp_path / "o")]
    assert main([*argv, "--backend", "onnx", "--device", "cuda"]) == 1
    assert "computes on the CPU" in capsys.readouterr().err
