"""A side in a process of its own, where what it loads and starts does not slow the others."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

_side: Callable[[], Any]  # in that process


def apart(make: Callable[..., Callable[[], Any]], *arguments: object) -> Callable[[], Any]:
    """Make a side in another process, which ends with the side; a run's time is that of asking and waiting.

    Args:
        make: a function of a module.
        arguments: what it makes the side from; like the results, they are sent.
    """
    process = ProcessPoolExecutor(1, get_context("spawn"), _begin, (make, arguments))
    return lambda: process.submit(_run).result()


def _begin(make: Callable[..., Callable[[], Any]], arguments: tuple[object, ...]) -> None:
    global _side
    _side = make(*arguments)


def _run() -> Any:  # noqa: ANN401
    return _side()
