"""The line that says how far a run is and how long it will still take."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

PLAIN_SECONDS = 15.0


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as people read them: 2 h 05 min, 3 min 20 s, 12 s."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


class ProgressLine:
    """A bar on a terminal, a plain line now and then in a log file, nothing when quiet."""

    def __init__(
        self, start: int, steps: int, *, quiet: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin at step `start` of `steps`."""
        self.start, self.steps, self.quiet, self.clock = start, steps, quiet, clock
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.began = self.printed = clock()
        self.paused = 0.0
        self.bar: Progress | None = None
        if not quiet and self.console.is_terminal:
            columns = (
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
            )
            self.bar = Progress(*columns, console=self.console)
            self.task = self.bar.add_task("", total=steps, completed=start)
            self.bar.start()

    def left(self, step: int) -> float:
        """Seconds still to go, from the speed of this session without its evaluations."""
        done = step - self.start
        return (self.clock() - self.began - self.paused) / done * (self.steps - step) if done else 0.0

    def pause(self, seconds: float) -> None:
        """Leave time that was not training out of the estimate."""
        self.paused += seconds

    def show(self, step: int, loss: float) -> None:
        """Show the step that was just done and its loss."""
        text = f"loss {loss:.4f}, {duration(self.left(step))} left"
        if self.bar is not None:
            self.bar.update(self.task, completed=step, description=text)
        elif not self.quiet and (self.clock() - self.printed >= PLAIN_SECONDS or step == self.steps):
            self.printed = self.clock()
            self._write(f"step {step} of {self.steps}: {text}")

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self.bar is not None:
            self.bar.console.print(text)
        elif not self.quiet:
            self._write(text)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.bar is not None:
            self.bar.stop()

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
