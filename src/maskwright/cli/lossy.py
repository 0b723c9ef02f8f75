"""Warnings about lossy conversions as lines of a command's output."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from maskwright.cli.common import Session
from maskwright.io.lossy import LossyConversionWarning


@contextmanager
def told_losses(session: Session) -> Iterator[None]:
    """Print each `LossyConversionWarning` raised inside on the standard error, and add it to the result."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LossyConversionWarning)
        yield
    session.result.setdefault("warnings", [])
    for item in caught:
        if issubclass(item.category, LossyConversionWarning):
            session.warn(str(item.message))
