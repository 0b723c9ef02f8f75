"""The loop's parts: schedules, the stream of items, moving average, optimisers, random states, records."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from training.toy import Toy, ToyData, ToySettings

from maskwright.errors import FileError, TrainingError
from maskwright.methods.base import ParameterGroup
from maskwright.methods.settings import OptimizerSettings, ScheduleSettings
from maskwright.training import randomness
from maskwright.training.curves import draw_curves
from maskwright.training.ema import MovingAverage
from maskwright.training.meter import Meter
from maskwright.training.optimizer import build_optimizer, freeze_rest, set_rate
from maskwright.training.progress import ProgressLine, duration
from maskwright.training.schedule import rate_factor
from maskwright.training.stream import Batches
from maskwright.training.tracking import Tracker


def rates(steps: int = 100, **settings: object) -> list[float]:
    schedule = ScheduleSettings.model_validate(settings)
    return [rate_factor(schedule, step, steps) for step in range(steps)]


def test_constant_and_warmup() -> None:
    assert set(rates()) == {1.0}
    warm = rates(warmup=4)
    assert warm[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(warm[5:]) == {1.0}


def test_the_published_step_schedule_drops_after_epoch_10_of_12() -> None:
    steps = 12 * 1385
    values = rates(steps, name="step", milestones=(10 / 12,), gamma=0.1)
    assert values[10 * 1385 - 1] == 1.0
    assert values[10 * 1385] == pytest.approx(0.1)
    assert Counter(values)[1.0] == 13850


def test_a_step_schedule_that_would_never_step_is_refused() -> None:
    with pytest.raises(ValidationError, match="a step schedule needs milestones"):
        ScheduleSettings(name="step")


def test_cosine_and_wsd_end_at_final() -> None:
    cosine = rates(name="cosine", warmup=10, final=0.1)
    assert cosine[10] == 1.0
    assert cosine[55] == pytest.approx(0.1 + 0.9 * 0.5)
    assert cosine[-1] == pytest.approx(0.1, abs=0.01)
    wsd = rates(name="wsd", decay=0.2)
    assert set(wsd[:80]) == {1.0}
    assert wsd[80:] == pytest.approx([1 - k / 20 for k in range(20)])


@given(
    st.sampled_from(["constant", "step", "cosine", "wsd"]),
    st.integers(1, 50),
    st.integers(0, 60),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_rates_are_always_in_range(name: str, steps: int, warmup: int, decay: float, final: float) -> None:
    values = rates(steps, name=name, warmup=warmup, decay=decay, final=final, milestones=(0.5,))
    assert all(0 <= value <= 1 for value in values)
    assert values[0] > 0


@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_the_stream_is_cut_the_same_way_for_any_number_of_processes(
    items: int, batch: int, accumulate: int, processes: int
) -> None:
    data = ToyData(ToySettings(steps=1, items=items))
    ranks = [Batches(data, 5, batch, accumulate, processes, rank) for rank in range(processes)]
    alone = Batches(data, 5, batch * accumulate * processes)
    for step in range(6):
        parts = [rank.keys(step) for rank in ranks]
        together = [key for part in range(accumulate) for rank in parts for key in rank[part]]
        assert together == alone.keys(step)[0]
        assert [len(rank) for rank in parts] == [accumulate] * processes


@given(st.integers(1, 9), st.integers(1, 4))
def test_every_epoch_has_every_item_once_in_another_order(items: int, batch: int) -> None:
    batches = Batches(ToyData(ToySettings(steps=1, items=items)), 5, batch)
    keys = [key for step in range(4 * items) for key in batches.keys(step)[0]]
    for epoch in range(3):
        assert sorted(key.index for key in keys if key.epoch == epoch) == list(range(items))
    assert batches.keys(2) == batches.keys(2)
    # A late question needs nothing from before: this is what resuming relies on.
    assert Batches(batches.data, 5, batch).keys(3 * items) == batches.keys(3 * items)


def test_epochs_are_rounded_up_to_steps() -> None:
    batches = Batches(ToyData(ToySettings(steps=1, items=7)), 5, 2)
    assert [batches.steps_of(epochs) for epochs in (1, 2, 4)] == [4, 7, 14]
    assert batches.epoch_of(7) == 2.0


def test_item_randomness_depends_on_item_epoch_and_seed_alone() -> None:
    data = ToyData(ToySettings(steps=1))
    keys = {Batches(data, seed, 7).keys(step)[0][0] for seed in (1, 2) for step in (0, 1)}
    draws = {float(key.rng().random()) for key in keys}
    assert len(draws) == len(keys)


def test_moving_average_follows_and_steps_aside() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    average = MovingAverage({"p": parameter}, 0.5)
    with torch.no_grad():
        parameter.fill_(1.0)
    average.update(0)  # decay min(0.5, 1 / 10)
    assert average.values["p"].tolist() == pytest.approx([0.9, 0.9])
    average.update(100)
    assert average.values["p"].tolist() == pytest.approx([0.95, 0.95])
    with average.applied():
        assert parameter.tolist() == pytest.approx([0.95, 0.95])
    assert parameter.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_optimizer_groups(name: str, kind: type[torch.optim.Optimizer]) -> None:
    settings = OptimizerSettings(name=name, lr=0.1, weight_decay=0.2)  # type: ignore[arg-type]
    one, two = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    groups = [ParameterGroup("a", {"one": one}), ParameterGroup("b", {"two": two}, 0.5, weight_decay=0.0)]
    optimizer = build_optimizer(groups, settings)
    assert type(optimizer) is kind
    set_rate(optimizer, 0.1, 0.0)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.005])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.0]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_group_has_its_own_momentum_and_end(name: Literal["adam", "sgd"]) -> None:
    one, two = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    groups = [ParameterGroup("a", {"one": one}), ParameterGroup("b", {"two": two}, momentum=0.3, until=0.5)]
    optimizer = build_optimizer(groups, OptimizerSettings(name=name, lr=0.1, betas=(0.8, 0.9)))
    momenta = [group["momentum"] if name == "sgd" else group["betas"][0] for group in optimizer.param_groups]
    assert momenta == [0.8, 0.3]
    for done, rates in ((0.49, [0.1, 0.1]), (0.5, [0.1, 0.0])):
        set_rate(optimizer, 1.0, done)
        assert [group["lr"] for group in optimizer.param_groups] == rates


def test_nothing_that_learns_is_an_error() -> None:
    toy = Toy(ToySettings(steps=1))
    assert set(freeze_rest(toy)) == {"0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"}
    assert not toy.model.get_parameter("5.weight").requires_grad
    toy.parameter_groups = lambda: []  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="no parameter learn"):
        freeze_rest(toy)


def test_random_states_survive_json() -> None:
    import random

    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.normal(), float(torch.randn(()))]

    random.gauss(0, 1), np.random.normal()
    state = json.loads(json.dumps(randomness.capture()))
    first = draw()
    randomness.restore(state)
    assert draw() == first
    before = randomness.capture()
    with randomness.preserved():
        draw()
    assert randomness.capture() == before
    assert len({randomness.mix(a, b) for a in range(20) for b in range(20)}) == 400


def test_meter_pauses_and_remembers() -> None:
    meter = Meter()
    meter.add({"loss": 1.0})
    meter.add({"loss": 2.0})
    meter.pause(1e6)
    assert meter.means == [1.5]
    assert meter.seconds < 0
    other = Meter()
    other.load(json.loads(json.dumps(meter.state())))
    assert (other.names, other.means, other.count) == (["loss"], [1.5], 2)


def test_records_drop_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, 0)
    for step in (1, 2, 3):
        tracker.step({"step": step, "loss": step / 3})
        tracker.evaluation({"step": step, "val_x": 1 / step, **({"late": 1} if step > 1 else {})})
    tracker.close()
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"step": 4, "lo')  # a kill in the middle of a line
    again = Tracker(tmp_path, 2)
    again.close()
    assert again.steps == [{"step": 1, "loss": 1 / 3}, {"step": 2, "loss": 2 / 3}]
    assert again.evaluations == [{"step": 1, "val_x": 1.0}, {"step": 2, "val_x": 0.5, "late": 1}]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, 0)
    tracker.log_path.unlink()
    tracker.log_path.mkdir()
    with pytest.raises(FileError, match=r"cannot write .*log\.jsonl: is a directory.*same command again"):
        tracker.step({"step": 1, "loss": 1.0})
    tracker.close()


def test_records_work_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskwright.training.tracking.find_spec", lambda name: None)
    tracker = Tracker(tmp_path, 0)
    tracker.step({"step": 1, "loss": 1.0})
    tracker.close()
    assert not (tmp_path / "tensorboard").exists()


def test_curves_of_nothing_and_of_much(tmp_path: Path) -> None:
    draw_curves([], [], tmp_path / "empty.png")
    rows = [{"step": k, "loss": math.exp(-k / 50), "lr": 0.1} for k in range(100)]
    draw_curves(rows, [{"step": 50, "val_miou": 0.5}, {"step": 100, "other": 1}], tmp_path / "full.png")
    for name in ("empty.png", "full.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_time_left_ignores_evaluations(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    line = ProgressLine(10, 110, quiet=False, clock=lambda: now[0])
    now[0] = 40.0
    line.pause(30.0)
    assert line.left(20) == 90.0
    line.show(20, 0.5)
    assert "step 20 of 110: loss 0.5000, 1 min 30 s left" in capsys.readouterr().err
    assert [duration(s) for s in (5.4, 65, 3725)] == ["5 s", "1 min 05 s", "1 h 02 min"]
    quiet = ProgressLine(0, 2, quiet=True)
    quiet.show(2, 0.1)
    quiet.note("x")
    assert capsys.readouterr().err == ""
