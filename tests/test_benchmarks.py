"""The benchmarks can be found and run: a few, on small inputs; the figures come from `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "run.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def names() -> list[str]:
    return run("--list").stdout.split()


def test_every_benchmark_is_listed(names: list[str]) -> None:
    assert names == sorted(names)
    assert names


def test_unknown_name_is_refused() -> None:
    result = run("no-such-benchmark")
    assert result.returncode == 2
    assert "no benchmark no-such-benchmark; there are" in result.stderr
