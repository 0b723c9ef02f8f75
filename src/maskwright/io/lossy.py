"""The one warning of all conversions that cannot keep everything."""

from __future__ import annotations

import warnings


class LossyConversionWarning(UserWarning):
    """The target format cannot hold something of the source; the message says what and how much."""


def warn_lossy(message: str) -> None:
    """Warn the caller of the public function that calls this."""
    warnings.warn(message, LossyConversionWarning, stacklevel=3)
