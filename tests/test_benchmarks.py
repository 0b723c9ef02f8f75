"""The benchmarks are found, and those without peers run, on small inputs; figures come from `make bench`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "benchmarks"
# Their peers are libraries that the tests have anyway.
WITHOUT_PEERS = ("boundary_evaluation", "boundary_iou", "outlines", "sampled_losses", "watershed")
ALL_QUICK = f"import run\nfor name in {WITHOUT_PEERS}: run.run(name, None, True)"


@pytest.fixture(scope="module")
def runner() -> Iterator[ModuleType]:
    """benchmarks/run.py, whose neighbours have short names: they go with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield import_module("run")
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "").parent == FOLDER:
            del sys.modules[name]


def test_every_benchmark_is_listed(runner: ModuleType) -> None:
    names = runner.benchmarks()
    assert set(WITHOUT_PEERS) | {"encoder", "automatic_generation", "training", "scaling"} <= set(names)
    told = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in names if f"| `{name}` |" not in told] == []


def test_unknown_name_is_refused(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "no-such-benchmark"])
    with pytest.raises(SystemExit, match="2"):
        runner.main()
    assert "no benchmark no-such-benchmark; there are" in capsys.readouterr().err


def test_rows_of_a_run_that_was_cut_off_are_kept(runner: ModuleType, tmp_path: Path) -> None:
    machine = {"processor": "one", "versions": {"torch": "2"}, "date": "2026-01-02", "limits": {"float32": 1}}
    rows = [{"name": "first"}, {"name": "second"}]
    path = tmp_path / "encoder.json"
    assert runner.rows_left(path, machine) == {}
    path.write_text(json.dumps({"machine": machine, "rows": rows}))
    later = machine | {"date": "2026-01-03", "limits": {"float32": 2}}
    assert list(runner.rows_left(path, later).values()) == rows
    assert runner.rows_left(path, machine | {"versions": {"torch": "3"}}) == {}


def test_the_limit_is_that_of_the_minutes_between_the_rounds(runner: ModuleType) -> None:
    """The machine's rate changes; one that was taken before the rounds is not theirs."""
    sides, limits = import_module("sides"), runner.Limits(float32=1.0, bfloat16=None, bandwidth=100.0)
    work = {"maskwright": lambda: 1, "peer": lambda: 1}
    rates = iter([10.0, 40.0, 20.0])
    row = sides.measure(
        sides.Comparison("sum", work, lambda outputs: "equal", operations=100, rounds=3),
        limits,
        lambda arithmetic: next(rates),
    )
    assert row["limit"] == 100 / 20
    moves = sides.Comparison("copy", work, lambda outputs: "equal", moved=50, rounds=1)
    assert sides.measure(moves, limits, lambda arithmetic: next(rates))["limit"] == 50 / 100


def test_a_missed_goal_is_explained_by_a_profile(runner: ModuleType) -> None:
    sides, page = import_module("sides"), import_module("page")
    one, threads = torch.ones(512, 512), torch.get_num_threads()
    products = partial(torch.linalg.multi_dot, [one] * 9)

    def row_with(goal: float) -> dict[str, Any]:
        work = {"maskwright": products, "peer": lambda: one @ one}
        compared = sides.Comparison(
            "products", work, lambda outputs: "", goals={"peer": goal}, operations=1, rounds=1
        )
        row: dict[str, Any] = sides.measure(compared, runner.Limits(1.0, None, 1.0), lambda arithmetic: 1.0)
        return row

    missed = row_with(100.0)
    assert torch.get_num_threads() == threads
    assert list(missed["profile"]) == ["maskwright", "peer"]
    assert missed["profile"]["maskwright"]["shares"]["mm"] > 0.5
    assert sum(missed["profile"]["peer"]["shares"].values()) <= 1.0
    told = "\n".join(page.missed(missed))
    assert "goal 100 asks for" in told
    assert "% mm" in told
    assert row_with(1e-6)["profile"] == {}


def test_work_outside_torch_is_profiled_by_functions(runner: ModuleType) -> None:
    def pass_of_sorting() -> None:
        sorted(range(400_000), key=str)

    shares = import_module("profiles").profile_pass(pass_of_sorting, in_torch=False)["shares"]
    assert next(iter(shares)) == "builtins.sorted"
    assert 0.9 < sum(shares.values()) <= 1.0


@pytest.mark.slow
def test_outputs_are_equal_on_small_inputs() -> None:
    """Each benchmark checks its sides' outputs before it times them."""
    command = [sys.executable, "-c", ALL_QUICK]
    result = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("identical") > 2
