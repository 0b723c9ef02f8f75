"""The library's warnings as lines of a command's output."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from maskwright.cli.common import Session
from maskwright.io.lossy import LossyConversionWarning
from maskwright.runtime import EmulatedArithmeticWarning

KINDS = (LossyConversionWarning, EmulatedArithmeticWarning)


@contextmanager
def told_warnings(session: Session) -> Iterator[None]:
    """Print each of the library's warnings raised inside on the standard error, and add it to the result."""
    with warnings.catch_warnings(record=True) as caught:
        for kind in KINDS:
            warnings.simplefilter("always", kind)
        yield
    session.result.setdefault("warnings", [])
    for item in caught:
        if issubclass(item.category, KINDS):
            session.warn(str(item.message))
