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
    losses = [str(item.message) for item in caught if issubclass(item.category, LossyConversionWarning)]
    for loss in losses:
        session.errors.print(f"warning: {loss}", style="yellow")
    session.result.setdefault("warnings", []).extend(losses)
