"""What training of boundaries tells its user: photos that are enlarged, and what to do with the model."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from methods.everything.discs import make_discs
from tiny import save_tiny_boundary

from maskwright.data.registry import open_dataset
from maskwright.errors import DatasetError
from maskwright.methods.everything.config import BoundarySettings
from maskwright.methods.everything.method import BoundaryTraining, usual_side
from maskwright.recipes import read_recipe


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> BoundarySettings:
    folder = tmp_path_factory.mktemp("advice")
    model, discs = save_tiny_boundary(folder / "start.safetensors"), make_discs(folder / "discs", 6)
    return BoundarySettings(model=str(model), data=(f"labels:{discs}",), steps=1, resolution=1024)


def test_photos_that_are_enlarged_are_told(settings: BoundarySettings) -> None:
    [message] = BoundaryTraining(settings).warnings()
    assert "about 96 px" in message
    assert "--resolution None" in message
    for resolution in (128, None):
        changed = settings.model_copy(update={"resolution": resolution})
        assert BoundaryTraining(changed).warnings() == []


def test_photos_without_a_readable_header_are_left_out(tmp_path: Path) -> None:
    dataset = open_dataset(f"labels:{make_discs(tmp_path, 2)}")
    dataset.image_path(0).write_bytes(b"")
    assert usual_side(dataset) == 96
    dataset.image_path(1).write_bytes(b"")
    assert usual_side(dataset) is None


def test_the_default_recipe_takes_photos_as_they_are() -> None:
    made = BoundarySettings.model_validate(read_recipe("boundary").values)
    assert (made.model, made.resolution) == ("nano-boundary", None)


def test_the_next_command_measures_on_any_dataset(settings: BoundarySettings) -> None:
    _, measure = BoundaryTraining(settings).next_steps(Path("m.safetensors"))
    assert measure == "maskwright evaluate tokens --data KIND:FOLDER --model m.safetensors"


def test_validation_photos_without_an_outline_are_refused(settings: BoundarySettings, tmp_path: Path) -> None:
    root = make_discs(tmp_path, 3)
    for path in (root / "labels").iterdir():
        cv2.imwrite(str(path), np.zeros_like(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))
    changed = settings.model_copy(update={"val": (f"labels:{root}",), "resolution": None})
    with pytest.raises(DatasetError, match=r"no outline in any of the 3 validation photos.*--val"):
        BoundaryTraining(changed).evaluate()
