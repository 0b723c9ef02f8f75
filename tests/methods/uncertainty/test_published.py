"""The published settings, against the reference's table."""

from __future__ import annotations

import pytest

from maskwright.methods.uncertainty.published import PUBLISHED, published_values
from maskwright.methods.uncertainty.targets import head_names
from maskwright.recipes import read_recipe

SIZES = ("sam2-tiny", "sam2-small", "sam2-base-plus", "sam2-large")

TABLE = """
coco    -                189 36 0.0087130695692 0.1639321491122
coco    iou_tiny         189 36 0.0087130695692 0.1639321491122
coco    iou_large        189 35 0.0087130695692 0.1639321491122
sav     -                193 9  0.0087130695692 0.1639321491122
ade20k  -                106 79 0.0013075788956 0.8303298246553
ade20k  iou_tiny         106 79 0.0013075788956 0.8303298246553
ade20k  task_gap         208 75 0.0411114656149 0.2459095045924
ade20k  prompt_gap       193 70 0.0024243301281 0.8148493215442
davis   task_gap         158 55 0.029406075389  0.7093735218048
davis   iou_base_plus    130 70 0.0016774068549 0.8908015870842
davis   iou_small        193 70 0.0024243301281 0.8148493215442
davis   iou_tiny         151 63 0.0702736108729 0.3075366146863
davis   iou_large        232 42 0.0164839636621 0.1234703782399
davis   model_gap        235 77 0.0039678611351 0.1280011787627
davis   iou_dense_prompt 62  80 0.0230261929437 0.2442788582406
davis   unsupervised_iou 118 57 0.0343696361285 0.8852591752
davis   prompt_gap       154 40 0.0008989134277 0.5382621589924
"""


@pytest.mark.parametrize("line", TABLE.strip().splitlines())
def test_the_table_is_the_published_one(line: str) -> None:
    dataset, name, batch, epochs, lr, momentum = line.split()
    ours = {"-": "model_gap", "iou_dense_prompt": "refined_iou"}.get(name, name)
    size = ours.removeprefix("iou_").replace("_", "-")
    head = f"iou_sam2-{size}" if ours in ("iou_tiny", "iou_small", "iou_base_plus", "iou_large") else ours
    assert published_values(dataset, head, SIZES) == {  # type: ignore[arg-type]
        "batch_size": int(batch),
        "epochs": int(epochs),
        "lr": float(lr),
        "momentum": float(momentum),
        "weight_decay": 0.001,
    }


@pytest.mark.parametrize("dataset", PUBLISHED)
@pytest.mark.parametrize("models", [SIZES, ("nano-small", "nano"), ("mini", "midi", "maxi"), ("one",)])
def test_every_head_of_any_models_has_settings(dataset: str, models: tuple[str, ...]) -> None:
    for head in head_names("published", models):
        assert published_values(dataset, head, models)["lr"] > 0  # type: ignore[arg-type]


def test_models_without_a_known_size_take_that_of_their_place() -> None:
    models = ("mini", "midi", "maxi")
    for model, size in zip(models, ("tiny", "small", "large"), strict=True):
        expected = published_values("davis", f"iou_sam2-{size}", SIZES)
        assert published_values("davis", f"iou_{model}", models) == expected


def test_the_recipe_has_the_default_of_the_published_training() -> None:
    values = read_recipe("heads-usam").values
    expected = published_values("coco", "model_gap", SIZES)
    optimizer = values["optimizer"]
    assert (values["batch_size"], values["epochs"]) == (expected["batch_size"], expected["epochs"])
    assert (optimizer["lr"], optimizer["betas"][0]) == (expected["lr"], expected["momentum"])
    assert (values["hidden"], values["kind"], optimizer["name"]) == ([512, 512], "published", "sgd")
