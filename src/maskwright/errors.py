"""One exception tree: everything a user can get wrong raises a subclass of `MaskwrightError`.

Each message says what is wrong, with the offending value, and what to do next. Mistakes of the
programmer are plain `assert`s and never appear here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MaskwrightError(Exception):
    """Base of every error a user can cause; the command line prints its message and exits non-zero."""


class ConfigError(MaskwrightError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class InputError(MaskwrightError):
    """An argument (a prompt, a shape, a range) does not fit."""


class FileError(MaskwrightError):
    """A file is missing, unreadable, unsafe or not what its name says; the message names it."""


class ImageError(FileError):
    """An image cannot be decoded, or is larger than the pixel budget."""


class MaskError(FileError):
    """A mask file or run-length encoding is malformed."""


class WeightsError(FileError):
    """A model file is refused: unsafe, incomplete, of an unknown layout, or with keys that do not match."""


class DatasetError(FileError):
    """A dataset folder does not have the expected layout or content."""


class OfflineError(MaskwrightError):
    """Something would have to be fetched while offline; the message says which file to put where."""


class TrainingError(MaskwrightError):
    """Training cannot go on: a loss or gradient is not finite, or a checkpoint does not fit."""


class LabelingError(MaskwrightError):
    """Labelling cannot go on: a process that works on it has died; what is finished stays."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest known word, else an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
