"""Loops over pixels, compiled by numba: one decorator for all of them.

Importing a module with such functions imports numba, which takes a third of a second; the compiling itself is
done at the first call, and its result is kept on the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function of arrays and numbers at its first call; it lets go of the interpreter's lock.

    Indices are not checked, and nothing is reordered that could change a float. Where no folder can be
    written to (a read-only installation), each process compiles anew.
    """
    try:
        result: Function = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba found no folder for its cache
        result = njit(nogil=True)(function)
    return result
