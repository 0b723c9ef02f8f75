"""The recipe persam-hq: HQ layers learn, the rate falls, what is frozen stays, epochs leave their parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from methods.finetune.scene import settings
from torch import Tensor

from maskwright.errors import ConfigError
from maskwright.methods.finetune.config import FinetuneSettings
from maskwright.methods.finetune.method import Finetune
from maskwright.methods.finetune.parts import learning_groups
from maskwright.models.parts import PARTS, part_of
from maskwright.models.registry import load, save
from maskwright.models.sam import SAM
from maskwright.recipes import read_recipe
from maskwright.training.loop import train


@pytest.fixture
def sam_path(tmp_path: Path, sam: SAM) -> str:
    return str(save(sam, tmp_path / "sam.safetensors"))


def recipe(photos: Path, model: str, **changes: Any) -> FinetuneSettings:
    """The recipe on eight small photos, an epoch of two steps."""
    small = {
        "model": model, "data": [f"labels:{photos}"], "val_share": 0.0, "loss_points": 64, "device": "cpu",
        "log_every": 1, "epochs": 2,
    }  # fmt: skip
    return FinetuneSettings.model_validate({**read_recipe("persam-hq").values, **small, **changes})


def changed(before: dict[str, Tensor], method: Finetune) -> set[str]:
    after = method.model.state_dict()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def run(chosen: FinetuneSettings, out: Path) -> set[str]:
    method = Finetune(chosen)
    before = {name: value.clone() for name, value in method.model.state_dict().items()}
    train(method, out, quiet=True)
    return changed(before, method)


def rates(out: Path) -> list[float]:
    return [json.loads(line)["lr"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_the_recipe_has_the_scripts_values() -> None:
    values = FinetuneSettings.model_validate(read_recipe("persam-hq").values)
    assert (values.epochs, values.batch_size, values.seed) == (20, 4, 42)
    assert (values.optimizer.name, values.optimizer.lr, values.optimizer.betas) == (
        "adam",
        1e-3,
        (0.9, 0.999),
    )
    assert (values.optimizer.weight_decay, values.schedule.gamma) == (0, 0.1)
    assert [round(part * 20) for part in values.schedule.milestones] == [10]
    assert (values.prompts, values.points, values.scale) == (("box", "points", "mask"), 10, (0.1, 2.0))
    assert values.loss_points == 112 * 112
    assert values.save_models == 1


def test_everything_learns_hq_layers_too_and_the_rate_falls(
    tmp_path: Path, photos: Path, sam_path: str
) -> None:
    moved = run(recipe(photos, sam_path), tmp_path / "run")
    assert {part_of("sam_hq", name) for name in moved} == {"encoder", "decoder", "hq"}
    hq = {name for name, _ in Finetune(recipe(photos, sam_path)).model.named_parameters()}
    hq = {name for name in hq if name.startswith(PARTS["sam_hq"].hq)}
    assert hq <= moved
    assert rates(tmp_path / "run") == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_the_schedule_moves_the_weights_and_not_the_log_alone(
    tmp_path: Path, photos: Path, sam_path: str
) -> None:
    # With a factor of (almost) nothing after half of the run, its second half changes nothing.
    chosen = recipe(photos, sam_path, schedule={"name": "step", "milestones": [0.5], "gamma": 1e-30})
    train(Finetune(chosen), tmp_path / "run", quiet=True)
    one, two = (load(tmp_path / f"run/epochs/000{n}/model.safetensors").model.state_dict() for n in (1, 2))
    assert all(torch.allclose(value, two[name], rtol=0, atol=1e-24) for name, value in one.items())
    start = load(sam_path).model.state_dict()
    assert not all(torch.equal(value, one[name]) for name, value in start.items())


def test_each_epoch_leaves_its_parts_and_each_is_loaded_again(
    tmp_path: Path, photos: Path, sam_path: str
) -> None:
    train(Finetune(recipe(photos, sam_path, keep_models=1)), tmp_path / "run", quiet=True)
    folder = tmp_path / "run/epochs/0002"
    assert [path.name for path in (tmp_path / "run/epochs").iterdir()] == ["0002"]
    assert {path.stem for path in folder.iterdir()} == {"encoder", "decoder", "hq", "model"}
    whole = load(folder).model.state_dict()
    for part in ("encoder", "decoder", "hq"):
        put = load(folder / f"{part}.safetensors", base=sam_path).model
        assert put.family == ("sam_hq" if part == "hq" else "sam")
        found = {name: value for name, value in put.state_dict().items() if part_of("sam_hq", name) == part}
        assert found
        assert all(torch.equal(value, whole[name]) for name, value in found.items())


@pytest.mark.parametrize(
    ("freeze", "still"),
    [
        (["encoder"], {"decoder", "hq"}),
        (["decoder", "prompt_encoder", "encoder"], {"hq"}),
        (["hq"], {"encoder", "decoder"}),
    ],
)
def test_frozen_modules_stay_bit_for_bit(
    tmp_path: Path, photos: Path, sam_path: str, freeze: list[str], still: set[str]
) -> None:
    moved = run(recipe(photos, sam_path, freeze=freeze, epochs=1, encoder_rate=1.0), tmp_path / "run")
    assert {part_of("sam_hq", name) for name in moved} == still


def test_a_frozen_encoder_is_cached_and_in_evaluation_mode(photos: Path, sam_path: str) -> None:
    method = Finetune(recipe(photos, sam_path, freeze=["encoder"], augment="flip"))
    assert method.cache is not None
    for group in learning_groups(method.model, "all", 1.0, ("encoder",)):
        assert group.parameters
    for name, parameter in method.model.named_parameters():
        parameter.requires_grad_(not name.startswith("net.vision_encoder"))
    method.train_mode()
    assert method.model.training
    modes = {name: module.training for name, module in method.model.named_modules()}
    assert not modes["net.vision_encoder.neck"]
    assert modes["net.mask_decoder"]


def test_from_scratch_takes_only_the_architecture(tmp_path: Path, photos: Path, sam_path: str) -> None:
    chosen = recipe(photos, sam_path, from_scratch=True, input_size=96, encoder_rate=1.0, epochs=1)
    method, stored = Finetune(chosen), load(sam_path).model.state_dict()
    assert (method.model.image_size, method.model.family) == (96, "sam_hq")
    name = "net.mask_decoder.mask_tokens.weight"
    assert not torch.equal(method.model.state_dict()[name], stored[name])
    again = Finetune(chosen).model.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in method.model.state_dict().items())
    other = Finetune(recipe(photos, sam_path, from_scratch=True, input_size=96, seed=1)).model.state_dict()
    assert not torch.equal(other[name], again[name])
    assert train(method, tmp_path / "run", quiet=True).model is not None


def test_the_hq_tokens_loss_alone(tmp_path: Path, photos: Path, sam_path: str, nano: Path) -> None:
    method = Finetune(recipe(photos, sam_path, loss="hq", val=[f"labels:{photos}"], val_images=2, epochs=1))
    train(method, tmp_path / "run", quiet=True)
    row = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert {name for name in row if name.startswith("loss")} == {"loss", "loss_hq"}
    metrics = json.loads((tmp_path / "run/training_metrics.json").read_text())
    assert len(metrics["loss"]) == len(metrics["val_iou"]) == len(metrics["val_boundary_iou"]) == 1
    assert metrics["val_iou"][0] > 0
    with pytest.raises(ConfigError, match=r"a sam has no HQ token to train: set add_hq"):
        Finetune(recipe(photos, sam_path, loss="hq", add_hq=False))
    assert Finetune(recipe(photos, str(nano), loss="hq")).evaluate() == {}


def test_a_size_without_from_scratch_is_refused(photos: Path) -> None:
    with pytest.raises(ValueError, match="input_size needs from_scratch"):
        settings(photos, input_size=96)
