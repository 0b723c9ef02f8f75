"""Fixtures for all tests: where the real data and the golden vectors are, and no network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Before any test imports huggingface_hub, which reads this once: no test may reach out for a model.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _external(variable: str, default: str, what: str) -> Path:
    root = Path(os.environ.get(variable) or REPOSITORY / default).resolve()
    if not root.is_dir():
        pytest.skip(f"no {what} at {root}; set {variable} to its folder")
    return root


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real datasets (`MASKWRIGHT_DATA`); tests that ask for it are skipped without it."""
    return _external("MASKWRIGHT_DATA", "../shared/data", "real data")


@pytest.fixture(scope="session")
def golden_root() -> Path:
    """The folder of reference outputs (`MASKWRIGHT_GOLDEN`); tests that ask for it are skipped without it."""
    return _external("MASKWRIGHT_GOLDEN", "../shared/golden", "golden vectors")
