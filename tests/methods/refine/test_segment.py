"""`maskwright segment --refine`: the refined mask, its disagreement with the model's, and both scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from methods.refine.scene import save_altered
from PIL import Image as PILImage
from tiny import save_tiny_model

from maskwright.cli.main import main
from maskwright.export.labels import read_labels
from maskwright.io.masks import read_mask
from maskwright.methods.refine.refiner import MaskRefiner
from maskwright.models.prompts import make_prompts
from maskwright.models.registry import load


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def refiner(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_altered(model, tmp_path_factory.mktemp("refiner"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name, size in {"a.png": (40, 60), "b.png": (50, 30)}.items():
        PILImage.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def segment(*arguments: str | Path) -> int:
    return main(["segment", *map(str, arguments), "--device", "cpu"])


@pytest.mark.parametrize("prompt", [("--point", "20,20"), ("--box", "10%,10%,90%,90%", "--multimask")])
def test_masks_scores_and_uncertainty_are_the_refiners(
    photos: Path, model: Path, refiner: Path, tmp_path: Path, prompt: tuple[str, ...]
) -> None:
    out, result = tmp_path / "out", tmp_path / "r.json"
    given = ("--model", model, "--refine", refiner, "--out", out, "--json", result)
    assert segment(photos, *prompt, *given) == 0
    base = load(model, device="cpu")
    by_hand = MaskRefiner.load(refiner, base)
    assert json.loads(result.read_text())["refiner"] == by_hand.signature
    for label in read_labels(out / "coco.json"):
        embedding = base.embed(photos / label.path)
        height, width = embedding.geometry.size
        asked = (
            {"points": [[20.0, 20.0]]}
            if prompt[0] == "--point"
            else {"boxes": [0.1 * width, 0.1 * height, 0.9 * width, 0.9 * height], "multimask": True}
        )
        masks = base(embedding, **asked)
        asked.pop("multimask", None)
        refined = by_hand.refine_masks(
            embedding, masks, make_prompts(embedding.geometry, base.model.low_res, **asked)
        )
        assert label.scores == pytest.approx(refined.iou.flatten().tolist())
        assert label.extra["unrefined_score"] == pytest.approx(masks.iou.flatten().tolist())
        difference = np.abs(
            masks.probabilities()[0].double().numpy() - refined.probabilities()[0].double().numpy()
        )
        for number, name in enumerate(label.extra["mask_file"]):
            assert np.array_equal(read_mask(out / name), refined.binary()[0, number])
            written = np.asarray(PILImage.open(out / label.extra["uncertainty_file"][number]))
            assert np.abs(written - 255 * difference[number]).max() < 1
        assert difference.max() > 0.05


def test_a_folder_belongs_to_one_refiner_or_none(
    photos: Path, model: Path, refiner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (photos / "a.png", "--point", "9,9", "--model", model, "--out", tmp_path / "out")
    assert segment(*given, "--refine", refiner) == 0
    assert segment(*given) == 2
    assert "refiner was 'refiner:" in capsys.readouterr().err
    assert segment(*given, "--overwrite") == 0
    assert "unrefined_score" not in read_labels(tmp_path / "out/coco.json")[0].extra
    assert segment(*given, "--refine", refiner.parent) == 2
    assert "refiner was None and now is 'refiner:" in capsys.readouterr().err


def test_a_refiner_that_is_not_there_is_missed_before_the_model_is_loaded(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (photos, "--point", "9,9", "--model", "not-needed", "--out", tmp_path / "out")
    assert segment(*given, "--refine", tmp_path / "no.safetensors") == 1
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
