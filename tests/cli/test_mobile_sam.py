"""A MobileSAM file on the command line: said, segmented with, and written back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from models.tiny import tiny
from PIL import Image as PILImage

from maskwright.cli.main import main
from maskwright.io.masks import read_mask
from maskwright.models.convert import write_original
from maskwright.models.mobile_sam import LightHQSAM, MobileSAM
from maskwright.models.registry import read, save
from maskwright.models.task_prompts import add_task_prompts


@pytest.mark.parametrize("family", [MobileSAM, LightHQSAM])
def test_info_segment_and_export(tmp_path: Path, family: type[MobileSAM]) -> None:
    own = save(tiny(family), tmp_path / "own.safetensors")
    given = ["--num-heads", "2", "--image-size", "64"]
    out, result = tmp_path / "out", tmp_path / "result.json"
    assert main(["export", "checkpoint", str(own), str(tmp_path / "original.pt"), "--quiet"]) == 0
    assert main(["models", "info", str(tmp_path / "original.pt"), *given, "--json", str(result)]) == 0
    facts = json.loads(result.read_text())
    assert facts["family"] == family.family
    assert "encoder width [8, 16, 24, 32]" in facts["sizes"]
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    PILImage.fromarray(pixels).save(tmp_path / "photo.png")
    asked = ["--box", "5,5,40,25", "--model", str(own), "--out", str(out), "--device", "cpu", "--quiet"]
    assert main(["segment", str(tmp_path / "photo.png"), *asked]) == 0
    assert read_mask(out / "masks" / "photo.png.0.png").shape == (30, 50)


def test_the_published_size_segments_from_its_own_file(tmp_path: Path) -> None:
    """Heads and input side are those assumed, so that nothing needs to be given."""
    config = {
        "vision_config": tiny(MobileSAM).vision.to_dict() | {"image_size": 1024},
        "prompt_encoder_config": {},
    }
    config["vision_config"] |= {"output_channels": 256, "num_pos_feats": 128}
    model = MobileSAM.from_config(config | {"mask_decoder_config": {}})
    own = save(model, tmp_path / "own.safetensors")
    file = write_original(read(own), tmp_path / "mobile_sam.pt", "it")
    PILImage.new("RGB", (90, 40), "teal").save(tmp_path / "photo.png")
    asked = ["--point", "30,20", "--model", str(file), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["segment", str(tmp_path / "photo.png"), *asked]) == 0
    assert read_mask(tmp_path / "out/masks/photo.png.0.png").shape == (40, 90)


def test_task_prompts_are_left_out_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny(MobileSAM)
    add_task_prompts(model, ("embedding",))
    own, file = str(save(model, tmp_path / "own.safetensors")), tmp_path / "original.pth"
    assert main(["export", "checkpoint", own, str(file)]) == 1
    assert "which the original layout cannot hold" in " ".join(capsys.readouterr().err.split())
    assert not file.exists()
    assert main(["export", "checkpoint", own, str(file), "--drop-task-prompts"]) == 0
    assert not any("task" in key for key in torch.load(file, weights_only=True))
