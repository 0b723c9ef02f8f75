"""Loops over pixels, compiled by numba: one decorator for all of them.

Importing a module with such functions imports numba, which takes a third of a second; the compiling itself is
done at the first call, and its result is kept on the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


# What the compiler may do where sums are wanted fast and no value is infinite or not a number.
REORDERED = {"reassoc", "contract", "nsz", "nnan", "ninf", "arcp"}


def compiled(function: Function, reordered: bool = False) -> Function:
    """Compile a function of arrays and numbers at its first call; it lets go of the interpreter's lock.

    Indices are not checked. Nothing is reordered that could change a float, unless `reordered` says so: then
    sums and largest values are taken many at a time. Where no folder can be written to (a read-only
    installation), each process compiles anew.

    What is kept goes by the function's own file. Who changes another that it calls removes `*.nb?` beside it.
    """
    options: dict[str, Any] = {"nogil": True}
    if reordered:
        # With NumPy's errors a sum that is not a number is no division by zero.
        options |= {"fastmath": REORDERED, "error_model": "numpy"}
    try:
        result: Function = njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder for its cache
        result = njit(**options)(function)
    return result
