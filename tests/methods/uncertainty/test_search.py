"""The search: what it tries, that it goes on, and what it says without SMAC."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from methods.uncertainty.containers import write_container

from maskwright.errors import ConfigError
from maskwright.methods.uncertainty import search
from maskwright.methods.uncertainty.config import HeadPlan, HeadsSettings
from maskwright.methods.uncertainty.data import Rows, open_parts
from maskwright.methods.uncertainty.method import HeadsTraining
from maskwright.methods.uncertainty.search import Trial, find_plan
from maskwright.models.uncertainty import HeadsConfig

HEAD = HeadPlan("quality", 0.1, 0.5, 0.0, 50, 1)


def settings(folder: Path, **changes: Any) -> HeadsSettings:
    values: dict[str, Any] = {
        "data": (str(write_container(folder / "data", images=12, models=("one",))),),
        "epochs": 1,
        "optimizer": {"name": "sgd"},
        "hidden": (4,),
        "device": "cpu",
        "search": "smac",
        "trials": 3,
    }
    return HeadsSettings(**values | changes)


def make_trial(folder: Path, **changes: Any) -> Trial:
    chosen = settings(folder, **changes)
    training = open_parts(chosen).training
    learn, judge = (
        Rows(part.container, part.targets[:, :1], part.values)
        for part in (Rows.of(part, chosen, "data") for part in training.container.split(0.2, 1))
    )
    config = HeadsConfig("selected", ("quality",), learn.values, (4,), (("one", "1"),))
    return Trial(learn, judge, config, chosen)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[HeadPlan]:
    """The plans that a search tries, with a figure that knows which rate is best."""
    plans: list[HeadPlan] = []

    def error(trial: Trial, plan: HeadPlan) -> float:
        plans.append(plan)
        return abs(plan.lr - 0.03)

    monkeypatch.setattr(Trial, "error", error)
    return plans


def test_the_best_of_the_tried_is_found_and_again_after_a_stop(
    tmp_path: Path, tried: list[HeadPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("smac")
    trial = make_trial(tmp_path)
    found = find_plan(trial, HEAD, tmp_path / "whole")
    assert len(tried) == 3
    assert found == min(tried, key=lambda plan: abs(plan.lr - 0.03))
    for plan in tried:
        assert plan.epochs is not None
        assert 1e-4 <= plan.lr <= 1e-1
        assert 5 <= plan.epochs <= 80
        assert 16 <= plan.batch_size <= 256
        assert 0.1 <= plan.momentum <= 0.9
        assert plan.weight_decay == 0.001
    error = Trial.error

    def stopped(trial: Trial, plan: HeadPlan) -> float:
        if len(tried) == 5:
            raise KeyboardInterrupt
        return error(trial, plan)

    monkeypatch.setattr(Trial, "error", stopped)
    with pytest.raises(KeyboardInterrupt):
        find_plan(trial, HEAD, tmp_path / "parts")
    monkeypatch.setattr(Trial, "error", error)
    assert find_plan(trial, HEAD, tmp_path / "parts") == found
    assert tried[:3] == tried[3:]


def test_short_trainings_come_first_with_several_fidelities(tmp_path: Path, tried: list[HeadPlan]) -> None:
    pytest.importorskip("smac")
    found = find_plan(make_trial(tmp_path, multi_fidelity=True, trials=4), HEAD, tmp_path / "search")
    assert found.epochs == 35
    # Three times as long each time, up to 35 (Hyperband with eta 3).
    assert tried[0].epochs == 12
    assert {plan.epochs for plan in tried} == {12, 35}


def test_every_head_is_looked_for_on_held_out_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials: list[Trial] = []

    def find(trial: Trial, plan: HeadPlan, folder: Path) -> HeadPlan:
        trials.append(trial)
        return replace(plan, epochs=2)

    monkeypatch.setattr(search, "find_plan", find)
    method = HeadsTraining(settings(tmp_path), tmp_path / "search")
    assert [trial.config.names for trial in trials] == [("quality",), ("prompt_gap",), ("task_gap",)]
    assert [plan.epochs for plan in method.plans] == [2, 2, 2]
    trial = trials[0]
    learn, judge = set(trial.learn.container.groups), set(trial.judge.container.groups)
    assert not learn & judge
    # With what is found, heads then learn from all.
    assert learn | judge == set(method.parts.training.container.groups)
    assert len(method.training_data().rows) == len(trial.learn) + len(trial.judge)
    slow, fast = (HeadPlan("quality", lr, 0.5, 0.001, 16, 5) for lr in (1e-6, 0.5))
    assert trial.error(fast) < 0.5 * trial.error(slow)


def test_without_smac_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smac", None)
    with pytest.raises(ConfigError, match=r'pip install "maskwright\[hpo\]"'):
        HeadsTraining(settings(tmp_path), tmp_path / "search")


def test_a_search_in_several_processes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="in one process"):
        HeadsTraining(settings(tmp_path), tmp_path / "search")
