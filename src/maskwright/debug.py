"""`--debug`: what a command reads, computes and writes, as lines that begin with [DEBUG].

The lines go through Python's logger "maskwright", so that a program that uses the library can have them, too.
Nothing is formatted while nobody listens.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

LOGGER = logging.getLogger("maskwright")


def debug(message: Callable[[], str]) -> None:
    """Say something, if somebody listens; the text is made only then."""
    if LOGGER.isEnabledFor(logging.DEBUG):
        LOGGER.debug("%s", message())


@contextmanager
def debug_lines(on: bool) -> Iterator[None]:
    """Inside, write the lines to the standard error, if they were asked for."""
    if not on:
        yield
        return
    # Each process of a training run speaks for itself.
    process = f"process {os.environ['RANK']}: " if "RANK" in os.environ else ""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"[DEBUG] {process}%(message)s"))
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def shapes(value: Any) -> str:  # noqa: ANN401
    """Types and shapes of the arrays in nested containers and objects: `image float32 (1, 256, 64, 64)`."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(shapes, value))}]"
    if isinstance(value, Mapping) or hasattr(value, "__dict__"):
        items = value.items() if isinstance(value, Mapping) else vars(value).items()
        told = (item for item in items if item[1] is not None and not str(item[0]).startswith("_"))
        return ", ".join(f"{name} {shapes(part)}" for name, part in told)
    return str(value)
