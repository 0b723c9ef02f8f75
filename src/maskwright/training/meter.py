"""Means of logged values between two log lines, each over the steps that reported it."""

from __future__ import annotations

import time
from typing import Any


class Meter:
    """Sums what each step reports; its content is saved with the run, so that a resumed log is the same."""

    def __init__(self) -> None:
        """Start empty."""
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.clear()

    def clear(self) -> None:
        """Forget everything and start the clock."""
        self.sums, self.counts = {}, {}
        self.count = 0
        self.earlier = 0.0
        self.began = time.monotonic()

    def add(self, values: dict[str, float]) -> None:
        """Take in one step's values."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.count += 1

    def pause(self, seconds: float) -> None:
        """Leave time that was not training out."""
        self.earlier -= seconds

    @property
    def names(self) -> list[str]:
        """What was reported."""
        return list(self.sums)

    @property
    def means(self) -> list[float]:
        """Mean of each."""
        return [value / self.counts[name] for name, value in self.sums.items()]

    @property
    def seconds(self) -> float:
        """Time in which the steps were done."""
        return self.earlier + time.monotonic() - self.began

    def state(self) -> dict[str, Any]:
        """Plain values to save."""
        return {"sums": self.sums, "counts": self.counts, "count": self.count, "seconds": self.seconds}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from saved values."""
        self.clear()
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
        self.count, self.earlier = state["count"], state["seconds"]
