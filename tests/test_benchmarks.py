"""The benchmarks are found, and those without peers run, on small inputs; figures come from `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
# Their peers are libraries that the tests have anyway.
WITHOUT_PEERS = ("boundary_evaluation", "boundary_iou", "outlines", "sampled_losses", "watershed")
ALL_QUICK = f"import run\nfor name in {WITHOUT_PEERS}: run.run(name, None, True)"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )


def test_every_benchmark_is_listed() -> None:
    names = run("run.py", "--list").stdout.split()
    assert set(WITHOUT_PEERS) | {"encoder", "automatic_generation", "training", "scaling"} <= set(names)
    told = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in names if f"| `{name}` |" not in told] == []


def test_unknown_name_is_refused() -> None:
    result = run("run.py", "no-such-benchmark")
    assert result.returncode == 2
    assert "no benchmark no-such-benchmark; there are" in result.stderr


@pytest.mark.slow
def test_outputs_are_equal_on_small_inputs() -> None:
    """Each benchmark checks its sides' outputs before it times them."""
    result = run("-c", ALL_QUICK)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("identical") > 2
