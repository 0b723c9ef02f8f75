"""Compiled functions compute, alone and where nothing can be kept on the disk."""

from __future__ import annotations

from typing import Any

import numba
import pytest

from maskwright.compiled import compiled


def total(count: int) -> int:
    result = 0
    for number in range(count):
        result += number
    return result


def test_a_compiled_function_computes() -> None:
    assert compiled(total)(10) == 45


def test_without_a_folder_for_the_cache_it_compiles_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> Any:
        if "cache" in options:
            raise RuntimeError("cannot cache function 'total': no locator available")
        return numba.njit(**options)

    monkeypatch.setattr("maskwright.compiled.njit", refuse)
    assert compiled(total)(10) == 45
