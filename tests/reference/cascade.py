"""Which prompts a large model should answer, by trying every choice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations


def best_gain(
    gains: Sequence[float], images: Sequence[int], per_image: float, per_prompt: float, budget: float
) -> float:
    """The most that any set of prompts within the budget gains."""
    best = 0.0
    for count in range(len(gains) + 1):
        for chosen in combinations(range(len(gains)), count):
            cost = per_image * len({images[k] for k in chosen}) + per_prompt * count
            if cost <= budget + 1e-9:
                best = max(best, sum(gains[k] for k in chosen))
    return best
