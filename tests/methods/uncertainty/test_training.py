"""Training of heads: what they learn, alone and together, on which rows, and how they are calibrated."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.uncertainty.containers import MODELS, SHAPE, open_container, write_container
from torch import Tensor

from maskwright.cli.main import main
from maskwright.errors import ConfigError, DatasetError
from maskwright.methods.base import ItemKey, Losses, StepContext
from maskwright.methods.uncertainty import data as data_module
from maskwright.methods.uncertainty.config import HeadPlan, HeadSettings, HeadsSettings, make_plans
from maskwright.methods.uncertainty.container import Container
from maskwright.methods.uncertainty.data import BLOCK, WINDOW, Batch, Rows, Steps, open_parts, shuffled
from maskwright.methods.uncertainty.measures import calibrate, measure, outputs
from maskwright.methods.uncertainty.method import HeadsTraining
from maskwright.methods.uncertainty.network import HeadNetwork
from maskwright.methods.uncertainty.search import learn_alone
from maskwright.methods.uncertainty.targets import head_names
from maskwright.models.mask_features import FEATURES
from maskwright.models.uncertainty import HeadsConfig, UncertaintyHeads
from maskwright.training.checkpoint import read_state
from maskwright.training.loop import train

NAMES = ("quality", "model_gap", "prompt_gap", "task_gap")
SGD = {"name": "sgd", "lr": 0.3, "betas": (0.5, 0.999), "weight_decay": 1e-4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_container(tmp_path_factory.mktemp("containers") / "one")


def settings(folder: Path, **changes: Any) -> HeadsSettings:
    values: dict[str, Any] = {
        "data": (str(folder),),
        "batch_size": 50,
        "hidden": (16,),
        "device": "cpu",
        "log_every": 1,
        **({} if "steps" in changes else {"epochs": 3}),
    }
    return HeadsSettings(**values | changes)


def config(rows: Rows, *names: str, hidden: tuple[int, ...] = (16,)) -> HeadsConfig:
    return HeadsConfig("selected", names or NAMES, rows.values, hidden, (("small", "1"), ("large", "2")))


def test_heads_learn_what_tokens_tell_and_the_file_holds_them(folder: Path, tmp_path: Path) -> None:
    method = HeadsTraining(
        settings(folder, epochs=40, optimizer={"lr": 0.02}, evaluate_every=180, log_every=99),
        tmp_path / "search",
    )
    outcome = train(method, tmp_path / "run", quiet=True)
    assert outcome.before["quality_r2"] < 0.3
    assert outcome.metrics["quality_r2"] > 0.9
    assert outcome.metrics["quality_pearson"] > 0.95
    assert outcome.metrics["quality_ece"] < 0.05
    assert outcome.model is not None
    heads = UncertaintyHeads.load(outcome.model)
    assert heads.config.models == (("small", "digest-small"), ("large", "digest-large"))
    assert heads.config.names == NAMES
    assert method.parts.validation is not None
    assert measure(heads, method.parts.validation) == pytest.approx(outcome.metrics, abs=1e-6)


def test_published_heads_read_two_tokens_of_the_best_proposals(folder: Path, tmp_path: Path) -> None:
    method = HeadsTraining(settings(folder, kind="published", hidden=(8, 8)), tmp_path)
    names = (
        "iou_small",
        "iou_large",
        "refined_iou",
        "unsupervised_iou",
        "model_gap",
        "prompt_gap",
        "task_gap",
    )
    assert method.model.config.names == names == head_names("published", MODELS)
    assert method.model.config.inputs == 2 * SHAPE[1]
    container = method.parts.training.container
    assert bool((container.column("best") & (container.column("mask") > 0)).all())


def test_together_heads_learn_what_each_learns_alone(folder: Path, tmp_path: Path) -> None:
    own = (
        HeadSettings(name="model_gap", batch_size=32, lr=0.1, momentum=0.9),
        HeadSettings(name="task_gap", batch_size=77, epochs=1, weight_decay=0.0),
    )
    chosen = settings(folder, optimizer=SGD, heads=own, val_share=0, calibration="none")
    method = HeadsTraining(chosen, tmp_path / "search")
    train(method, tmp_path / "run", quiet=True)
    rows = method.parts.training
    for k, plan in enumerate(method.plans):
        alone = replace(rows, targets=rows.targets[:, k : k + 1])
        network = learn_alone(alone, config(rows, plan.name), plan, chosen, torch.device("cpu"))
        for one, other in zip(network.heads[0].parameters(), method.model.heads[k].parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_finished_heads_say_what_the_network_says(folder: Path) -> None:
    rows = open_parts(settings(folder)).training
    network = HeadNetwork(config(rows), 3)
    inputs = torch.from_numpy(rows.read(np.arange(9)))
    torch.testing.assert_close(network.finished()(inputs), network(inputs.expand(4, -1, -1)).T)


def test_components_are_the_tokens_own_and_features_are_read_beside(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    columns: dict[str, Any] = {f"feature_{name}": rng.normal(3, 2, 40 * 16) for name in FEATURES}
    data = write_container(tmp_path / "data", **columns)
    method = HeadsTraining(settings(data, components=5), tmp_path / "search")
    rows, heads = method.parts.training, method.model.finished()
    values = torch.from_numpy(rows.read(np.arange(len(rows))))
    assert values.shape[1] == 12 + len(FEATURES)
    read = (values - heads.center) @ heads.projection
    assert torch.allclose(read.mean(dim=0), torch.zeros(13), atol=1e-4)
    assert torch.allclose(torch.cov(read[:, :5].T, correction=0), torch.eye(5), atol=1e-3)
    # The features as they are, but for shift and scale.
    for place in range(len(FEATURES)):
        assert torch.corrcoef(torch.stack([read[:, 5 + place], values[:, 12 + place]]))[0, 1] > 0.9999
    torch.testing.assert_close(heads(values), method.model(values.expand(4, -1, -1)).T, rtol=1e-4, atol=1e-5)
    heads.save(tmp_path / "heads.safetensors")
    again = UncertaintyHeads.load(tmp_path / "heads.safetensors")
    assert torch.equal(again(values), heads(values))
    with pytest.raises(ConfigError, match="components = 13 is too many: these rows give 12 at most"):
        HeadsTraining(settings(data, components=13), tmp_path / "search")


def test_heads_learn_from_the_masks_of_some_models(folder: Path, tmp_path: Path) -> None:
    method = HeadsTraining(settings(folder, models=("large",)), tmp_path)
    assert set(method.parts.training.container.column("model")) == {"large"}
    assert method.model.config.models == (("large", "digest-large"),)
    assert method.model.config.names == NAMES
    with pytest.raises(ConfigError, match="no model 'huge'"):
        HeadsTraining(settings(folder, models=("huge",)), tmp_path)


class Stopped(HeadsTraining):
    """Fails in the midst of an epoch."""

    def training_step(self, batch: Batch, context: StepContext) -> Losses:
        if context.step == 11:
            raise KeyboardInterrupt
        return super().training_step(batch, context)


def test_a_killed_run_goes_on_to_the_same_heads(folder: Path, tmp_path: Path) -> None:
    own = (HeadSettings(name="model_gap", batch_size=32), HeadSettings(name="quality", epochs=1))
    chosen = settings(folder, heads=own, save_every=3, evaluate_every=9)
    whole = train(HeadsTraining(chosen, tmp_path / "search"), tmp_path / "whole", quiet=True)
    with pytest.raises(KeyboardInterrupt):
        train(Stopped(chosen, tmp_path / "search"), tmp_path / "parts", quiet=True)
    again = train(HeadsTraining(chosen, tmp_path / "search"), tmp_path / "parts", quiet=True)
    assert again.metrics == whole.metrics
    last = [
        read_state(tmp_path / name / "checkpoints/last.safetensors").tensors for name in ("whole", "parts")
    ]
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])
    assert whole.model is not None
    assert again.model is not None
    files = [UncertaintyHeads.load(path).state_dict() for path in (whole.model, again.model)]
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])


def test_each_row_comes_once_an_epoch_of_each_head(folder: Path) -> None:
    rows = open_parts(settings(folder)).training
    plans = [HeadPlan("quality", 0.1, 0, 0, 50, 2), HeadPlan("model_gap", 0.1, 0, 0, 70, 1)]
    steps = Steps(rows, plans)
    seen: list[list[Tensor]] = [[], []]
    for epoch in range(2):
        for index in range(len(steps)):
            batch = steps[ItemKey(index, epoch, 7)]
            for k in range(2):
                taken = batch.weight[k] > 0
                seen[k].append(batch.inputs[batch.index[k][taken]])
    for k, times in enumerate((2, 1)):
        found = torch.cat(seen[k]).sort(dim=0).values
        everything = torch.from_numpy(rows.read(np.arange(len(rows)))).repeat(times, 1).sort(dim=0).values
        assert torch.equal(found, everything)
    assert steps.until(plans[0]) == 1
    assert steps.until(plans[1]) == plans[1].steps(len(rows)) / (2 * len(steps))


def test_worker_processes_get_no_copy_of_the_tokens(tmp_path: Path) -> None:
    data = write_container(tmp_path / "wide", shape=(2, 500))
    steps = HeadsTraining(settings(data), tmp_path / "search").training_data()
    sent = pickle.dumps(steps)
    assert len(sent) < 100_000 < (data / "tokens.safetensors").stat().st_size
    key = ItemKey(2, 1, 7)
    assert torch.equal(pickle.loads(sent)[key].inputs, steps[key].inputs)


@pytest.mark.parametrize("count", [1, BLOCK, 3 * BLOCK + 5, WINDOW + 2 * BLOCK + 1])
def test_an_order_has_each_row_once_and_reads_windows(count: int) -> None:
    rows = shuffled(count, np.random.default_rng(3))
    assert np.array_equal(np.sort(rows), np.arange(count))
    assert len(np.unique(rows[:WINDOW] // BLOCK)) <= WINDOW // BLOCK + 1


def test_each_window_of_rows_is_read_ahead_once_before_it_begins(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_module, "BLOCK", 5)
    monkeypatch.setattr(data_module, "WINDOW", 40)
    rows = open_parts(settings(folder)).training
    announced: list[np.ndarray] = []
    monkeypatch.setattr(Container, "read_ahead", lambda self, index: announced.append(np.asarray(index)))
    steps = Steps(rows, [HeadPlan("quality", 0.1, 0, 0, 20, 1)])
    first = steps._rows_of(steps.plans[0], 0, 7)
    assert len(announced) == 1
    assert set(first) <= set(announced[0])
    assert len(announced[0]) == 80
    steps._rows_of(steps.plans[0], 1, 7)
    assert len(announced) == 1
    for place in range(2, len(steps)):
        steps._rows_of(steps.plans[0], place, 7)
    assert np.array_equal(np.sort(np.concatenate(announced)), np.arange(len(rows)))


def test_no_group_is_in_two_parts(folder: Path) -> None:
    parts = open_parts(settings(folder, val_share=0.3, calibration_share=0.2))
    assert parts.calibration is not None
    assert parts.validation is not None
    groups = [set(part.container.groups) for part in (parts.training, parts.calibration, parts.validation)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 40
    assert min(map(len, groups)) >= 2


def test_validation_data_of_their_own_must_be_others(folder: Path, tmp_path: Path) -> None:
    other = write_container(tmp_path / "other", images=5, seed=9)
    parts = open_parts(settings(folder, val=(str(other),)))
    assert parts.validation is not None
    assert len(parts.validation) == 5 * 16
    assert parts.calibration is not None
    assert len(parts.training) + len(parts.calibration) == 40 * 16
    with pytest.raises(ConfigError, match="40 images or videos are in the validation data and in the data"):
        open_parts(settings(folder, val=(str(folder),)))
    strange = write_container(tmp_path / "strange", models=("small", "huge"), seed=3)
    with pytest.raises(ConfigError, match="must be of the same models"):
        open_parts(settings(folder, val=(str(strange),)))


@pytest.mark.parametrize("kind", ["isotonic", "temperature"])
def test_calibration_mends_heads_that_promise_too_much(kind: Any, tmp_path: Path) -> None:
    container = open_container(tmp_path / "data", images=120)
    learn, held = container.split(0.5, 1)
    rows, others = (Rows.of(part, HeadsSettings(epochs=1), "data") for part in (learn, held))
    heads = HeadNetwork(config(rows), 0).finished()
    with torch.no_grad():
        for weight, bias in zip(heads.weights, heads.biases, strict=True):
            weight.zero_()
            bias.zero_()
        # Right in their order, and far too sure.
        heads.weights[0][:, 0, 0], heads.weights[0][:, 0, 1], heads.weights[0][:, 5, 2:4] = 1, -1, 1
        heads.weights[0][:, 5, 3] = -1
        heads.weights[1][:, 0], heads.weights[1][:, 1], heads.weights[1][:, 2:4] = 6, -6, 6
    before = measure(heads, others)
    assert before["quality_ece"] == before["quality_raw_ece"]
    calibrate(heads, rows, kind)
    after = measure(heads, others)
    assert after["quality_raw_ece"] == before["quality_ece"] > 0.1
    assert after["quality_ece"] < before["quality_ece"] / 3
    assert outputs(heads, others).shape == (len(others), 4)


def test_plans_are_a_heads_own_else_those_of_all(folder: Path) -> None:
    own = (HeadSettings(name="task_gap", lr=0.5, epochs=9),)
    plans = make_plans(settings(folder, heads=own, optimizer=SGD), NAMES, MODELS)
    assert plans[0] == HeadPlan("quality", 0.3, 0.5, 1e-4, 50, 3)
    assert plans[3] == HeadPlan("task_gap", 0.5, 0.5, 1e-4, 50, 9)
    with pytest.raises(ConfigError, match=r"no head 'task_gab'.*Did you mean 'task_gap'"):
        make_plans(settings(folder, heads=(HeadSettings(name="task_gab"),)), NAMES, MODELS)


def test_a_length_in_steps_is_that_of_all(folder: Path, tmp_path: Path) -> None:
    outcome = train(HeadsTraining(settings(folder, steps=5), tmp_path), tmp_path / "run", quiet=True)
    assert outcome.steps == outcome.step == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 5, "defaults": "coco"}, "give epochs, not steps"),
        ({"search": "smac"}, "search is for sgd"),
        ({"search": "smac", "optimizer": SGD, "defaults": "coco"}, "leave defaults and heads out"),
        ({"kind": "published", "components": 4}, "read the tokens themselves"),
        ({"calibration_share": 0}, 'set calibration = "none"'),
        ({"heads": (HeadSettings(name="quality"), HeadSettings(name="quality"))}, "names a head twice"),
    ],
)
def test_settings_that_contradict_each_other(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(folder, **changes)


def test_data_that_cannot_be_learned_from(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no training data were given"):
        open_parts(settings(folder, data=()))
    lacking = write_container(tmp_path / "lacking", images=9, refined_iou=np.full(9 * 16, np.nan))
    with pytest.raises(DatasetError, match=r"not known for prompt_gap \(\d+ rows\).*the refined one too"):
        open_parts(settings(lacking))
    single = write_container(tmp_path / "single", images=2)
    with pytest.raises(ConfigError, match="cannot split 1 groups"):
        open_parts(settings(single))
    no_best = write_container(tmp_path / "no_best", images=9, best=np.zeros(9 * 16, np.bool_))
    with pytest.raises(DatasetError, match="no row for published heads"):
        open_parts(settings(no_best, kind="published"))


def test_the_command_trains_and_says_how_to_go_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    short = ("--epochs", "1", "--hidden", "8", "--components", "4", "--device", "cpu")
    assert main(["train", "heads", "--data", str(folder), "--out", str(out), *short]) == 0
    assert f"--heads {out / 'model/model.heads.safetensors'}" in capsys.readouterr().out
