"""Asking a run to stop: SIGTERM (schedulers) and SIGINT (Ctrl-C) let it save first."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

# What the shell reports for a process ended by these signals; also this program's exit codes.
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


class StopRequest:
    """While active, notes the first SIGTERM or SIGINT; a second one ends the process at once."""

    def __init__(self) -> None:
        """Nothing has been asked yet."""
        self.signal: signal.Signals | None = None
        self.previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        # Python lets only the main thread set handlers; elsewhere signals keep their meaning.
        if threading.current_thread() is threading.main_thread():
            for number in EXIT_CODES:
                self.previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        signal.signal(number, self.previous[self.signal])
