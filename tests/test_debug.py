"""Debug lines: off without cost, on with shapes, and nothing stays behind."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from maskwright.debug import LOGGER, debug, debug_lines, shapes


def test_nothing_is_made_while_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> str:
        raise AssertionError

    debug(fail)
    with debug_lines(False):
        debug(fail)
    assert capsys.readouterr().err == ""


def test_lines_go_to_the_standard_error_while_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers, level = list(LOGGER.handlers), LOGGER.level
    with debug_lines(True):
        debug(lambda: "100 % of it")
    monkeypatch.setenv("RANK", "1")
    with debug_lines(True):
        debug(lambda: "two")
    debug(lambda: "three")
    assert capsys.readouterr().err == "[DEBUG] 100 % of it\n[DEBUG] process 1: two\n"
    assert (LOGGER.handlers, LOGGER.level) == (handlers, level)
    assert not LOGGER.isEnabledFor(logging.DEBUG)


def test_shapes_of_anything() -> None:
    @dataclass
    class Pair:
        left: torch.Tensor
        right: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None
        name: str

    assert shapes(torch.zeros(2, 3)) == "float32 (2, 3)"
    pair = Pair(torch.zeros(1, dtype=torch.int64), np.zeros((4, 5), np.uint8), "cat")
    assert shapes({"x": [pair]}) == "x [left int64 (1,), right uint8 (4, 5), name cat]"
    assert shapes(Pair(torch.zeros(1), None, "cat")) == "left float32 (1,), name cat"
    assert shapes(7) == "7"
