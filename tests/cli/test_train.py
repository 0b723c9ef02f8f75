"""`maskwright train`: recipes, flags over files over recipes, the printed settings, and a whole run."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from methods.squares import make_squares
from PIL import Image as PILImages
from tiny import save_tiny_model

from maskwright.cli.main import main as run_command
from maskwright.cli.train import main
from maskwright.config import build_settings
from maskwright.errors import ConfigError
from maskwright.methods.registry import METHODS, settings_class
from maskwright.models.nano import Nano, NanoConfig
from maskwright.models.registry import save
from maskwright.recipes import merge_settings, read_recipe, recipe_names


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main([*arguments, "--print-config"]) == 0
    return tomllib.loads(capsys.readouterr().out)


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    try:
        code = main(list(arguments))
    except SystemExit as error:
        code = int(error.code or 0)
    output = capsys.readouterr()
    assert code == 2
    return " ".join((output.out + output.err).split())


def test_the_list_of_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert {"hq", "finetune"} <= recipe_names().keys()
    for name, summary in recipe_names().items():
        assert name in shown
        assert summary
        assert summary in shown
    assert main([]) == 2


@pytest.mark.parametrize("name", sorted(recipe_names()))
def test_every_recipe_is_valid(name: str) -> None:
    recipe = read_recipe(name)
    kind = settings_class(recipe.method, recipe.source)
    required = {key: "x" for key, info in kind.model_fields.items() if info.is_required()}
    assert build_settings(kind, {**required, **recipe.values}, name)


def test_the_hq_recipe_is_the_published_one(capsys: pytest.CaptureFixture[str]) -> None:
    values = printed(capsys, "hq")
    assert values["epochs"] == 12
    assert values["batch_size"] * values["accumulate"] == 32  # type: ignore[operator]
    assert values["prompts"] == ["box", "points", "mask"]
    assert values["optimizer"]["name"] == "adam"  # type: ignore[index]
    assert values["optimizer"]["lr"] == 0.001  # type: ignore[index]
    assert (values["train"], values["scale"], values["points"]) == ("hq", [0.1, 2.0], 10)
    assert values["loss_points"] == 12544


def test_flags_over_file_over_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.toml"
    own.write_text("batch_size = 2\nseed = 7\nsteps = 50\n[optimizer]\nlr = 0.5\n")
    values = printed(
        capsys, "hq", "--config", str(own), "--batch-size", "3", "--optimizer.eps", "0.1",
        "--data", "a:b", "c:d",
    )  # fmt: skip
    assert (values["batch_size"], values["seed"], values["steps"]) == (3, 7, 50)
    assert "epochs" not in values
    assert values["optimizer"] == {
        "name": "adam", "lr": 0.5, "betas": [0.9, 0.999], "eps": 0.1, "weight_decay": 0.0
    }  # fmt: skip
    assert values["data"] == ["a:b", "c:d"]
    assert printed(capsys, "finetune", "--epochs", "3")["epochs"] == 3
    assert "steps" not in printed(capsys, "finetune", "--epochs=3")


def test_printed_settings_are_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = printed(capsys, "finetune", "--no-color", "--data", 'labels:a "quoted" folder')
    assert values["color"] is False
    path = tmp_path / "again.toml"
    assert main(["finetune", "--no-color", "--data", 'labels:a "quoted" folder', "--print-config"]) == 0
    path.write_text(capsys.readouterr().out)
    assert printed(capsys, str(path)) == values


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'finetune'?" in failure(capsys, "finetun")
    assert "no such settings file" in failure(capsys, str(tmp_path / "none.toml"))
    assert "--steps" in failure(capsys, "finetune", "--stepz", "3")
    assert "greater than 0" in failure(capsys, "finetune", "--optimizer.lr", "-1")
    assert "cache needs" in failure(capsys, "finetune", "--cache", "memory")
    own = tmp_path / "own.toml"
    own.write_text("stepz = 3")
    assert "unknown key 'stepz'. Did you mean 'steps'?" in failure(capsys, "hq", "--config", str(own))
    own.write_text('method = "nano"')
    assert "another method" in failure(capsys, "hq", f"--config={own}")
    own.write_text("steps = 3")
    assert "names its method" in failure(capsys, str(own))
    own.write_text('method = "os.system"\nsteps = 3')
    assert "unknown method 'os.system'" in failure(capsys, str(own))
    assert "--data KIND:FOLDER" in failure(capsys, "finetune", "--out", str(tmp_path / "out"))


def test_a_list_given_twice_is_refused_for_the_last_would_replace_the_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (("--data", "labels:a", "--data", "labels:b"), ("--data=labels:a", "--data", "labels:b")):
        assert "--data is given twice: name all after one" in failure(capsys, "boundary", *words)
    both = printed(capsys, "boundary", "--data", "labels:a", "labels:b", "--val", "labels:c")
    assert both["data"] == ["labels:a", "labels:b"]


def test_a_value_out_of_range_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "steps: Input should be greater than 0" in failure(capsys, "boundary", "--steps", "0")
    assert "error: scale is (smallest, largest)" in failure(capsys, "boundary", "--scale", "2", "1")


def test_lengths_replace_each_other() -> None:
    assert merge_settings({"epochs": 2, "a": 1}, {"steps": 3}) == {"steps": 3, "a": 1}
    assert merge_settings({"steps": 3}, {"epochs": 2}) == {"epochs": 2}
    assert merge_settings({"steps": 3}, {"seed": 2}) == {"steps": 3, "seed": 2}
    for name in METHODS:
        assert settings_class(name, "here").model_fields["steps"].default is None
    with pytest.raises(ConfigError, match="Did you mean 'nano'"):
        settings_class("nanoo", "here")


def test_a_whole_run_and_its_continuation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for index in range(4):
        label = np.zeros((32, 32), np.uint8)
        label[4:20, 4 + index : 20 + index] = 1
        PILImages.fromarray(label * 200).convert("RGB").save(tmp_path / "images" / f"{index}.png")
        PILImages.fromarray(label).save(tmp_path / "labels" / f"{index}.png")
    torch.manual_seed(0)
    model = save(Nano(NanoConfig(64, 8, 8, 16, 16, 1, 2, 16, 2, 32, 8)), tmp_path / "nano.safetensors")
    out, result = tmp_path / "run", tmp_path / "result.json"
    command = [
        "finetune", "--data", f"labels:{tmp_path}", "--model", str(model), "--steps", "2",
        "--batch-size", "1",
        "--masks-per-image", "1", "--loss-points", "16", "--val-share", "0.25", "--out", str(out),
        "--json", str(result), "--device", "cpu",
    ]  # fmt: skip
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert f"--model {out / 'model/model.safetensors'}" in shown
    assert "before:" in shown
    told = json.loads(result.read_text())
    assert (told["step"], told["stopped"], told["failures"], told["error"]) == (2, None, [], None)
    assert Path(told["model"]).exists()
    assert main(command) == 0
    assert "going on at step 2" in capsys.readouterr().err
    assert main([*command, "--seed", "5"]) == 2
    assert "settings.seed: 42 -> 5" in capsys.readouterr().err


def test_all_original_flags_of_persam_hq_have_a_counterpart(capsys: pytest.CaptureFixture[str]) -> None:
    page = (REPOSITORY / "docs/how-to/train.md").read_text(encoding="utf-8")
    table = page.partition("## The original flags")[2].splitlines()
    rows = [line.split("|")[1:3] for line in table if line.startswith("|")]
    original = {word for left, _ in rows for word in re.findall(r"--\w[\w-]+", left)}
    assert original == {
        "--output", "--model-type", "--checkpoint", "--device", "--seed", "--learning_rate", "--start_epoch",
        "--lr_drop_epoch", "--max_epoch_num", "--input_size", "--batch_size_train", "--batch_size_valid",
        "--model_save_fre", "--world_size", "--dist_url", "--rank", "--local_rank", "--find_unused_params",
        "--eval", "--visualize", "--restore-model",
    }  # fmt: skip
    for _, right in rows[2:]:
        assert "not needed" in right or "`" in right
        for span in re.findall(r"`(--.+?|maskwright .+?)`", right):
            words = span.split() if span.startswith("--") else span.split()[1:]
            command = [word for word in words[:2] if not word.startswith("-")] if words[0][0] != "-" else []
            with pytest.raises(SystemExit):
                run_command([*(command or ["train", "persam-hq"]), "--help"])
            shown = capsys.readouterr().out
            flags = [word for word in words if word.startswith("--")]
            assert all(f"{flag} " in shown or f"{flag}\n" in shown for flag in flags), span


def test_debug_lines_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = make_squares(tmp_path / "photos", 48, lowest=20, smallest=10)
    command = [
        "persam-hq", "--data", f"labels:{photos}", "--model", str(save_tiny_model(tmp_path)), "--epochs", "1",
        "--val-share", "0.25", "--device", "cpu", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    assert main([*command, "--debug"]) == 0
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("[DEBUG] ")]
    for part in (
        "learns: decoder", "read weights", "step 0, batch 0: pixels float32 (4, 3, 64, 64)", "step 0: {'hq'",
        "checkpoints/last.safetensors", "epochs/0001/encoder.safetensors", "epoch_stats.csv", "encoded ",
    ):  # fmt: skip
        assert any(part in line for line in told), part
    assert main(command) == 0
    assert "[DEBUG]" not in capsys.readouterr().err
