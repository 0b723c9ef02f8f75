"""Photos and base models of every family."""

from __future__ import annotations

from pathlib import Path

import pytest
from methods.squares import make_squares
from models.tiny import tiny
from tiny import save_tiny_model

from maskwright.models.mobile_sam import LightHQSAM
from maskwright.models.registry import load, save
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.segmenter import Segmenter

FAMILIES = ("sam", "sam_hq", "sam2", "mobile_sam_hq", "nano")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_squares(tmp_path_factory.mktemp("photos"), 40, lowest=14, smallest=12)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small model with random weights of each family that needs no golden file."""
    folder = tmp_path_factory.mktemp("models")
    made = {family.family: save(tiny(family), folder / family.family) for family in (SAM, SAMHQ, LightHQSAM)}
    return {**made, "nano": save_tiny_model(folder)}


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, models: dict[str, Path]) -> Segmenter:
    if request.param == "sam2":
        golden = request.getfixturevalue("golden_root")
        return load(golden / "sam2.pt", image_size=256, device="cpu")
    return load(models[request.param], device="cpu")
